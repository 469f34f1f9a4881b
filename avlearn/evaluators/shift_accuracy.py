"""Is this sound of this moment, or of another one of the same clip? (Owens and Efros, ECCV 2018, section 3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avlearn.evaluators import avc_accuracy

NEEDS = avc_accuracy.NEEDS
PAIRING = "shifted"


def evaluate(
    test: Mapping[str, np.ndarray], fit: Mapping[str, np.ndarray] | None = None, **options: Any
) -> dict[str, Any]:
    """Accuracy on pairs of which exactly half are aligned, the other half shifted; see `avc_accuracy.evaluate`."""
    return avc_accuracy.evaluate(test, fit, evaluator="shift_accuracy", **options)
