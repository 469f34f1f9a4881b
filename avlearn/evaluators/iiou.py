"""IIoU: are all sounding objects of a frame localized, each from its own audio? (Hu et al. 2022, Mix and Localize).

Each row is a frame with the audio of one of its sources. A source is found if the cIoU value of the map with the
source's boxes is at least .5; a frame succeeds if all its sources are found.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from avlearn.config import one_of
from avlearn.evaluators import ciou
from avlearn.evaluators.numerics import array_checks, bootstrap, pixel_maps
from avlearn.types import TableRow

NEEDS = ("heat_map", "boxes", "image_item", "source")
PAIRING = "sources"
BASELINES = ("centre", "whole_image", "random_map", "ceiling")
TABLE = (TableRow("iiou", "IIoU", "centre", "centre disc"),)


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    protocol: str = "median",
    items_expected: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the share of frames with all sources found (IIoU), and the share of sources found.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`), with only the boxes of the row's source.
      fit: not used.
      protocol: rule from map to prediction, a name in `ciou.PROTOCOLS`.
      items_expected: clips of the split; None: the frames given.
      resamples: bootstrap samples of frames.
      seed: seed of the bootstrap and of the random maps.

    Returns:
      iiou, iiou_interval (95 %), ciou_of_sources, items (frames), sources (rows), without_several_sources (clips of
      the split that were not scored), items_expected; baselines: iiou and ciou_of_sources of the baselines of `ciou`;
      protocol, seed.

    Raises:
      ValueError: arrays that are missing or wrong, an unknown option, a source without a usable box, or a frame with
        one source.
    """
    check_options(protocol=protocol)
    heat_map, boxes, image_item, source = array_checks.arrays("iiou", test, NEEDS)
    corners, usable = pixel_maps.pixel_corners(boxes)
    without = int((~usable.any(axis=1)).sum())
    frames, frame_of_row, sources = np.unique(image_item, return_inverse=True, return_counts=True)
    twice = len(source) - len(np.unique(np.stack([frame_of_row, source]), axis=1).T)
    if without or twice or sources.min() < 2:
        raise ValueError(
            f"iiou: of {len(source)} rows, {without} have no usable box in boxes and {twice} repeat a source of their "
            f"frame; {int((sources < 2).sum())} frames have only one source, but a frame needs two or more"
        )
    annotator = np.zeros(usable.shape, np.int64)
    values, _ = ciou.overlaps(heat_map, corners, usable, annotator, protocol, "union", seed)
    found = {name: value >= ciou.SUCCESS for name, value in values.items()}
    every = {name: _every(hit, frame_of_row) for name, hit in found.items()}
    return {
        "iiou": float(every["heat_map"].mean()),
        "iiou_interval": bootstrap.interval(every["heat_map"], frames, resamples=resamples, seed=seed),
        "ciou_of_sources": float(found["heat_map"].mean()),
        "baselines": {
            name: {"iiou": float(every[name].mean()), "ciou_of_sources": float(found[name].mean())}
            for name in BASELINES
        },
        "items": len(frames),
        "sources": len(source),
        "without_several_sources": array_checks.expected(len(frames), items_expected) - len(frames),
        "items_expected": array_checks.expected(len(frames), items_expected),
        "protocol": f"every source found at cIoU >= {ciou.SUCCESS}, {protocol}",
        "seed": seed,
    }


def _every(hit: Bool[np.ndarray, " rows"], frame_of_row: Shaped[np.ndarray, " rows"]) -> Bool[np.ndarray, " frames"]:
    """Return whether all rows of each frame are hits."""
    return np.bincount(frame_of_row, weights=~hit) == 0


def check_options(*, protocol: str) -> None:
    """Check the options of the config.

    Raises:
      ValueError: an option is unknown.
    """
    one_of(protocol, ciou.PROTOCOLS, "evaluation.iiou.protocol")
