"""Audio-visual correspondence: is this sound of this moment? (Look, Listen and Learn 3.1; Objects that Sound 3.1)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from avlearn.evaluators.parts import bootstrap, check

NEEDS = ("logit", "corresponds", "image_item")
PAIRING = "avc"


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of the two-way decision on pairs of which exactly half correspond.

    A pair is called corresponding where its logit is above 0; at exactly 0 it is not.

    Args:
      test: the arrays of `NEEDS` (see `parts/check.py`).
      fit: not used: nothing is fitted.
      items_expected: pairs there should be, two for each clip of the split; None: as many as are given.
      resamples: bootstrap samples of clips.
      seed: of the bootstrap.

    Returns:
      accuracy, accuracy_interval (95 %), predicted_positive (share of pairs called corresponding), roc_auc, items,
      items_expected, and baselines: chance, and constant, the better of the two constant answers.

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
    predicted = logit > 0
    right = predicted == corresponds
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": bootstrap.interval(right, image_item, resamples=resamples, seed=seed),
        "predicted_positive": float(predicted.mean()),
        "roc_auc": roc_auc(logit, corresponds),
        "baselines": {"chance": 0.5, "constant": max(positives, len(corresponds) - positives) / len(corresponds)},
        "items": len(logit),
        "items_expected": check.expected(len(logit), items_expected),
    }


def roc_auc(score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Probability that a positive scores above a negative, ties counted half (the Mann-Whitney statistic)."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    ranks = stats.rankdata(score)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
