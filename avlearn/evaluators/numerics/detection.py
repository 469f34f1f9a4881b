"""Detection scores: precision and recall over a confidence, on pairs with and without a sounding object.

The definitions are those of the extended Flickr-SoundNet and VGG-SS test sets (Mo and Morgado, A Closer Look at
Weakly-Supervised Audio-Visual Source Localization, section 5). Above the threshold, a correctly localized object is
found and anything else is a false alarm; below it, a sounding object is missed. A sounding object that is localized
wrongly counts only as a false alarm.
"""

import numpy as np
from jaxtyping import Bool, Float


def scores(
    confidence: Float[np.ndarray, " n"], sounding: Bool[np.ndarray, " n"], localized: Bool[np.ndarray, " n"]
) -> dict[str, float]:
    """Compute the average precision (interpolated) and the highest F1 over all thresholds.

    Args:
      confidence: confidence of each pair.
      sounding: whether an object in the frame sounds.
      localized: whether it is localized correctly; counts for sounding pairs only.

    Returns:
      average_precision: sum of the steps of recall, each times the best precision at that recall or a higher one;
      max_f1.
    """
    found, false_alarms, missed = _counts(confidence, sounding, localized)
    precision = found / (found + false_alarms)
    recall = np.divide(found, found + missed, out=np.zeros(len(found)), where=found > 0)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return {
        "average_precision": float((np.diff(recall, prepend=0.0) * best_from_here).sum()),
        "max_f1": float((2 * found / (2 * found + false_alarms + missed)).max()),
    }


def _counts(
    confidence: Float[np.ndarray, " n"], sounding: Bool[np.ndarray, " n"], localized: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"]]:
    """Count found objects, false alarms and missed objects, with each distinct confidence as the threshold."""
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.diff(confidence[order], append=-np.inf))  # the last pair of each confidence
    found = np.cumsum((sounding & localized)[order])[last]
    detected = last + 1
    missed = sounding.sum() - np.cumsum(sounding[order])[last]
    return 1.0 * found, 1.0 * (detected - found), 1.0 * missed
