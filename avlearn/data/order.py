"""The order of training clips: each epoch is one permutation of the split."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

EPOCH_STREAM = 0  # random stream; `avlearn.data.sample` uses another


def epoch_order(num_clips: int, seed: int, epoch: int) -> Int64[np.ndarray, " clips"]:
    """Return the order of the clips in an epoch, a pure function of the arguments."""
    return np.random.default_rng((seed, EPOCH_STREAM, epoch)).permutation(num_clips)


def clips_at(
    positions: Int64[np.ndarray, " batch"], num_clips: int, order: Callable[[int], np.ndarray]
) -> Int64[np.ndarray, " batch"]:
    """Return the clips at positions of the endless stream of epochs.

    Args:
      positions: positions in the stream, counted from the start of training.
      num_clips: number of clips of the split.
      order: returns the permutation of an epoch (`epoch_order`).
    """
    epochs, indices = np.divmod(positions, num_clips)
    clips = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        clips[here] = order(int(epoch))[indices[here]]
    return clips
