"""Annotated objects, as a page draws them over a frame: a solid box sounds, a dashed one is silent."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class DrawnBox:
    """An object on a frame: corner, size (0 to 1), its class, and whether it sounds."""

    x: float
    y: float
    width: float
    height: float
    label: str
    sounding: bool


def in_picture(boxes: Float[np.ndarray, "*boxes 4"]) -> Bool[np.ndarray, "*boxes"]:
    """Whether there is a box, and some of its area is in the picture."""
    shown = np.clip(boxes, 0, 1)
    return (shown[..., 2:] > shown[..., :2]).all(axis=-1)


def drawn(
    boxes: Float[np.ndarray, "boxes 4"],
    label: Int[np.ndarray, " boxes"],
    sounding: Bool[np.ndarray, " boxes"],
    class_names: Sequence[str],
) -> tuple[DrawnBox, ...]:
    """The boxes of a frame that are in the picture.

    Args:
      boxes: (ymin, xmin, ymax, xmax) from 0 to 1; NaN is no box.
      label: class of each.
      sounding: whether each sounds.
      class_names: in label order.
    """
    return tuple(
        DrawnBox(xmin, ymin, xmax - xmin, ymax - ymin, class_names[label], heard)
        for (ymin, xmin, ymax, xmax), label, heard, visible in zip(
            boxes.tolist(), label.tolist(), sounding.tolist(), in_picture(boxes).tolist(), strict=True
        )
        if visible
    )
