"""Does the heat map say when nothing in the picture sounds? (Mo and Morgado 2022, the extended test sets, section 5).

Pairs of a frame and its own sound are mixed with the same frames and sounds from elsewhere, or silence. A pair's
confidence is the maximum of its map, and the object counts as found where the map's cIoU value is at least .5.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from avlearn.evaluators import ciou
from avlearn.evaluators.numerics import array_checks, detection, pixel_maps

NEEDS = ("heat_map", "corresponds", "silent", "boxes", "box_sounding", "image_item")
PAIRING = "negatives"


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    protocol: str = "median",
    out_of_sight: str = "left_out",
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Average precision and greatest F1 of the heat maps, for each kind of negative and for all together.

    Positives are corresponding pairs with a usable sounding box. Negatives are the pairs with another clip's sound
    (off-screen), those with silence, and, where it is asked for, corresponding pairs whose sound comes from out of
    sight: without a sounding box.

    Args:
      test: the arrays of `NEEDS` (see `parts/check.py`).
      fit: not used: nothing is fitted.
      protocol: from map to prediction, a name in `ciou.PROTOCOLS`.
      out_of_sight: `left_out` or `negatives`, for datasets in which everything that sounds in sight has a box.
      items_expected: clips of the split, of which each has one corresponding pair; None: as many as are given.

    Returns:
      off_screen, silence, out_of_sight (None where there are none) and all, each with average_precision, max_f1,
      negatives (pairs) and baselines.constant: the same figures of a confidence that is always the same; confidence,
      protocol, items (positives), without_usable_box (corresponding pairs that are no positives), items_expected;
      baselines: constant, that of `all`.

    Raises:
      ValueError: arrays that are missing or wrong, an unknown option, no positives, or no negatives.
    """
    heat_map, corresponds, silent, boxes, box_sounding, _ = array_checks.arrays("negatives", test, NEEDS)
    corresponds, silent, box_sounding = corresponds.astype(bool), silent.astype(bool), box_sounding.astype(bool)
    _check_options(protocol, out_of_sight)
    corners, usable = pixel_maps.pixel_corners(boxes)
    usable &= box_sounding
    positive = corresponds & usable.any(axis=1)
    kinds = {
        "off_screen": ~corresponds & ~silent,
        "silence": ~corresponds & silent,
        "out_of_sight": corresponds & ~positive & (out_of_sight == "negatives"),
    }
    kinds["all"] = np.any(list(kinds.values()), axis=0)
    if not positive.any() or not kinds["all"].any():
        raise ValueError(
            f"negatives: {int(positive.sum())} pairs with a usable sounding box and {int(kinds['all'].sum())} negatives"
            f" in {len(corresponds)} rows of corresponds; both are needed. Collect them with the pairing {PAIRING!r}"
        )
    confidence = heat_map.max(axis=(1, 2)).astype(np.float64)
    right_place = np.zeros(len(positive), bool)
    nobody = np.zeros(usable[positive].shape, np.int64)
    values, _ = ciou.overlaps(heat_map[positive], corners[positive], usable[positive], nobody, protocol, "union", 0)
    right_place[positive] = values["heat_map"] >= ciou.SUCCESS
    found = {name: _figures(confidence, positive, right_place, kind) for name, kind in kinds.items()}
    return found | {
        "baselines": found["all"]["baselines"],
        "confidence": "maximum of the map",
        "protocol": f"found at cIoU >= {ciou.SUCCESS}, {protocol}; sounds out of sight: {out_of_sight}",
        "items": int(positive.sum()),
        "without_usable_box": int((corresponds & ~positive).sum()),
        "items_expected": array_checks.expected(int(corresponds.sum()), items_expected),
    }


def _figures(
    confidence: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    right_place: Bool[np.ndarray, " n"],
    negative: Bool[np.ndarray, " n"],
) -> dict[str, Any] | None:
    if not negative.any():
        return None
    used = positive | negative
    sounding, found = positive[used], right_place[used]
    return {
        **detection.figures(confidence[used], sounding, found),
        "baselines": {"constant": detection.figures(np.zeros(len(sounding)), sounding, found)},
        "negatives": int(negative.sum()),
    }


def _check_options(protocol: str, out_of_sight: str) -> None:
    for option, value, allowed in (
        ("protocol", protocol, tuple(ciou.PROTOCOLS)),
        ("out_of_sight", out_of_sight, ("left_out", "negatives")),
    ):
        if value not in allowed:
            raise ValueError(f"negatives: {option} = {value!r}; allowed: {', '.join(allowed)}")
