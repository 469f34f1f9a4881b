"""Checks that the numbers in records are finite; otherwise a loss or a score would be NaN, without the clip's name."""

import numpy as np
from jaxtyping import Float, Float16, Int

INFINITE_HALF = 0x7C00  # bits of infinity in float16; those of NaN are above it


def check_log_spectrograms(columns: Float16[np.ndarray, "clips columns bins"], clip_ids: np.ndarray) -> None:
    """Check log-spectrograms.

    Args:
      columns: natural log of power.
      clip_ids: name of each clip, or one name for all, bytes.

    Raises:
      ValueError: a value is NaN or infinite.
    """
    bits = columns.view(np.int16)
    # `np.isfinite` converts float16 to float32 first.
    if columns.size and (bits.max() >= INFINITE_HALF or columns.view(np.uint16).max() >= INFINITE_HALF | 0x8000):
        bad = ~np.isfinite(columns).all(axis=(1, 2))
        raise _error("log-spectrogram", np.broadcast_to(clip_ids, len(columns))[bad][0])


def check_boxes(
    corners: Float[np.ndarray, " corners"], clip: Int[np.ndarray, " corners"], clip_ids: np.ndarray
) -> None:
    """Check the boxes of clips.

    Args:
      corners: corners of all boxes, one after the other.
      clip: row of each value's clip in `clip_ids`.
      clip_ids: names of the clips, bytes.

    Raises:
      ValueError: a corner is NaN or infinite.
    """
    bad = ~np.isfinite(corners)
    if bad.any():
        raise _error("box", clip_ids[clip[bad][0]])


def _error(what: str, clip_id: bytes) -> ValueError:
    return ValueError(
        f"a {what} of the clip {clip_id.decode()} has NaN or infinite values; build the dataset again without this clip"
    )
