"""Audio-visual correspondence: is this sound of this moment? (Look, Listen and Learn 3.1; Objects that Sound 3.1)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from avlearn.evaluators.parts import bootstrap, check

NEEDS = ("logit", "corresponds", "image_item")
PAIRING = "avc"
THRESHOLDS = ("zero", "validation")
THRESHOLD_NEEDS = ("logit", "corresponds")


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of the two-way decision on pairs of which exactly half correspond.

    A pair is called corresponding where its logit is above the threshold; at exactly the threshold it is not.

    Args:
      test: the arrays of `NEEDS` (see `parts/check.py`).
      fit: the arrays of `THRESHOLD_NEEDS` for pairs of other clips, on which the threshold is chosen
        (`best_threshold`); None: it is 0.
      items_expected: pairs there should be, two for each clip of the split; None: as many as are given.
      resamples: bootstrap samples of clips.
      seed: of the bootstrap.

    Returns:
      accuracy, accuracy_interval (95 %), threshold, predicted_positive (share of pairs called corresponding), roc_auc,
      items, items_expected, and baselines: chance, and constant, the better of the two constant answers. Where the
      threshold was chosen, `fit`: its accuracy on the pairs that it was chosen on, and how many they are.

    Raises:
      ValueError: arrays that are missing or wrong, or pairs that are not balanced.
    """
    logit, corresponds, image_item = check.arrays("avc_accuracy", test, NEEDS)
    corresponds = corresponds.astype(bool)
    positives = int(corresponds.sum())
    if 2 * positives != len(corresponds):
        raise ValueError(
            f"avc_accuracy: {positives} of {len(corresponds)} pairs correspond; exactly half must, or a network that "
            f"always gives the same answer would score above .5. Collect the arrays with the pairing {PAIRING!r}"
        )
    threshold, chosen_on = 0.0, {}
    if fit is not None:
        fit_logit, fit_corresponds = check.arrays("avc_accuracy, threshold", fit, THRESHOLD_NEEDS)
        threshold, accuracy = best_threshold(fit_logit, fit_corresponds.astype(bool))
        chosen_on = {"fit": {"accuracy": accuracy, "items": len(fit_logit)}}
    predicted = logit > threshold
    right = predicted == corresponds
    return {
        "threshold": threshold,
        "accuracy": float(right.mean()),
        "accuracy_interval": bootstrap.interval(right, image_item, resamples=resamples, seed=seed),
        "predicted_positive": float(predicted.mean()),
        "roc_auc": roc_auc(logit, corresponds),
        "baselines": {"chance": 0.5, "constant": max(positives, len(corresponds) - positives) / len(corresponds)},
        "items": len(logit),
        "items_expected": check.expected(len(logit), items_expected),
        **chosen_on,
    }


def best_threshold(logit: Float[np.ndarray, " n"], corresponds: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """The threshold with the most right decisions, and its accuracy.

    It lies halfway between two neighbouring values of `logit`, or beyond the last; of several that are as good it is
    the middle one.
    """
    order = np.argsort(logit, kind="stable")
    values, positive = logit[order].astype(np.float64), corresponds[order]
    below = np.arange(len(values) + 1)  # pairs under the threshold
    right = np.concatenate([[0], np.cumsum(~positive)]) + positive.sum() - np.concatenate([[0], np.cumsum(positive)])
    edges = np.concatenate([[values[0] - 1], values, [values[-1] + 1]])
    possible = below[np.diff(edges) > 0]  # equal values are on one side
    best = possible[right[possible] == right[possible].max()]
    count = best[len(best) // 2]
    return float((edges[count] + edges[count + 1]) / 2), float(right[count] / len(values))


def roc_auc(score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Probability that a positive scores above a negative, ties counted half (the Mann-Whitney statistic)."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    ranks = stats.rankdata(score)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
