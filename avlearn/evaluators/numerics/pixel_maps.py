"""Heat maps and boxes on one grid of 224 x 224 pixels, for localization metrics (LVS 4.3)."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

PIXELS = 224  # side of the grid
GROUND_TRUTHS = ("union", "consensus")
INTERPOLATION = "bilinear, cv2.INTER_LINEAR, 224 x 224"
_ROUNDING = 1e-3  # pixels: float32 may put a border just below a whole pixel


def pixel_corners(
    boxes: Float[np.ndarray, "n boxes 4"],
) -> tuple[Int[np.ndarray, "n boxes 4"], Bool[np.ndarray, "n boxes"]]:
    """Round boxes down to whole pixels (first row and column, row and column after the last), as in LVS's code.

    Returns:
      The corners, and whether the box is usable: finite, with at least one pixel in the image.
    """
    finite = np.all(np.isfinite(boxes), axis=-1)
    shares = np.clip(np.where(finite[..., None], boxes, 0.0), 0.0, 1.0)
    corners = np.floor(shares * PIXELS + _ROUNDING).astype(np.int64)
    return corners, np.all(corners[..., 2:] > corners[..., :2], axis=-1)


def truth_maps(
    corners: Int[np.ndarray, "n boxes 4"],
    usable: Bool[np.ndarray, "n boxes"],
    annotator: Int[np.ndarray, "n boxes"],
    ground_truth: str,
) -> Float[np.ndarray, "n 224 224"]:
    """Draw the ground truth of each frame, 0 to 1: `union` of the usable boxes, or `consensus` of their annotators."""
    maps = np.zeros((len(corners), PIXELS, PIXELS), np.float32)
    for truth, frame_corners, frame_usable, annotators in zip(maps, corners, usable, annotator, strict=True):
        drawn_by = annotators if ground_truth == "consensus" else np.zeros_like(annotators)
        for one in np.unique(drawn_by[frame_usable]):
            covered = np.zeros((PIXELS, PIXELS), bool)
            for top, left, bottom, right in frame_corners[frame_usable & (drawn_by == one)]:
                covered[top:bottom, left:right] = True
            truth += covered
    return np.minimum(maps if ground_truth == "union" else maps / 2, 1)


def upsample(heat_map: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n 224 224"]:
    """Resize maps to 224 x 224 pixels, bilinearly, and scale each to 0 to 1; a constant map becomes 0."""
    size = (PIXELS, PIXELS)
    maps = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_LINEAR) for each in heat_map.astype(np.float64)])
    flat = maps.reshape(len(maps), -1)  # a view
    flat -= flat.min(axis=1, keepdims=True)
    span = flat.max(axis=1, keepdims=True)
    np.divide(flat, span, out=flat, where=span > 0)
    return maps


def centre_map() -> Float[np.ndarray, "224 224"]:
    """Return a map that falls with the distance from the centre of the image, 1 to 0."""
    from_centre = np.arange(PIXELS) + 0.5 - PIXELS / 2
    distance = np.hypot(from_centre[:, None], from_centre[None, :])
    return (distance.max() - distance) / np.ptp(distance)
