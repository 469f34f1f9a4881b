"""Audio-visual correspondence: is this sound of this moment? (Look, Listen and Learn 3.1; Objects that Sound 3.1)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from avlearn.evaluators.numerics import array_checks, bootstrap

NEEDS = ("logit", "corresponds", "image_item")
OPTIONAL = ("pair_draw",)
PAIRING = "avc_draws"
THRESHOLDS = ("zero", "validation")
THRESHOLD_NEEDS = ("logit", "corresponds")


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    evaluator: str = "avc_accuracy",
) -> dict[str, Any]:
    """Accuracy of the two-way decision on pairs of which exactly half correspond, the mean over draws of the negatives.

    A pair is called corresponding where its logit is above the threshold; at exactly the threshold it is not. The
    positives belong to every draw.

    Args:
      test: the arrays of `NEEDS` (see `parts/check.py`); pair_draw where there are several draws.
      fit: the arrays of `THRESHOLD_NEEDS` for pairs of other clips, on which the threshold is chosen
        (`best_threshold`); None: it is 0.
      items_expected: clips of the split, of which each has a positive and a negative of each draw; None: as many pairs
        as are given.
      resamples: bootstrap samples of clips, each with all its pairs.
      seed: of the bootstrap.
      evaluator: name in the messages.

    Returns:
      accuracy, accuracy_interval (95 %), predicted_positive (share of pairs called corresponding) and roc_auc, means
      over draws; threshold; draws; accuracy_of_draws; items (pairs), items_expected; baselines: chance, and constant,
      the better of the two constant answers; protocol, seed. Where the threshold was chosen, `fit`: its accuracy on the
      pairs that it was chosen on, and how many they are.

    Raises:
      ValueError: arrays that are missing or wrong, or pairs that are not balanced.
    """
    optional = [name for name in OPTIONAL if name in test]
    logit, corresponds, image_item, *others = array_checks.arrays(evaluator, test, (*NEEDS, *optional))
    corresponds = corresponds.astype(bool)
    draw = others[0] if others else np.where(corresponds, -1, 0)
    draws = _draws(evaluator, corresponds, draw)
    threshold, chosen_on = 0.0, {}
    if fit is not None:
        fit_logit, fit_corresponds = array_checks.arrays(f"{evaluator}, threshold", fit, THRESHOLD_NEEDS)
        threshold, accuracy = best_threshold(fit_logit, fit_corresponds.astype(bool))
        chosen_on = {"fit": {"accuracy": accuracy, "items": len(fit_logit)}}
    predicted = logit > threshold
    right = predicted == corresponds
    of_draws = [corresponds | (draw == number) for number in draws]
    weight = np.where(corresponds, 1.0, 1 / len(draws))  # of a pair in the mean over draws
    positives = float(np.average(corresponds, weights=weight))
    return {
        "threshold": threshold,
        "accuracy": float(np.average(right, weights=weight)),
        "accuracy_interval": bootstrap.interval(right, image_item, resamples=resamples, seed=seed, weight=weight),
        "predicted_positive": float(np.average(predicted, weights=weight)),
        "roc_auc": float(np.mean([roc_auc(logit[rows], corresponds[rows]) for rows in of_draws])),
        "draws": len(draws),
        "accuracy_of_draws": [float(right[rows].mean()) for rows in of_draws],
        "baselines": {"chance": 0.5, "constant": max(positives, 1 - positives)},
        "items": len(logit),
        "items_expected": len(logit) if items_expected is None else items_expected * (1 + len(draws)),
        "protocol": f"corresponding above {'0' if fit is None else 'a chosen threshold'}; mean over balanced draws",
        "seed": seed,
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


def _draws(evaluator: str, corresponds: Bool[np.ndarray, " n"], draw: Int[np.ndarray, " n"]) -> list[int]:
    """Numbers of the draws, each of which has as many negatives as there are positives."""
    positives = int(corresponds.sum())
    numbers, negatives = np.unique(draw[~corresponds], return_counts=True)
    if len(numbers) and (negatives == positives).all():
        return numbers.tolist()
    raise ValueError(
        f"{evaluator}: {positives} of {len(corresponds)} pairs correspond, the draws have {negatives.tolist()} "
        "negatives; exactly half of a draw must correspond, or a network that always gives the same answer would score "
        f"above .5. Collect the arrays with the pairing {PAIRING!r}"
    )
