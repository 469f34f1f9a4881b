"""Pointing: is the strongest cell of the heat map on the object that sounds? (Objects that Sound 4.1, figure 6)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import special

from avlearn.evaluators.numerics import array_checks, bootstrap
from avlearn.types import TableRow

NEEDS = ("heat_map", "corresponds", "boxes", "box_sounding", "image_item")
PAIRING = "avc"
PROTOCOL = "the centre of the strongest cell lies in a box of a sounding object, borders included"
TABLE = (
    TableRow("accuracy", "Pointing accuracy", "centre", "centre"),
    TableRow(
        "mean_maximum_matched",
        "Mean maximum of the heat map",
        "mean_maximum_mismatched",
        "mismatched sound",
        further_items="without_sounding_box",
    ),
)


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the share of frames whose heat map has its mode (strongest cell) in a box of a sounding object.

    Corresponding pairs with at least one sounding box in the image are scored. The mode is the centre of the strongest
    cell (the first of equal cells, row by row); a box includes its border.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`), with corresponding and mismatched pairs.
      fit: not used.
      items_expected: clips of the split, each with one corresponding pair; None: the corresponding pairs given.
      resamples: bootstrap samples of clips.
      seed: seed of the bootstrap.

    Returns:
      accuracy, accuracy_interval (95 %), items (pairs scored), without_sounding_box (corresponding pairs that were
        not scored), items_expected (expected corresponding pairs).
      accuracy_with_distractor, items_with_distractor: on scored pairs that also have a silent box in the image; the
        accuracy is None if no pair has one.
      mean_maximum_matched, mean_maximum_mismatched: the map's maximum as a probability, mean over corresponding and
        over mismatched pairs.
      baselines: centre (the centre of the image), random_cell (a cell drawn uniformly, in expectation),
        centre_with_distractor.

    Raises:
      ValueError: arrays that are missing or wrong, no mismatched pair, or nothing to score.
    """
    heat_map, corresponds, boxes, box_sounding, image_item = array_checks.arrays("pointing", test, NEEDS)
    visible = in_frame(boxes)
    sounding = visible & box_sounding
    scored = corresponds & sounding.any(axis=1)
    _check_rows(corresponds, scored)
    distractor = np.any(visible & ~box_sounding, axis=1)[scored]
    target = np.where(sounding[..., None], boxes, np.nan)[scored]
    hit = inside(mode(heat_map[scored]), target)
    centre = inside(np.full((len(target), 2), 0.5), target)
    corresponding = int(corresponds.sum())
    maximum = special.expit(heat_map.max(axis=(1, 2)))
    return {
        "accuracy": float(hit.mean()),
        "accuracy_interval": bootstrap.interval(hit, image_item[scored], resamples=resamples, seed=seed),
        "accuracy_with_distractor": _mean(hit[distractor]),
        "mean_maximum_matched": float(maximum[corresponds].mean()),
        "mean_maximum_mismatched": float(maximum[~corresponds].mean()),
        "baselines": {
            "centre": float(centre.mean()),
            "random_cell": float(covered_cells(target, heat_map.shape[1:]).mean()),
            "centre_with_distractor": _mean(centre[distractor]),
        },
        "items": len(hit),
        "items_with_distractor": int(distractor.sum()),
        "without_sounding_box": corresponding - len(hit),
        "items_expected": array_checks.expected(corresponding, items_expected),
        "protocol": PROTOCOL,
        "seed": seed,
    }


def in_frame(boxes: Float[np.ndarray, "n boxes 4"]) -> Bool[np.ndarray, "n boxes"]:
    """Return whether each box exists (no NaN) and has some area inside the image."""
    size = np.minimum(boxes[..., 2:], 1) - np.maximum(boxes[..., :2], 0)
    return np.all(size > 0, axis=-1)


def mode(heat_map: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n 2"]:
    """Return the centre (y, x) of each map's strongest cell, as shares of the image."""
    rows, columns = heat_map.shape[1:]
    row, column = np.divmod(heat_map.reshape(len(heat_map), -1).argmax(axis=1), columns)
    return np.stack([(row + 0.5) / rows, (column + 0.5) / columns], axis=1)


def inside(points: Float[np.ndarray, "n 2"], boxes: Float[np.ndarray, "n boxes 4"]) -> Bool[np.ndarray, " n"]:
    """Return whether each point (y, x) is in one of its row's boxes, borders included; NaN boxes contain nothing."""
    points = points[:, None]
    return np.any(np.all((boxes[..., :2] <= points) & (points <= boxes[..., 2:]), axis=-1), axis=-1)


def covered_cells(boxes: Float[np.ndarray, "n boxes 4"], grid: tuple[int, int]) -> Float[np.ndarray, " n"]:
    """Compute the share of a grid's cells (rows, columns) whose centre is in one of the boxes."""
    centres = np.indices(grid).reshape(2, -1).T
    points = (centres + 0.5) / np.array(grid)
    return np.mean([inside(np.broadcast_to(point, (len(boxes), 2)), boxes) for point in points], axis=0)


def _check_rows(corresponds: Bool[np.ndarray, " n"], scored: Bool[np.ndarray, " n"]) -> None:
    if corresponds.all():
        raise ValueError(
            f"pointing: corresponds is true in all {len(corresponds)} rows; mismatched pairs are also needed. "
            f"Collect the arrays with the pairing {PAIRING!r}"
        )
    if not scored.any():
        raise ValueError(
            f"pointing: none of {int(corresponds.sum())} corresponding pairs has a sounding box in the image "
            "(boxes, box_sounding); evaluate on a dataset with boxes, or leave this evaluator out"
        )


def _mean(values: Shaped[np.ndarray, " n"]) -> float | None:
    return float(values.mean()) if len(values) else None
