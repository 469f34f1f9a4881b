"""What the report shows beside the figures: films of the heat map, and what single units answer to."""

import dataclasses
import functools

from avlearn.data import built_dataset
from avlearn.evaluation.features import MAPS
from avlearn.evaluation.forward_passes import ForwardPasses
from avlearn.training.step import TrainState
from avlearn.types import Arrays
from avlearn.visuals import localization, unit_gallery


@dataclasses.dataclass(frozen=True)
class ReportArrays:
    """Collects them for some clips of the evaluated split, chosen from the arrays of all.

    Attributes:
      passes: of the network.
      split: that is evaluated.
      films: clips shown as films (OtS figure 7); of a network without heat maps none are.
    """

    passes: ForwardPasses
    split: built_dataset.Split
    films: int

    def collect(self, state: TrainState, arrays: dict[str, Arrays]) -> dict[str, Arrays]:
        """The arrays of films and units, where those of the evaluation hold heat maps and activations.

        Returns:
          moments: heat maps of each moment of the films' clips; image_units and audio_units: see
          `unit_gallery.collect`, of the units that `unit_preference` has counted.
        """
        found = {}
        filmed = localization.select_animated(arrays.get("avc", {}), self.films)
        if filmed:
            found["moments"] = self.passes.moments(state, split=self.split, items=filmed)
        clips = arrays.get("all_positive", {})
        for mode, name in MAPS.items():
            if f"{mode}_pool4" in clips:
                maps = functools.partial(self.passes.maps, state, name, split=self.split)
                found[f"{mode}_units"] = unit_gallery.collect(clips, mode, maps)
        return found
