"""Draws the regions of the tri-map over the frame: source, background, and ignored (LVS figure 4)."""

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8

from avlearn.visuals import heatmap_overlay

POSITIVE = np.array([240, 148, 32])
NEGATIVE = np.array([40, 104, 200])
OPACITY = 0.6


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Thresholds on the cosine S of a cell with the sound: `positive` (eps_p), `negative` (eps_n), softness `tau`.

    The soft masks are sigmoid((S - eps_p) / tau) for the source and sigmoid((eps_n - S) / tau) for the background.
    """

    positive: float
    negative: float
    tau: float


@dataclasses.dataclass(frozen=True)
class Shares:
    """The share of cells in each region, 0 to 1, by the hard thresholds; the shares sum to 1."""

    positive: float
    ignored: float
    negative: float


def cosines(heat_map: Float[np.ndarray, "*cells"], thresholds: Thresholds) -> Float[np.ndarray, "*cells"]:
    """Convert log-odds of the source, (S - eps_p) / tau, back to the cosines S."""
    return thresholds.positive + thresholds.tau * heat_map.astype(np.float64)


def shares(heat_map: Float[np.ndarray, "rows cols"], thresholds: Thresholds) -> Shares:
    """Compute the share of positive, ignored and negative cells.

    Args:
      heat_map: log-odds of the source, as for `cosines`.
      thresholds: thresholds of the loss that the network was trained with.
    """
    cells = cosines(heat_map, thresholds)
    positive = float((cells > thresholds.positive).mean())
    negative = float((cells < thresholds.negative).mean())
    return Shares(positive, 1 - positive - negative, negative)


def overlay(
    frame: UInt8[np.ndarray, "height width 3"], heat_map: Float[np.ndarray, "rows cols"], thresholds: Thresholds
) -> UInt8[np.ndarray, "height width 3"]:
    """Tint the greyscale frame: positive regions orange, negative ones blue; ignored ones stay grey.

    The strength of the tint is the value of the loss's soft masks at each pixel.

    Args:
      frame: RGB, the network's input.
      heat_map: log-odds of the source, as for `cosines`, interpolated bilinearly between the centres of the cells.
      thresholds: thresholds of the loss that the network was trained with.
    """
    level = heatmap_overlay.interpolate(cosines(heat_map, thresholds), frame.shape[:2])
    positive = heatmap_overlay.probability((level - thresholds.positive) / thresholds.tau)[..., None]
    negative = heatmap_overlay.probability((thresholds.negative - level) / thresholds.tau)[..., None]
    grey = (1 - OPACITY * (positive + negative)) * heatmap_overlay.grey(frame)
    return (grey + OPACITY * (positive * POSITIVE + negative * NEGATIVE)).round().astype(np.uint8)
