"""Localization by cIoU and AUC: how well does the heat map cover the sounding object? (LVS 4.3, tables 3 and 5).

The map is resized to 224 x 224 pixels, binarised to a prediction p by one of `PROTOCOLS`, and compared with the ground
truth g: cIoU = sum(p g) / (sum(g) + sum(p [g = 0])). A centred disc succeeds on a third of VGG-SS, and under the median
threshold no map succeeds on more than half: compare a score with its baselines (docs/metrics/ciou.md).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avlearn.config import one_of
from avlearn.evaluators.numerics import array_checks, bootstrap, detection, pixel_maps
from avlearn.evaluators.numerics.pixel_maps import PIXELS
from avlearn.types import TableRow

NEEDS = ("heat_map", "corresponds", "boxes", "box_sounding", "image_item")
PAIRING = "avc"
PROTOCOLS = {
    "median": "pixels >= the sorted value at index 224 * 224 / 2: half of the picture",
    "adaptive": "pixels >= the sorted value that keeps as many pixels as the ground truth covers",
    "half": "pixels >= 0.5 after min-max normalisation",
}
TABLE = (
    TableRow("ciou", "cIoU ({protocol})", "centre", "centre disc"),
    TableRow("auc", "AUC of cIoU ({protocol})", "centre", "centre disc"),
)
SUCCESS = 0.5  # a frame with at least this cIoU value is a success
HALF = 0.5  # threshold of the protocol `half`
THRESHOLDS = np.arange(21) / 20
# Size classes of Mo and Morgado (2022): least number of pixels, of 224 x 224, that the ground truth covers.
SIZES = {"small": 0, "medium": 32**2, "large": 96**2, "huge": 144**2}
_BLOCK = 32  # maps to process at a time: 13 MB in float64


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    protocol: str = "median",
    ground_truth: str = "union",
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute cIoU (share of frames with a cIoU value of at least .5) and AUC of the heat maps.

    Corresponding pairs with at least one usable sounding box are scored. The map's scale and offset do not matter.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`), and `box_annotator` for `consensus`. Mismatched pairs
        are used by `negatives` only.
      fit: not used.
      protocol: rule from map to prediction, a name in `PROTOCOLS`.
      ground_truth: `union` of the boxes (VGG-SS), or `consensus`: the sum of the annotators' maps / 2, at most 1
        (Flickr-SoundNet).
      items_expected: clips of the split, each with one corresponding pair; None: the corresponding pairs given.
      resamples: bootstrap samples of clips.
      seed: seed of the bootstrap and of the random maps.

    Returns:
      ciou, ciou_interval (95 %), auc (area under the success rate over the thresholds 0, .05, ... 1), items.
      by_size: the same for each class in `SIZES`, with the bounds of the class as shares of the image.
      negatives: average_precision and max_f1 with mismatched pairs as negatives and the map's maximum as confidence
        (`numerics/detection.py`); None without mismatched pairs.
      baselines: ciou and auc of centre (values fall with the distance from the centre), whole_image, random_map (on
        the map's grid, uniform) and ceiling (the best prediction that the protocol allows).
      degenerate_boxes (sounding boxes of corresponding pairs that cover no pixel; they are ignored),
        without_usable_box (corresponding pairs not scored), constant_maps, items_expected (expected corresponding
        pairs), and protocol, rule, ground_truth, interpolation.

    Raises:
      ValueError: arrays that are missing or wrong, an unknown option, or nothing to score.
    """
    check_options(protocol=protocol, ground_truth=ground_truth)
    heat_map, corresponds, boxes, box_sounding, image_item = array_checks.arrays("ciou", test, NEEDS)
    annotator = _annotators(test, ground_truth, boxes.shape[:2])
    corners, usable = pixel_maps.pixel_corners(boxes)
    given = corresponds[:, None] & box_sounding & ~np.isnan(boxes).all(axis=-1)
    usable &= box_sounding
    scored = corresponds & usable.any(axis=1)
    if not scored.any():
        raise ValueError(
            f"ciou: none of {int(corresponds.sum())} corresponding pairs has a usable sounding box (boxes, "
            "box_sounding); evaluate on a dataset with boxes, or leave this evaluator out"
        )
    values, covered = overlaps(
        heat_map[scored], corners[scored], usable[scored], annotator[scored], protocol, ground_truth, seed
    )
    hit = values["heat_map"] >= SUCCESS
    return {
        **_with_baselines(values, np.ones(len(hit), bool)),
        "ciou_interval": bootstrap.interval(hit, image_item[scored], resamples=resamples, seed=seed),
        "by_size": by_size(values, covered),
        "negatives": negatives(heat_map, corresponds, scored, hit),
        "degenerate_boxes": int((given & ~usable).sum()),
        "without_usable_box": int((corresponds & ~scored).sum()),
        "constant_maps": int((np.ptp(heat_map[scored], axis=(1, 2)) == 0).sum()),
        "items_expected": array_checks.expected(int(corresponds.sum()), items_expected),
        "protocol": protocol,
        "seed": seed,
        "rule": PROTOCOLS[protocol],
        "ground_truth": ground_truth,
        "interpolation": pixel_maps.INTERPOLATION,
    }


def overlaps(
    heat_map: Float[np.ndarray, "n rows columns"],
    corners: Int[np.ndarray, "n boxes 4"],
    usable: Bool[np.ndarray, "n boxes"],
    annotator: Int[np.ndarray, "n boxes"],
    protocol: str,
    ground_truth: str,
    seed: int,
) -> tuple[dict[str, Float[np.ndarray, " n"]], Int[np.ndarray, " n"]]:
    """Compute cIoU values of the heat maps and of each baseline, and count the pixels that the ground truth covers."""
    rng = np.random.default_rng(seed)
    names = ("heat_map", "centre", "whole_image", "random_map", "ceiling")
    values = {name: np.empty(len(heat_map)) for name in names}
    all_covered = np.empty(len(heat_map), np.int64)
    middle = pixel_maps.centre_map()
    for block in np.array_split(np.arange(len(heat_map)), -(-len(heat_map) // _BLOCK)):
        truth = pixel_maps.truth_maps(corners[block], usable[block], annotator[block], ground_truth)
        covered = np.count_nonzero(truth, axis=(1, 2))
        noise = rng.random((len(block), *heat_map.shape[1:]))
        all_covered[block] = covered
        values["heat_map"][block] = overlap(predict(pixel_maps.upsample(heat_map[block]), covered, protocol), truth)
        values["random_map"][block] = overlap(predict(pixel_maps.upsample(noise), covered, protocol), truth)
        values["centre"][block] = overlap(predict_same(middle, covered, protocol), truth)
        values["whole_image"][block] = overlap(np.ones(truth.shape, bool), truth)
        values["ceiling"][block] = best_overlap(truth, covered, protocol)
    return values, all_covered


def predict(
    maps: Float[np.ndarray, "n 224 224"], covered: Int[np.ndarray, " n"], protocol: str
) -> Bool[np.ndarray, "n 224 224"]:
    """Binarise each map; pixels that equal the threshold are predicted.

    Args:
      maps: maps, each from 0 to 1.
      covered: pixels that the ground truth covers.
      protocol: name in `PROTOCOLS`.
    """
    if protocol == "half":
        return maps >= HALF
    ranks = maps[0].size - kept(covered, protocol)
    flat = maps.reshape(len(maps), -1)
    least = np.array([nth_smallest(values, int(rank)) for values, rank in zip(flat, ranks, strict=True)])
    return maps >= least[:, None, None]


def nth_smallest(values: Float[np.ndarray, " n"], rank: int) -> float:
    """Return the value at index `rank` of the sorted values, three times as fast as `np.partition`.

    A sample of every 61st value gives bounds for it, so that few values remain to be partitioned.
    """
    sample = np.sort(values[::61])
    index, margin = rank // 61, 60
    low, high = sample[max(index - margin, 0)], sample[min(index + margin, len(sample) - 1)]
    between = values[(low <= values) & (values <= high)]
    index = rank - np.count_nonzero(values < low)
    if 0 <= index < len(between):
        return float(np.partition(between, index)[index])
    return float(np.partition(values, rank)[rank])


def predict_same(
    one_map: Float[np.ndarray, "224 224"], covered: Int[np.ndarray, " n"], protocol: str
) -> Bool[np.ndarray, "n 224 224"]:
    """Apply `predict` to one map for every frame, sorting it once."""
    if protocol == "half":
        return np.broadcast_to(one_map >= HALF, (len(covered), *one_map.shape))
    least = np.sort(one_map, axis=None)[one_map.size - kept(covered, protocol)]
    return one_map[None] >= least[:, None, None]


def kept(covered: Int[np.ndarray, " n"], protocol: str) -> Int[np.ndarray, " n"]:
    """Return the number of pixels predicted from a map without ties; for `half`, the best number."""
    return np.full_like(covered, PIXELS**2 - PIXELS**2 // 2) if protocol == "median" else covered


def overlap(
    prediction: Bool[np.ndarray, "n 224 224"], truth: Float[np.ndarray, "n 224 224"]
) -> Float[np.ndarray, " n"]:
    """Compute the cIoU value of each prediction: sum(p g) / (sum(g) + sum(p [g = 0]))."""
    inside = _dot(prediction.astype(np.float32), truth)
    outside = np.count_nonzero(prediction & (truth == 0), axis=(1, 2))
    return inside / (_total(truth) + outside)


def _total(truth: Float[np.ndarray, "n 224 224"]) -> Float[np.ndarray, " n"]:
    """Sum each map; exact in float32 for multiples of 1/2."""
    return truth.reshape(len(truth), -1).sum(axis=1).astype(np.float64)


def _dot(one: Float[np.ndarray, "n 224 224"], other: Float[np.ndarray, "n 224 224"]) -> Float[np.ndarray, " n"]:
    """Sum the products of each pair of maps, the fastest way; exact in float32 for multiples of 1/2."""
    return (one.reshape(len(one), 1, -1) @ other.reshape(len(other), -1, 1))[:, 0, 0].astype(np.float64)


def best_overlap(
    truth: Float[np.ndarray, "n 224 224"], covered: Int[np.ndarray, " n"], protocol: str
) -> Float[np.ndarray, " n"]:
    """Compute the largest possible cIoU value with `kept` pixels, which are put where the ground truth is highest."""
    left = kept(covered, protocol)
    outside = np.maximum(left - covered, 0)
    inside = np.zeros(len(truth))
    for level in (1.0, 0.5):  # the only values above 0
        taken = np.minimum(left, np.count_nonzero(truth == level, axis=(1, 2)))
        inside, left = inside + level * taken, left - taken
    return inside / (_total(truth) + outside)


def scores(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Compute ciou and auc from the cIoU values of frames."""
    rate = (values[None, :] >= THRESHOLDS[:, None]).mean(axis=1)
    return {"ciou": float((values >= SUCCESS).mean()), "auc": float(np.trapezoid(rate, THRESHOLDS))}


def by_size(values: Mapping[str, Float[np.ndarray, " n"]], covered: Int[np.ndarray, " n"]) -> dict[str, dict[str, Any]]:
    """Compute the scores for each class of `SIZES`, with its bounds as `share_of_picture`, the lower one included."""
    bounds = [*SIZES.values(), PIXELS**2 + 1]
    found = {}
    for name, least, below in zip(SIZES, bounds[:-1], bounds[1:], strict=True):
        share = [least / PIXELS**2, min(below / PIXELS**2, 1.0)]
        found[name] = {"share_of_picture": share, **_with_baselines(values, (least <= covered) & (covered < below))}
    return found


def negatives(
    heat_map: Float[np.ndarray, "n rows columns"],
    corresponds: Bool[np.ndarray, " n"],
    scored: Bool[np.ndarray, " n"],
    hit: Bool[np.ndarray, " scored"],
) -> dict[str, Any] | None:
    """Compute `detection.scores` of scored and mismatched pairs, and of a constant confidence as the baseline."""
    if corresponds.all():
        return None
    used = scored | ~corresponds
    localized = np.zeros(len(scored), bool)
    localized[scored] = hit
    sounding, localized = scored[used], localized[used]
    confidence = heat_map.max(axis=(1, 2)).astype(np.float64)[used]
    constant = detection.scores(np.zeros(len(sounding)), sounding, localized)
    return {
        **detection.scores(confidence, sounding, localized),
        "confidence": "maximum of the map",
        "baselines": {"constant": constant},
        "items": len(sounding),
        "mismatched": int((~sounding).sum()),
    }


def _with_baselines(values: Mapping[str, Float[np.ndarray, " n"]], chosen: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Compute the scores of the chosen frames and of the baselines on them; None without chosen frames."""
    nothing = {"ciou": None, "auc": None}
    found = {name: scores(each[chosen]) if chosen.any() else dict(nothing) for name, each in values.items()}
    return {**found.pop("heat_map"), "baselines": found, "items": int(chosen.sum())}


def _annotators(
    test: Mapping[str, np.ndarray], ground_truth: str, shape: tuple[int, int]
) -> Shaped[np.ndarray, "n boxes"]:
    """Return the annotator of each box; `union` does not need it."""
    if ground_truth == "union":
        return np.zeros(shape, np.int64)
    return array_checks.arrays("ciou", test, ("boxes", "box_annotator"))[1]


def check_options(*, protocol: str, ground_truth: str) -> None:
    """Check the options of the config.

    Raises:
      ValueError: an option is unknown.
    """
    one_of(protocol, PROTOCOLS, "evaluation.ciou.protocol")
    one_of(ground_truth, pixel_maps.GROUND_TRUTHS, "evaluation.ciou.ground_truth")
