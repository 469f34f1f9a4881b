"""Detection among negatives: is the heat map low if no object in the frame sounds? (Mo and Morgado 2022, section 5).

Corresponding pairs are mixed with pairs of the same frames and other clips' audio, or silence. A pair's confidence is
the maximum of its map, and an object is found if the map's cIoU value is at least .5.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from avlearn.config import one_of
from avlearn.evaluators import ciou
from avlearn.evaluators.numerics import array_checks, detection, pixel_maps
from avlearn.types import TableRow

NEEDS = ("heat_map", "corresponds", "silent", "boxes", "box_sounding", "image_item")
PAIRING = "negatives"
OUT_OF_SIGHT = ("left_out", "negatives")
TABLE = (
    TableRow(
        "all/average_precision",
        "Average precision with negatives",
        "constant/average_precision",
        "constant confidence",
    ),
    TableRow("all/max_f1", "Greatest F1 with negatives", "constant/max_f1", "constant confidence"),
)


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    protocol: str = "median",
    out_of_sight: str = "left_out",
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Compute average precision and highest F1 of the heat maps, for each kind of negative and for all together.

    Positives are corresponding pairs with a usable sounding box. Negatives are pairs with another clip's audio
    (off-screen), pairs with silence, and optionally corresponding pairs without a sounding box, whose sound comes from
    out of sight.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`).
      fit: not used.
      protocol: rule from map to prediction, a name in `ciou.PROTOCOLS`.
      out_of_sight: `left_out` or `negatives`, for datasets in which every visible sounding object has a box.
      items_expected: clips of the split, each with one corresponding pair; None: the corresponding pairs given.

    Returns:
      off_screen, silence, out_of_sight (None without such pairs) and all, each with average_precision, max_f1,
      negatives (pairs) and baselines.constant: the same metrics of a constant confidence; confidence, protocol, items
      (positives), without_usable_box (corresponding pairs that are not positives), items_expected; baselines: those of
      `all`.

    Raises:
      ValueError: arrays that are missing or wrong, an unknown option, no positives, or no negatives.
    """
    check_options(protocol=protocol, out_of_sight=out_of_sight)
    heat_map, corresponds, silent, boxes, box_sounding, _ = array_checks.arrays("negatives", test, NEEDS)
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
    localized = np.zeros(len(positive), bool)
    annotator = np.zeros(usable[positive].shape, np.int64)
    values, _ = ciou.overlaps(heat_map[positive], corners[positive], usable[positive], annotator, protocol, "union", 0)
    localized[positive] = values["heat_map"] >= ciou.SUCCESS
    scores = functools.partial(_scores, confidence, positive, localized)
    overall = scores(kinds.pop("all"))
    found = {name: scores(kind) if kind.any() else None for name, kind in kinds.items()}
    return found | {
        "all": overall,
        "baselines": overall["baselines"],
        "confidence": "maximum of the map",
        "protocol": f"found at cIoU >= {ciou.SUCCESS}, {protocol}; sounds out of sight: {out_of_sight}",
        "items": int(positive.sum()),
        "without_usable_box": int((corresponds & ~positive).sum()),
        "items_expected": array_checks.expected(int(corresponds.sum()), items_expected),
    }


def _scores(
    confidence: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    localized: Bool[np.ndarray, " n"],
    negative: Bool[np.ndarray, " n"],
) -> dict[str, Any]:
    used = positive | negative
    sounding, found = positive[used], localized[used]
    return {
        **detection.scores(confidence[used], sounding, found),
        "baselines": {"constant": detection.scores(np.zeros(len(sounding)), sounding, found)},
        "negatives": int(negative.sum()),
    }


def check_options(*, protocol: str, out_of_sight: str) -> None:
    """Check the options of the config.

    Raises:
      ValueError: an option is unknown.
    """
    one_of(protocol, ciou.PROTOCOLS, "evaluation.negatives.protocol")
    one_of(out_of_sight, OUT_OF_SIGHT, "evaluation.negatives.out_of_sight")
