"""Which clips a page shows: by a fixed rule that does not look at any result."""

import numpy as np
from jaxtyping import Bool, Int


def by_class(labels: Bool[np.ndarray, "rows classes"], items: Int[np.ndarray, " rows"], count: int) -> tuple[int, ...]:
    """One clip of each of `count` classes.

    Of the classes that occur, `count` evenly spaced ones in the order of the labels; of each the clip with the lowest
    item number among the clips that have no other class, or, where all have, among those not yet taken.

    Args:
      labels: classes of each row's clip.
      items: item number of each row's clip.
      count: clips wanted.

    Returns:
      Rows, in the order of the classes; fewer where fewer classes occur.
    """
    present = np.flatnonzero(labels.any(axis=0))
    spaced = np.linspace(0, present.size - 1, min(count, present.size)).round().astype(int)
    picked: list[int] = []
    for label in present[spaced]:
        rows = np.setdiff1d(np.flatnonzero(labels[:, label]), picked)
        single = rows[labels[rows].sum(axis=1) == 1]
        candidates = single if single.size else rows
        if candidates.size:
            picked.append(int(candidates[items[candidates].argmin()]))
    return tuple(picked)
