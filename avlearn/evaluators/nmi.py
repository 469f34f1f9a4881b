"""NMI: do clusters of the features agree with the classes? (Look, Listen and Learn 3.5.3, table 4).

The features of each mode are clustered by k-means; the score is the normalised mutual information between clusters and
classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from avlearn.config import one_of
from avlearn.evaluators.numerics import array_checks, single_label
from avlearn.types import TableRow

NEEDS = ("image_embedding", "audio_embedding", "labels")
OPTIONAL = ("untrained_image_embedding", "untrained_audio_embedding")
PAIRING = "all_positive"
AVERAGES = ("arithmetic", "geometric", "min", "max")
FEATURES = ("embedding", "pool4")
TABLE = (
    TableRow("image", "NMI of image clusters", "random", "random clusters"),
    TableRow("audio", "NMI of sound clusters", "random", "random clusters"),
)


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    features: str = "embedding",
    modalities: Sequence[str] = ("image", "audio"),
    clusters: int = 64,
    restarts: int = 10,
    average: str = "arithmetic",
    label_rule: str = "expanded",
    random_draws: int = 10,
    seed: int = 0,
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Compute the normalised mutual information between k-means clusters and classes, for each mode.

    Args:
      test: labels, and for each mode the array `<mode>_<features>` (see `numerics/array_checks.py`); optionally
        `untrained_<mode>_<features>`, for the baseline.
      fit: not used, since the evaluated items are clustered.
      features: `embedding` (`NEEDS`) or `pool4`.
      modalities: modes to score, `image` and `audio`.
      clusters: k of k-means.
      restarts: runs of k-means from different centres; the run with the least distance to the centres is scored.
      average: kind of mean of the two entropies that divides the mutual information, one of `AVERAGES`.
      label_rule: rule for items with several classes, see `numerics/single_label.py`; `expanded` counts an item once
        for each of its classes.
      random_draws: number of draws for the random baseline.
      seed: seed of k-means and of the draws.
      items_expected: clips of the split; None: the items given.

    Returns:
      image, audio; baselines: random (mean over draws of the same clusters with their items shuffled) and untrained
      (None without such features), each by mode; clusters_found by mode (less than `clusters` if items coincide);
      clusters, classes (that occur), average, label_rule, features, restarts, random_draws, seed, items,
      items_expected.

    Raises:
      ValueError: arrays that are missing or wrong, fewer items than clusters, or an unknown option.
    """
    check_options(clusters=clusters, average=average, label_rule=label_rule)
    _check_arguments(features, modalities, restarts, random_draws)
    names = [f"{mode}_{features}" for mode in modalities]
    optional = [name for name in (f"untrained_{each}" for each in names) if name in test]
    labels, *arrays = array_checks.arrays("nmi", test, ("labels", *names, *optional))
    rows, classes = single_label.classes("nmi", labels, label_rule)
    check_clips(len(labels), clusters=clusters)
    found = {
        name: cluster(array, clusters, restarts, seed) for name, array in zip((*names, *optional), arrays, strict=True)
    }
    scores = {name: agreement(of_item[rows], classes, average) for name, of_item in found.items()}
    rng = np.random.default_rng(seed)
    shuffled = {
        name: [agreement(rng.permutation(found[name])[rows], classes, average) for _ in range(random_draws)]
        for name in names
    }
    by_mode = dict(zip(modalities, names, strict=True))
    return {mode: scores[name] for mode, name in by_mode.items()} | {
        "baselines": {
            "random": {mode: float(np.mean(shuffled[name])) for mode, name in by_mode.items()},
            "untrained": {mode: scores.get(f"untrained_{name}") for mode, name in by_mode.items()},
        },
        "protocol": f"k-means with {clusters} clusters on {features}, best of {restarts}; NMI by the {average} mean",
        "clusters_found": {mode: len(np.unique(found[name])) for mode, name in by_mode.items()},
        "clusters": clusters,
        "classes": len(np.unique(classes)),
        "average": average,
        "label_rule": label_rule,
        "features": features,
        "restarts": restarts,
        "random_draws": random_draws,
        "seed": seed,
        "items": len(labels),
        "items_expected": array_checks.expected(len(labels), items_expected),
    }


def cluster(features: Float[np.ndarray, "n dim"], clusters: int, restarts: int, seed: int) -> Int[np.ndarray, " n"]:
    """Assign each row to a cluster by k-means."""
    return KMeans(clusters, n_init=restarts, random_state=seed).fit_predict(features)


def agreement(clusters: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"], average: str) -> float:
    """Compute the normalised mutual information of two groupings of the same rows."""
    return float(normalized_mutual_info_score(classes, clusters, average_method=average))


def check_options(*, clusters: int, average: str, label_rule: str) -> None:
    """Check the options of the config.

    Raises:
      ValueError: an option is unknown or out of range.
    """
    one_of(average, AVERAGES, "evaluation.nmi.average")
    one_of(label_rule, single_label.RULES, "evaluation.nmi.label_rule")
    if clusters < 1:
        raise ValueError(f"nmi: clusters = {clusters}; --config.evaluation.nmi.clusters must be at least 1")


def check_clips(clips: int, _: int = 0, *, clusters: int, **options: str) -> None:
    """Check that there are as many clips as clusters.

    Raises:
      ValueError: there are fewer.
    """
    if clips < clusters:
        raise ValueError(
            f"nmi: {clips} rows for {clusters} clusters; each cluster needs at least one row "
            f"(--config.evaluation.nmi.clusters={clips} or less)"
        )


def _check_arguments(features: str, modalities: Sequence[str], restarts: int, random_draws: int) -> None:
    array_checks.modalities("nmi", modalities)
    if features not in FEATURES:
        raise ValueError(f"nmi: features = {features!r}; allowed: {', '.join(FEATURES)}")
    if min(restarts, random_draws) < 1:
        raise ValueError(f"nmi: restarts = {restarts}, random_draws = {random_draws}; each must be at least 1")
