"""t-SNE map of image and audio embeddings in two dimensions (All that Sound, figure 6).

The map is for viewing. The score is the share of neighbours on it that have a class in common; it comes with its chance
level and with the same share in the space of the embeddings, since t-SNE can show clusters that do not exist.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from avlearn.evaluators.numerics import array_checks
from avlearn.types import TableRow

NEEDS = ("image_embedding", "audio_embedding", "labels")
PAIRING = "all_positive"
NEIGHBOURS = 10
TABLE = (TableRow("class_agreement", "Neighbours of one class on the map", "chance", "chance"),)


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    perplexity: float = 30.0,
    neighbours: int = NEIGHBOURS,
    seed: int = 0,
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Compute the map's coordinates, and the share of neighbours that have a class in common.

    The images and audio of all clips are points of one map. A point's neighbours are the nearest points of other clips.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`).
      fit: not used, since the evaluated items are mapped.
      perplexity: perplexity of t-SNE, about the number of neighbours of a point.
      neighbours: number of nearest points that count.
      seed: seed of t-SNE.
      items_expected: clips of the split; None: the items given.

    Returns:
      class_agreement (share of the neighbours on the map that have a class in common with their point);
      class_agreement_of_embeddings (the same by distance between the embeddings); other_mode (share of neighbours on
      the map that are of the other mode: 0 if images and audio are separate, about .5 if they mix); baselines:
      chance (expected class_agreement of shuffled points) and mixed (expected other_mode); kl_divergence (at the end
      of t-SNE), perplexity, neighbours, seed, items, items_expected.
      arrays: image_position and audio_position `[items, 2]`, for `visuals/point_map.py` and `arrays.npz`.

    Raises:
      ValueError: arrays that are missing or wrong, embeddings of different length, or too few items for the options.
    """
    image, audio, labels = array_checks.arrays("tsne", test, NEEDS)
    _check_shapes(image, audio)
    check_clips(len(image), perplexity=perplexity, neighbours=neighbours)
    points = np.concatenate([image, audio]).astype(np.float64)
    positions, divergence = project(points, perplexity, seed)
    both = np.concatenate([labels, labels])
    on_map = nearest_of_other_clips(positions, neighbours)
    in_space = nearest_of_other_clips(points, neighbours)
    clips = len(labels)
    return {
        "class_agreement": share_of_class(on_map, both),
        "class_agreement_of_embeddings": share_of_class(in_space, both),
        "other_mode": float(((on_map >= clips) != (np.arange(2 * clips) >= clips)[:, None]).mean()),
        "baselines": {"chance": chance(labels), "mixed": 0.5},
        "protocol": f"{neighbours} nearest points of other clips, on a map of perplexity {perplexity:g}",
        "kl_divergence": divergence,
        "perplexity": perplexity,
        "neighbours": neighbours,
        "seed": seed,
        "items": clips,
        "items_expected": array_checks.expected(clips, items_expected),
        "arrays": {"image_position": positions[:clips], "audio_position": positions[clips:]},
    }


def project(points: Float[np.ndarray, "n dim"], perplexity: float, seed: int) -> tuple[Float[np.ndarray, "n 2"], float]:
    """Compute positions on the map, and the remaining Kullback-Leibler divergence."""
    tsne = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    positions = tsne.fit_transform(points)
    return positions.astype(np.float32), float(tsne.kl_divergence_)


def nearest_of_other_clips(points: Float[np.ndarray, "n dim"], neighbours: int) -> Int[np.ndarray, "n neighbours"]:
    """Find the nearest points of other clips to each point; points i and i + n / 2 are of one clip."""
    clips = len(points) // 2
    # Find two more, since the point itself and its clip's other point may be among them.
    found = np.asarray(
        NearestNeighbors(n_neighbors=neighbours + 2).fit(points).kneighbors(points, return_distance=False)
    )
    own = found % clips == (np.arange(len(points)) % clips)[:, None]
    first = np.argsort(own, axis=1, kind="stable")[:, :neighbours]  # the others, in their order
    return np.take_along_axis(found, first, axis=1)


def share_of_class(found: Int[np.ndarray, "n neighbours"], labels: Bool[np.ndarray, "n classes"]) -> float:
    """Compute the share of the found points that have a class in common with their point."""
    return float((labels[found] & labels[:, None]).any(axis=2).mean())


def chance(labels: Bool[np.ndarray, "n classes"]) -> float:
    """Compute the share of pairs of different clips that have a class in common."""
    common = (labels.astype(np.float32) @ labels.T.astype(np.float32)) > 0
    clips = len(labels)
    return float((common.sum() - np.diag(common).sum()) / (clips * (clips - 1)))


def check_clips(clips: int, _: int = 0, *, perplexity: float, neighbours: int = NEIGHBOURS) -> None:
    """Check that there are enough clips for the options.

    Raises:
      ValueError: there are not; the message names the option.
    """
    points = 2 * clips
    if not 0 < perplexity < points:
        raise ValueError(
            f"tsne: perplexity = {perplexity}; it must be above 0 and below the number of points, 2 x {clips} "
            "(--config.evaluation.tsne.perplexity)"
        )
    if not 1 <= neighbours <= points - 2:
        raise ValueError(
            f"tsne: neighbours = {neighbours}; from 1 to {points - 2}, for {clips} rows. Evaluate on more clips, or "
            "leave tsne out of --config.evaluation.evaluators"
        )


def _check_shapes(image: Float[np.ndarray, "n image_dim"], audio: Float[np.ndarray, "n audio_dim"]) -> None:
    if image.shape != audio.shape:
        raise ValueError(
            f"tsne: image_embedding has {image.shape[1]} dimensions and audio_embedding {audio.shape[1]}; they are "
            "points of one map, so both need the same number"
        )
