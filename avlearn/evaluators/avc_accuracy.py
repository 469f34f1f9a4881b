"""AVC accuracy: do a frame and a second of audio correspond? (Look, Listen and Learn 3.1; Objects that Sound 3.1)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from avlearn.config import one_of
from avlearn.evaluators.numerics import array_checks, bootstrap
from avlearn.types import TableRow

NEEDS = ("logit", "corresponds", "image_item")
OPTIONAL = ("pair_draw",)
PAIRING = "avc_draws"
FIT_ON = "validation"
SOURCE_OPTIONS = ("pair_draws",)
THRESHOLDS = ("zero", "validation")
THRESHOLD_NEEDS = ("logit", "corresponds")
TABLE = (TableRow("accuracy", "AVC accuracy", "chance", "chance"),)


def fit_needs(threshold: str, **_: Any) -> tuple[str, ...]:
    """Return the names of the arrays that the threshold is fitted on; none unless it is fitted."""
    return THRESHOLD_NEEDS if threshold == "validation" else ()


def check_options(*, threshold: str, pair_draws: int) -> None:
    """Check the options of the config.

    Raises:
      ValueError: an unknown threshold, or less than 1 draw.
    """
    one_of(threshold, THRESHOLDS, "evaluation.avc_accuracy.threshold")
    if pair_draws < 1:
        raise ValueError(
            f"avc_accuracy: pair_draws = {pair_draws}; --config.evaluation.avc_accuracy.pair_draws must be at least 1"
        )


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    threshold: str = "zero",
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    evaluator: str = "avc_accuracy",
) -> dict[str, Any]:
    """Compute the accuracy of the binary decision, averaged over balanced draws of the negatives.

    A pair is predicted to correspond if its logit is above the threshold. The positives belong to every draw.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`); pair_draw if there are several draws.
      fit: arrays of `THRESHOLD_NEEDS` for pairs of other clips; used by the threshold `validation`.
      threshold: `zero`, or `validation`: the threshold with the best accuracy on `fit` (`best_threshold`).
      items_expected: clips of the split, each with a positive and one negative per draw; None: the pairs given.
      resamples: bootstrap samples of clips, each with all its pairs.
      seed: seed of the bootstrap.
      evaluator: name of the evaluator in messages.

    Returns:
      accuracy, accuracy_interval (95 %), predicted_positive (share of pairs predicted to correspond) and roc_auc, means
      over draws; threshold; draws; accuracy_of_draws; items (pairs), items_expected; baselines: chance, and constant,
      the accuracy of the better constant answer; protocol, seed. With the threshold `validation` also `fit`: accuracy
      on the pairs of `fit`, and their number.

    Raises:
      ValueError: an unknown threshold, arrays that are missing or wrong, or pairs that are not balanced.
    """
    one_of(threshold, THRESHOLDS, "evaluation.avc_accuracy.threshold")
    optional = [name for name in OPTIONAL if name in test]
    logit, corresponds, image_item, *others = array_checks.arrays(evaluator, test, (*NEEDS, *optional))
    draw = others[0] if others else np.where(corresponds, -1, 0)
    draws = _draws(evaluator, corresponds, draw)
    least, fitted = 0.0, {}
    if threshold == "validation":
        fit_logit, fit_corresponds = array_checks.arrays(f"{evaluator}, threshold", fit or {}, THRESHOLD_NEEDS)
        least, accuracy = best_threshold(fit_logit, fit_corresponds)
        fitted = {"fit": {"accuracy": accuracy, "items": len(fit_logit)}}
    predicted = logit > least
    right = predicted == corresponds
    rows_by_draw = [corresponds | (draw == number) for number in draws]
    weight = np.where(corresponds, 1.0, 1 / len(draws))  # weight of each pair in the mean over draws
    positives = float(np.average(corresponds, weights=weight))
    return {
        "threshold": least,
        "accuracy": float(np.average(right, weights=weight)),
        "accuracy_interval": bootstrap.interval(right, image_item, resamples=resamples, seed=seed, weight=weight),
        "predicted_positive": float(np.average(predicted, weights=weight)),
        "roc_auc": float(np.mean([roc_auc(logit[rows], corresponds[rows]) for rows in rows_by_draw])),
        "draws": len(draws),
        "accuracy_of_draws": [float(right[rows].mean()) for rows in rows_by_draw],
        "baselines": {"chance": 0.5, "constant": max(positives, 1 - positives)},
        "items": len(logit),
        "items_expected": len(logit) if items_expected is None else items_expected * (1 + len(draws)),
        "protocol": f"corresponding above {'a chosen threshold' if fitted else '0'}; mean over balanced draws",
        "seed": seed,
        **fitted,
    }


def best_threshold(logit: Float[np.ndarray, " n"], corresponds: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the threshold with the most correct decisions, and its accuracy.

    The threshold is halfway between two neighbouring values of `logit`, or beyond the last. If several are equally
    good, it is the middle one.
    """
    order = np.argsort(logit, kind="stable")
    values, positive = logit[order].astype(np.float64), corresponds[order]
    below = np.arange(len(values) + 1)  # pairs under the threshold
    right = np.concatenate([[0], np.cumsum(~positive)]) + positive.sum() - np.concatenate([[0], np.cumsum(positive)])
    edges = np.concatenate([[values[0] - 1], values, [values[-1] + 1]])
    possible = below[np.diff(edges) > 0]  # a threshold never separates equal values
    best = possible[right[possible] == right[possible].max()]
    count = best[len(best) // 2]
    return float((edges[count] + edges[count + 1]) / 2), float(right[count] / len(values))


def roc_auc(score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Compute the probability that a positive scores above a negative; ties count half (Mann-Whitney statistic)."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    ranks = stats.rankdata(score)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _draws(evaluator: str, corresponds: Bool[np.ndarray, " n"], draw: Int[np.ndarray, " n"]) -> list[int]:
    """Return the numbers of the draws; check that each has as many negatives as there are positives."""
    positives = int(corresponds.sum())
    wrong = (draw == -1) != corresponds
    if wrong.any():
        raise ValueError(
            f"{evaluator}: pair_draw is {draw[wrong][0]} where corresponds is {corresponds[wrong][0]} "
            f"{array_checks.in_rows(wrong)}; it is -1 for positives, and from 0 for negatives"
        )
    numbers, negatives = np.unique(draw[~corresponds], return_counts=True)
    if len(numbers) and (negatives == positives).all():
        return numbers.tolist()
    raise ValueError(
        f"{evaluator}: {positives} of {len(corresponds)} pairs correspond, and the draws have {negatives.tolist()} "
        "negatives; exactly half of each draw must correspond, or a network that always gives the same answer would "
        f"score above .5. Collect the arrays with the pairing {PAIRING!r}"
    )
