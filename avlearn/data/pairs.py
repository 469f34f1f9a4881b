"""Pairs frames with audio: positives from one moment, negatives from two videos or from two moments of one clip."""

import numpy as np
from jaxtyping import Bool, Float, Int

TRAINING_PAIRINGS = ("avc", "all_pairs", "contrast", "labelled", "shifted")
EVALUATION_PAIRINGS = ("avc", "all_positive", "negatives", "shifted")
HALF_NEGATIVE = ("avc", "shifted")
OF_OTHER_VIDEOS = ("avc", "all_pairs", "contrast")  # training needs clips of several videos


def least_batch(pairing: str) -> int:
    """Return the smallest batch of a worker that has positives and negatives."""
    return 4 if pairing in HALF_NEGATIVE else 2 if pairing in OF_OTHER_VIDEOS else 1


def negative_slots(pairing: str, batch: int) -> Bool[np.ndarray, " batch"]:
    """Return which rows of a worker's batch are negatives: every other row if half are negatives, else none.

    Raises:
      ValueError: the batch is odd, or has fewer than two negatives.
    """
    if pairing not in HALF_NEGATIVE:
        return np.zeros(batch, bool)
    if batch % 2 or batch < least_batch(pairing):
        raise ValueError(
            f"batch_per_worker={batch} does not split into positives and at least two negatives; use an even "
            "--config.train.batch_per_worker of 4 or more"
        )
    return np.arange(batch) % 2 == 1


def rows_per_moment(pairing: str) -> int:
    """Return how many consecutive rows share a frame: 2 for `shifted`, whose second row has other audio."""
    return 2 if pairing == "shifted" else 1


def partners(video: Int[np.ndarray, " clips"], order: Float[np.ndarray, " clips"]) -> Int[np.ndarray, " clips"]:
    """Assign each clip a random clip of another video, each used once if possible (a derangement by video).

    Arguments and errors are those of `partner_draws`.
    """
    return partner_draws(video, order, 1)[0]


def most_draws(video: Int[np.ndarray, " clips"]) -> int:
    """Return the largest number of draws that `partner_draws` can make; 0 if all clips are of one video."""
    largest = _largest(video)
    return len(video) - 2 * largest + 1 if 2 * largest <= len(video) else len(video) - largest


def partner_draws(
    video: Int[np.ndarray, " clips"], order: Float[np.ndarray, " clips"], draws: int
) -> Int[np.ndarray, "{draws} clips"]:
    """Assign each clip `draws` different clips of other videos.

    The videos are put into a random order, with the clips of a video next to each other, and this row is rotated: for
    the first draw by the size of the largest video, for the others by evenly spaced larger steps. So each draw uses
    every clip once. If one video has more than half of the clips, the others are each used several times.

    Args:
      video: fingerprints; clips of one video are never partners.
      order: uniform random numbers, the only source of randomness.
      draws: number of partners of each clip, at most `most_draws`.

    Raises:
      ValueError: there are fewer than `draws` assignments.
    """
    possible = most_draws(video)
    if draws > possible:
        raise ValueError(
            f"each of {len(video)} clips has {possible} partners of another video, fewer than {draws} draws"
        )
    _, group, sizes = np.unique(video, return_inverse=True, return_counts=True)
    largest = int(sizes.max())
    if 2 * largest > len(video):
        return _repeated_draws(group == sizes.argmax(), order, draws)
    first = np.full(len(sizes), np.inf)
    np.minimum.at(first, group, order)
    row = np.lexsort((order, first[group]))
    rotations = len(video) - 2 * largest + 1
    partner = np.empty((draws, len(video)), np.int64)
    for draw in range(draws):
        partner[draw, row] = np.roll(row, -(largest + draw * rotations // draws))
    return partner


def _repeated_draws(
    in_largest: Bool[np.ndarray, " clips"], order: Float[np.ndarray, " clips"], draws: int
) -> Int[np.ndarray, "{draws} clips"]:
    """Assign partners between the clips of the largest video and the other clips, which are fewer and take turns."""
    mine, others = (rows[np.argsort(order[rows])] for rows in (np.flatnonzero(in_largest), np.flatnonzero(~in_largest)))
    partner = np.empty((draws, len(order)), np.int64)
    for draw in range(draws):
        partner[draw, mine] = np.resize(np.roll(others, -draw), len(mine))
        partner[draw, others] = np.roll(mine, -draw)[: len(others)]
    return partner


def _largest(video: Int[np.ndarray, " clips"]) -> int:
    """Return the number of clips of the video that has the most."""
    return int(np.unique(video, return_counts=True)[1].max())


def audio_source(
    negative: Bool[np.ndarray, " batch"], video: Int[np.ndarray, " batch"], order: Float[np.ndarray, " batch"]
) -> Int[np.ndarray, " batch"]:
    """Return, for each frame of a batch, the row whose audio it takes: its own or, for negatives, one of another video.

    Negatives exchange their audio. If too many of them are of one video, they take the audio of any row of the batch.
    If the whole batch is of one video, they keep their own: the caller leaves them out.
    """
    source, rows = np.arange(len(video)), np.flatnonzero(negative)
    if not len(rows) or _largest(video) == len(video):
        return source
    among_negatives = 2 * _largest(video[rows]) <= len(rows)
    source[rows] = rows[partners(video[rows], order[rows])] if among_negatives else partners(video, order)[rows]
    return source


def source_pairs(
    labels: Bool[np.ndarray, "clips classes"],
    sounding: Bool[np.ndarray, "clips classes"],
    video: Int[np.ndarray, " clips"],
    seed: int,
) -> dict[str, Int[np.ndarray, " rows"]]:
    """Pair each frame that shows several sounding classes with clips in which each of these classes sounds alone.

    Args:
      labels: classes of each clip.
      sounding: classes of the sounding objects on each clip's frame.
      video: fingerprints; the audio is of another video than the frame.
      seed: seed of the choice among the clips.

    Returns:
      image_item, audio_item and source (the class). A frame is left out if no clip has one of its classes alone.
    """
    rng = np.random.default_rng(seed)
    alone = labels.sum(axis=1) == 1
    rows = []
    for image in np.flatnonzero(sounding.sum(axis=1) > 1):
        found = [
            (image, np.flatnonzero(alone & labels[:, c] & (video != video[image])), c)
            for c in np.flatnonzero(sounding[image])
        ]
        if all(len(clips) for _, clips, _ in found):
            rows += [(image, rng.choice(clips), source) for _, clips, source in found]
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return dict(zip(("image_item", "audio_item", "source"), columns, strict=True))
