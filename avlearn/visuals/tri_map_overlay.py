"""Which cells of an image the tri-map takes for the source, for its background, and for neither (LVS figure 4)."""

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8

from avlearn.visuals import heatmap_overlay

POSITIVE = np.array([240, 148, 32])
NEGATIVE = np.array([40, 104, 200])
OPACITY = 0.6


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Of the cosine S of a cell with the sound: above `positive` (eps_p), below `negative` (eps_n), both soft by `tau`.

    A cell belongs to the source by sigmoid((S - eps_p) / tau), to the background by sigmoid((eps_n - S) / tau).
    """

    positive: float
    negative: float
    tau: float


@dataclasses.dataclass(frozen=True)
class Shares:
    """Share of the cells in each region, 0 to 1, by the thresholds themselves; they sum to 1."""

    positive: float
    ignored: float
    negative: float


def cosines(heat_map: Float[np.ndarray, "*cells"], thresholds: Thresholds) -> Float[np.ndarray, "*cells"]:
    """From the log-odds of the source, (S - eps_p) / tau, back to the cosines S."""
    return thresholds.positive + thresholds.tau * heat_map.astype(np.float64)


def shares(heat_map: Float[np.ndarray, "rows cols"], thresholds: Thresholds) -> Shares:
    """How many of the cells are positive, ignored and negative.

    Args:
      heat_map: log-odds of the source, as for `cosines`.
      thresholds: of the loss that the network was trained with.
    """
    cells = cosines(heat_map, thresholds)
    positive = float((cells > thresholds.positive).mean())
    negative = float((cells < thresholds.negative).mean())
    return Shares(positive, 1 - positive - negative, negative)


def overlay(
    frame: UInt8[np.ndarray, "height width 3"], heat_map: Float[np.ndarray, "rows cols"], thresholds: Thresholds
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in grey, tinted orange where it is positive and blue where it is negative; grey is ignored.

    The tint is as strong as the soft masks of the loss are at each pixel.

    Args:
      frame: RGB, what the network saw.
      heat_map: log-odds of the source, as for `cosines`; between the centres of cells they are interpolated bilinearly.
      thresholds: of the loss that the network was trained with.
    """
    level = heatmap_overlay.interpolated(cosines(heat_map, thresholds), frame.shape[:2])
    positive = heatmap_overlay.probability((level - thresholds.positive) / thresholds.tau)[..., None]
    negative = heatmap_overlay.probability((thresholds.negative - level) / thresholds.tau)[..., None]
    grey = (1 - OPACITY * (positive + negative)) * heatmap_overlay.grey(frame)
    return (grey + OPACITY * (positive * POSITIVE + negative * NEGATIVE)).round().astype(np.uint8)
