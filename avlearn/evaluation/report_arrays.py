"""Collects arrays that only the report shows: heat maps over time, and maps of single units."""

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
    """A collector of arrays for the report, for some clips of the evaluated split.

    Attributes:
      passes: forward passes of the network.
      split: evaluated split.
      num_animations: number of clips shown as animations (OtS figure 7), if the network has heat maps.
    """

    passes: ForwardPasses
    split: built_dataset.Split
    num_animations: int

    def collect(self, state: TrainState, arrays: dict[str, Arrays]) -> dict[str, Arrays]:
        """Collect the arrays for animations and units, if the evaluation's arrays have heat maps and activations.

        Returns:
          moments: heat maps of each moment of the animated clips; image_units and audio_units: see
          `unit_gallery.collect`, for the modes with pool4 features.
        """
        found = {}
        animated = localization.select_animated(arrays.get("avc", {}), self.num_animations)
        if animated:
            found["moments"] = self.passes.moments(state, split=self.split, items=animated)
        clips = arrays.get("all_positive", {})
        for mode, name in MAPS.items():
            if f"{mode}_pool4" in clips:
                maps = functools.partial(self.passes.maps, state, name, split=self.split)
                found[f"{mode}_units"] = unit_gallery.collect(clips, mode, maps)
        return found
