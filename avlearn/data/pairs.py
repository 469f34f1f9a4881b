"""Which frame meets which sound: positives of one moment, negatives of two videos, or of two moments of one clip."""

import numpy as np
from jaxtyping import Bool, Float, Int

TRAINING_PAIRINGS = ("avc", "all_pairs", "contrast", "labelled", "shifted")
EVALUATION_PAIRINGS = ("avc", "all_positive", "negatives", "shifted")
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


def sharing(pairing: str) -> int:
    """Neighbours of a batch that share their frames: with `shifted` two, of which the second hears another moment."""
    return 2 if pairing == "shifted" else 1


def partners(video: Int[np.ndarray, " clips"], order: Float[np.ndarray, " clips"]) -> Int[np.ndarray, " clips"]:
    """For each clip another one of another video, at random, so that each is used once (a derangement by video).

    Args and errors are those of `several_partners`, for one draw.
    """
    return several_partners(video, order, 1)[0]


def several_partners(
    video: Int[np.ndarray, " clips"], order: Float[np.ndarray, " clips"], draws: int
) -> Int[np.ndarray, "{draws} clips"]:
    """For each clip so many others of other videos, no one twice; in each draw every clip is used once.

    The videos are put into a random order, clips of one video side by side, and the row is turned: for the first draw
    by the size of the largest video, for the others by evenly spaced larger steps.

    Args:
      video: fingerprints; clips of one video are never partners.
      order: uniform random numbers, all the chance there is.
      draws: how many partners each clip gets.

    Raises:
      ValueError: one video has more than half of the clips, so there is no such assignment; or there are not so many.
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
    turns = len(video) - 2 * largest + 1
    if draws > turns:
        raise ValueError(f"{len(video)} clips have {turns} partners each of another video, fewer than {draws} draws")
    partner = np.empty((draws, len(video)), np.int64)
    for draw in range(draws):
        partner[draw, row] = np.roll(row, -(largest + draw * turns // draws))
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


def sources(
    labels: Bool[np.ndarray, "clips classes"],
    sounding: Bool[np.ndarray, "clips classes"],
    video: Int[np.ndarray, " clips"],
    seed: int,
) -> dict[str, Int[np.ndarray, " rows"]]:
    """For each frame on which objects of several classes sound, and each of these, a clip in which it sounds alone.

    Args:
      labels: classes of each clip.
      sounding: classes of the objects that are seen to sound on each clip's frame.
      video: fingerprints; the sound is of another video.
      seed: of the choice among the clips.

    Returns:
      image_item, audio_item and source (the class). A frame with a class that no other clip has alone is left out.
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
