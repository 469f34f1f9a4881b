"""Images and sounds together in a map of two dimensions, by t-SNE (All that Sound, figure 6).

The map is for looking at. What is scored is how far neighbours on it share a class, beside chance and beside the
embeddings that it was made of: t-SNE can show clusters where there are none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from avlearn.evaluators.numerics import array_checks, single_label

NEEDS = ("image_embedding", "audio_embedding", "labels")
PAIRING = "all_positive"


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    perplexity: float = 30.0,
    neighbours: int = 10,
    seed: int = 0,
    items_expected: int | None = None,
) -> dict[str, Any]:
    """The map's coordinates, and how far its neighbours share a class.

    All images and sounds are points of one map. A point's neighbours are the nearest points of other clips.

    Args:
      test: the arrays of `NEEDS` (see `parts/check.py`).
      fit: not used: the map is of the evaluated items.
      perplexity: of t-SNE: about how many neighbours a point has.
      neighbours: points nearest to each point that count.
      seed: of t-SNE.
      items_expected: items there should be, one for each clip of the split; None: as many as are given.

    Returns:
      class_agreement (share of the neighbours on the map that have a class in common with their point);
      class_agreement_of_embeddings (the same by distance between the embeddings); other_mode (share of neighbours on
      the map that are of the other mode: 0 where images and sounds lie apart, about .5 where they mix); baselines:
      chance (of class_agreement: the expectation where points are shuffled) and mixed (of other_mode: the same);
      kl_divergence (that t-SNE ends with), perplexity, neighbours, seed, items, items_expected.
      arrays: image_position and audio_position `[items, 2]`, for `visuals/point_map.py` and `arrays.npz`.

    Raises:
      ValueError: arrays that are missing or wrong, embeddings of different length, or options for which there are too
        few items.
    """
    image, audio, labels = array_checks.arrays("tsne", test, NEEDS)
    labels = single_label.marked("tsne", labels)
    _check(image, audio, perplexity, neighbours)
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
    """Positions on the map, and the Kullback-Leibler divergence that is left."""
    tsne = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    positions = tsne.fit_transform(points)
    return positions.astype(np.float32), float(tsne.kl_divergence_)


def nearest_of_other_clips(points: Float[np.ndarray, "n dim"], neighbours: int) -> Int[np.ndarray, "n neighbours"]:
    """Nearest points to each, where point i and point i + n / 2 are the two of one clip and left out."""
    clips = len(points) // 2
    # Two points more are asked for: at most the point itself and its counterpart are among them.
    found = NearestNeighbors(n_neighbors=neighbours + 2).fit(points).kneighbors(return_distance=False, X=points)
    own = found % clips == (np.arange(len(points)) % clips)[:, None]
    first = np.argsort(own, axis=1, kind="stable")[:, :neighbours]  # the others, in their order
    return np.take_along_axis(found, first, axis=1)


def share_of_class(found: Int[np.ndarray, "n neighbours"], labels: Bool[np.ndarray, "n classes"]) -> float:
    """Share of the points found that have a class in common with the point that they were found for."""
    return float((labels[found] & labels[:, None]).any(axis=2).mean())


def chance(labels: Bool[np.ndarray, "n classes"]) -> float:
    """Share of the pairs of different clips that have a class in common."""
    common = (labels.astype(np.float32) @ labels.T.astype(np.float32)) > 0
    clips = len(labels)
    return float((common.sum() - np.diag(common).sum()) / (clips * (clips - 1)))


def _check(
    image: Float[np.ndarray, "n image_dim"],
    audio: Float[np.ndarray, "n audio_dim"],
    perplexity: float,
    neighbours: int,
) -> None:
    if image.shape != audio.shape:
        raise ValueError(
            f"tsne: image_embedding has {image.shape[1]} dimensions and audio_embedding {audio.shape[1]}; they are "
            "points of one map, so both need as many"
        )
    points = 2 * len(image)
    if not 0 < perplexity < points:
        raise ValueError(f"tsne: perplexity = {perplexity}; above 0 and below the number of points, 2 x {len(image)}")
    if not 1 <= neighbours <= points - 2:
        raise ValueError(f"tsne: neighbours = {neighbours}; from 1 to {points - 2}, for {len(image)} rows")
