"""Collects the arrays that evaluators read: one forward pass per pairing, with padding dropped."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from avlearn.devices import placement
from avlearn.types import Arrays, Outputs

FIRST_DRAW, DRAWS = "avc", "avc_draws"  # pairings: balanced pairs, with one and with several draws of the negatives
# Pairings of the evaluation dataset.
PAIRS = frozenset({"all_positive", FIRST_DRAW, DRAWS, "shifted", "negatives", "sources"})
# Further sources, for evaluators that are fitted:
FIT = "fit"  # corresponding pairs of the training split
VALIDATION = "validation"  # pairs of the validation split, half of them corresponding
IMAGES_FIT = "images_fit"  # images of the training split


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """Dataset, split and function that the arrays of a pairing come from.

    Attributes:
      dataset: "builder/config".
      split: name of the split, or several names.
      clips: number of clips that an evaluation covers.
      collect: function from the network's state and the names of the wanted arrays to arrays.
      rule: rule that selects clips from the split.
      note: what is special about the rows, which results state with their protocol.
    """

    dataset: str
    split: str
    clips: int
    collect: Callable[..., Arrays]
    rule: str = "all"
    note: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the source that results state."""
        stated = {"dataset": self.dataset, "split": self.split, "clips": self.clips, "rule": self.rule}
        return stated | ({"note": self.note} if self.note else {})


def output_names(outputs: Outputs) -> set[str]:
    """Return the names of the arrays that a network computes; `outputs` may hold shapes only."""
    return {field.name for field in dataclasses.fields(outputs) if getattr(outputs, field.name) is not None}


def collect(predict: Callable[[Any], Mapping], batches: Iterable[tuple[Any, Arrays]]) -> Arrays:
    """Run one pass over a split and drop the padding.

    Args:
      predict: function from a batch of NumPy arrays to named arrays on the devices.
      batches: batches, padded at the end, with the annotations of their real rows.

    Returns:
      One row per pair: the annotations of the input pipeline (image_item, audio_item, clip_id, labels, boxes ...) and
      the outputs of the network.
    """
    rows = []
    for batch, annotations in batches:
        real = len(next(iter(annotations.values())))
        predicted = placement.to_host(predict(batch))
        rows.append({**annotations, **{name: array[:real] for name, array in predicted.items()}})
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def only(arrays: Arrays, names: Collection[str]) -> Arrays:
    """Select the named arrays and those that identify the rows."""
    return {name: array for name, array in arrays.items() if name in {*names, "image_item", "clip_id"}}


def split_first_draw(arrays: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """Split pairs with several draws: `avc` gets all arrays of the first draw, `avc_draws` only the 1D ones of all."""
    if DRAWS not in arrays:
        return dict(arrays)
    drawn = arrays[DRAWS]
    first = drawn["pair_draw"] <= 0
    return {
        **arrays,
        FIRST_DRAW: {name: array[first] for name, array in drawn.items()},
        DRAWS: {name: array for name, array in drawn.items() if array.ndim == 1 and name != "clip_id"},
    }
