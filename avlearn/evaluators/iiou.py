"""Are all objects found that sound in a picture, each with its own sound? (IIoU: Hu et al. 2022, Mix and Localize).

Each row is a picture with the sound of one of its sources. A source is found where the cIoU value of the map with its
boxes is at least .5, and a picture succeeds where all its sources are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from avlearn.evaluators import ciou
from avlearn.evaluators.numerics import array_checks, bootstrap, pixel_maps

NEEDS = ("heat_map", "boxes", "image_item", "source")
PAIRING = "sources"
BASELINES = ("centre", "whole_image", "random_map", "ceiling")


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    protocol: str = "median",
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Share of pictures of which every source is found (IIoU), and share of sources that are found.

    Args:
      test: the arrays of `NEEDS` (see `parts/check.py`); the boxes are those of the row's source.
      fit: not used: nothing is fitted.
      protocol: from map to prediction, a name in `ciou.PROTOCOLS`.
      items_expected: clips of the split; None: as many as there are pictures.
      resamples: bootstrap samples of pictures.
      seed: of the bootstrap and of the random maps.

    Returns:
      iiou, iiou_interval (95 %), ciou_of_sources, items (pictures), sources (rows), without_several_sources (clips of
      the split that were not scored), items_expected; baselines: iiou and ciou_of_sources of the maps of `ciou`;
      protocol, seed.

    Raises:
      ValueError: arrays that are missing or wrong, an unknown option, a source without a usable box, or a picture with
        one source.
    """
    heat_map, boxes, image_item, source = array_checks.arrays("iiou", test, NEEDS)
    if protocol not in ciou.PROTOCOLS:
        raise ValueError(f"iiou: protocol = {protocol!r}; allowed: {', '.join(ciou.PROTOCOLS)}")
    corners, usable = pixel_maps.pixel_corners(boxes)
    without = int((~usable.any(axis=1)).sum())
    pictures, of_row, sources = np.unique(image_item, return_inverse=True, return_counts=True)
    twice = len(source) - len(np.unique(np.stack([of_row, source]), axis=1).T)
    if without or twice or sources.min() < 2:
        raise ValueError(
            f"iiou: of {len(source)} rows {without} have no usable box in boxes, {twice} repeat the source of their "
            f"picture, and {int((sources < 2).sum())} pictures have one source only; a picture needs two or more"
        )
    nobody = np.zeros(usable.shape, np.int64)
    values, _ = ciou.overlaps(heat_map, corners, usable, nobody, protocol, "union", seed)
    found = {name: value >= ciou.SUCCESS for name, value in values.items()}
    every = {name: _every(hit, of_row) for name, hit in found.items()}
    return {
        "iiou": float(every["heat_map"].mean()),
        "iiou_interval": bootstrap.interval(every["heat_map"], pictures, resamples=resamples, seed=seed),
        "ciou_of_sources": float(found["heat_map"].mean()),
        "baselines": {
            name: {"iiou": float(every[name].mean()), "ciou_of_sources": float(found[name].mean())}
            for name in BASELINES
        },
        "items": len(pictures),
        "sources": len(source),
        "without_several_sources": array_checks.expected(len(pictures), items_expected) - len(pictures),
        "items_expected": array_checks.expected(len(pictures), items_expected),
        "protocol": f"every source found at cIoU >= {ciou.SUCCESS}, {protocol}",
        "seed": seed,
    }


def _every(hit: Bool[np.ndarray, " rows"], of_row: Shaped[np.ndarray, " rows"]) -> Bool[np.ndarray, " pictures"]:
    """Whether all rows of each picture are hits."""
    return np.bincount(of_row, weights=~hit) == 0
