"""Is there a sounding object at all, and where? Precision and recall over a confidence, with silent pairs among them.

As on the extended Flickr-SoundNet and VGG-SS test sets (Mo and Morgado, A Closer Look at Weakly-Supervised
Audio-Visual Source Localization, section 5): above the threshold an object in the right place is found, anything else
is a false alarm; a sounding object below it is missed. A sounding object that is called in the wrong place is a false
alarm only.
"""

import numpy as np
from jaxtyping import Bool, Float


def figures(
    confidence: Float[np.ndarray, " n"], sounding: Bool[np.ndarray, " n"], right_place: Bool[np.ndarray, " n"]
) -> dict[str, float]:
    """Average precision (interpolated) and the greatest F1, over every threshold that parts the pairs.

    Args:
      confidence: of each pair.
      sounding: whether an object of the picture sounds.
      right_place: whether it was found there; counts for sounding pairs only.

    Returns:
      average_precision: sum over the steps of recall, each with the best precision at that recall or a higher one;
      max_f1.
    """
    found, false_alarms, missed = _counts(confidence, sounding, right_place)
    precision = found / (found + false_alarms)
    recall = np.divide(found, found + missed, out=np.zeros(len(found)), where=found > 0)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return {
        "average_precision": float((np.diff(recall, prepend=0.0) * best_from_here).sum()),
        "max_f1": float((2 * found / (2 * found + false_alarms + missed)).max()),
    }


def _counts(
    confidence: Float[np.ndarray, " n"], sounding: Bool[np.ndarray, " n"], right_place: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"]]:
    """Found, false alarms and missed when everything down to each distinct confidence is called."""
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.diff(confidence[order], append=-np.inf))  # of those with equal confidence
    found = np.cumsum((sounding & right_place)[order])[last]
    called = last + 1
    missed = sounding.sum() - np.cumsum(sounding[order])[last]
    return 1.0 * found, 1.0 * (called - found), 1.0 * missed
