"""Which frame meets which sound: positives of one moment, negatives of two videos, or of two moments of one clip."""

import numpy as np
from jaxtyping import Bool, Float, Int

TRAINING_PAIRINGS = ("avc", "all_pairs", "contrast", "labelled", "shifted")
EVALUATION_PAIRINGS = ("avc", "all_positive", "shifted")
HALF_NEGATIVE = ("avc", "shifted")


def negative_slots(pairing: str, batch: int) -> Bool[np.ndarray, " batch"]:
    """Which places of a worker's batch are negatives: every other one where half are negatives, else none.

    Raises:
      ValueError: a batch that has no half, or only one negative.
    """
    if pairing not in HALF_NEGATIVE:
        return np.zeros(batch, bool)
    if batch % 2 or batch < 4:
        raise ValueError(
            f"batch_per_worker={batch} does not split into positives and at least two negatives; use an even "
            "--config.train.batch_per_worker of 4 or more"
        )
    return np.arange(batch) % 2 == 1


def partners(video: Int[np.ndarray, " clips"], order: Float[np.ndarray, " clips"]) -> Int[np.ndarray, " clips"]:
    """For each clip another one of another video, at random, so that each is used once (a derangement by video).

    The videos are put into a random order, clips of one video side by side, and the row is turned by the size of its
    largest video.

    Args:
      video: fingerprints; clips of one video are never partners.
      order: uniform random numbers, all the chance there is.

    Raises:
      ValueError: one video has more than half of the clips, so there is no such assignment.
    """
    _, group, sizes = np.unique(video, return_inverse=True, return_counts=True)
    largest = int(sizes.max())
    if 2 * largest > len(video):
        raise ValueError(
            f"{largest} of {len(video)} clips are of one video, so they cannot all meet the sound of another one: "
            "a larger batch, or clips of more videos, are needed"
        )
    first = np.full(len(sizes), np.inf)
    np.minimum.at(first, group, order)
    row = np.lexsort((order, first[group]))
    partner = np.empty(len(video), np.int64)
    partner[row] = np.roll(row, -largest)
    return partner


def sound_of(
    negative: Bool[np.ndarray, " batch"], video: Int[np.ndarray, " batch"], order: Float[np.ndarray, " batch"]
) -> Int[np.ndarray, " batch"]:
    """Whose sound each frame of a batch meets: its own, or for negatives that of another negative of another video.

    Raises:
      ValueError: see `partners`.
    """
    source = np.arange(len(video))
    places = np.flatnonzero(negative)
    if len(places):
        source[places] = places[partners(video[places], order[places])]
    return source
