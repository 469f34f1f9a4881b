"""Selects the clips that a page shows, by a fixed rule that does not look at any result."""

import numpy as np
from jaxtyping import Bool, Int


def one_per_class(
    labels: Bool[np.ndarray, "rows classes"], items: Int[np.ndarray, " rows"], count: int
) -> tuple[int, ...]:
    """Select one clip for each of `count` classes.

    The classes are spaced evenly over those that occur, in label order. For each, the clip with the lowest item number
    is selected, if possible among clips that have no other class. No clip is selected twice.

    Args:
      labels: classes of each row's clip.
      items: item number of each row's clip.
      count: number of clips wanted.

    Returns:
      Rows, in the order of the classes; fewer than `count` if fewer classes occur.
    """
    present = np.flatnonzero(labels.any(axis=0))
    spaced = np.linspace(0, present.size - 1, min(count, present.size)).round().astype(int)
    selected: list[int] = []
    for label in present[spaced]:
        rows = np.setdiff1d(np.flatnonzero(labels[:, label]), selected)
        single = rows[labels[rows].sum(axis=1) == 1]
        candidates = single if single.size else rows
        if candidates.size:
            selected.append(int(candidates[items[candidates].argmin()]))
    return tuple(selected)
