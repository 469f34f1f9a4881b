"""Annotated objects that a page marks on a frame: a solid box marks a sounding object, a dashed one a silent one."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class FrameBox:
    """An object in a frame: upper left corner and size (0 to 1), class, and whether it sounds."""

    x: float
    y: float
    width: float
    height: float
    label: str
    sounding: bool


def in_frame(boxes: Float[np.ndarray, "*boxes 4"]) -> Bool[np.ndarray, "*boxes"]:
    """Return whether each box exists (is not NaN) and has some area inside the frame."""
    clipped = np.clip(boxes, 0, 1)
    return (clipped[..., 2:] > clipped[..., :2]).all(axis=-1)


def frame_boxes(
    boxes: Float[np.ndarray, "boxes 4"],
    label: Int[np.ndarray, " boxes"],
    sounding: Bool[np.ndarray, " boxes"],
    class_names: Sequence[str],
) -> tuple[FrameBox, ...]:
    """Return the boxes that are at least partly inside the frame.

    Args:
      boxes: (ymin, xmin, ymax, xmax) from 0 to 1; rows of NaN are padding.
      label: class of each box.
      sounding: whether the object in each box sounds.
      class_names: names of the classes, in label order.
    """
    return tuple(
        FrameBox(xmin, ymin, xmax - xmin, ymax - ymin, class_names[label], sounds)
        for (ymin, xmin, ymax, xmax), label, sounds, visible in zip(
            boxes.tolist(), label.tolist(), sounding.tolist(), in_frame(boxes).tolist(), strict=True
        )
        if visible
    )
