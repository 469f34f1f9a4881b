"""Shift accuracy: are frames and audio aligned, or from two moments of a clip? (Owens and Efros, ECCV 2018, 3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avlearn.evaluators import avc_accuracy
from avlearn.types import TableRow

NEEDS = avc_accuracy.NEEDS
PAIRING = "shifted"
TABLE = (TableRow("accuracy", "Accuracy on shifted pairs", "chance", "chance"),)


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the accuracy on pairs, half of them aligned and half shifted; see `avc_accuracy.evaluate`."""
    return avc_accuracy.evaluate(
        test, fit, items_expected=items_expected, resamples=resamples, seed=seed, evaluator="shift_accuracy"
    )
