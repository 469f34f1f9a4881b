"""The order of training clips: an epoch is one permutation of a split, a pure function of seed and epoch."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

EPOCH_STREAM = 0  # keeps the random numbers of the order apart from those of `avlearn.data.sample`


def epoch_order(num_clips: int, seed: int, epoch: int) -> Int64[np.ndarray, " clips"]:
    """The permutation of a split that is an epoch, a pure function of its arguments."""
    return np.random.default_rng((seed, EPOCH_STREAM, epoch)).permutation(num_clips)


def clips_at(
    positions: Int64[np.ndarray, " batch"], num_clips: int, order: Callable[[int], np.ndarray]
) -> Int64[np.ndarray, " batch"]:
    """Clips at positions of the endless stream of epochs.

    Args:
      positions: from 0, the start of training.
      num_clips: of the split.
      order: epoch to its permutation (`epoch_order`).
    """
    epochs, places = np.divmod(positions, num_clips)
    clips = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        clips[here] = order(int(epoch))[places[here]]
    return clips
