"""What is making the sound: a network's heat map over the frame (OtS figures 5 and 6)."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from avlearn.visuals.boxes import in_picture

OPACITY = 0.85
LUMA = np.array([0.299, 0.587, 0.114])


def probability(heat_map: Float[np.ndarray, "*cells"]) -> Float[np.ndarray, "*cells"]:
    """Log-odds to the probability, 0 to 1, that a cell shows the source of the sound."""
    return 0.5 * (1 + np.tanh(0.5 * heat_map.astype(np.float64)))


def colours(level: Float[np.ndarray, "*cells"]) -> UInt8[np.ndarray, "*cells 3"]:
    """The one colour scale of every overlay, over the probability 0 to 1."""
    return matplotlib.colormaps["plasma"](level, bytes=True)[..., :3]


def overlay(
    frame: UInt8[np.ndarray, "height width 3"], heat_map: Float[np.ndarray, "rows cols"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in grey, tinted where the probability is high.

    Colour and opacity follow the probability itself, not its rank within this map: an empty map (all near 0) leaves the
    grey frame, and maps of different sounds can be compared.

    Args:
      frame: RGB, what the network saw.
      heat_map: log-odds of each cell; the cells divide the frame evenly, and between their centres the probability is
        interpolated bilinearly.
    """
    return tinted(frame, interpolated(probability(heat_map), frame.shape[:2]))


def tinted(
    frame: UInt8[np.ndarray, "height width 3"], level: Float[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in grey, coloured by a level of 0 to 1 and covered as far."""
    opacity = OPACITY * level[..., None]
    return ((1 - opacity) * grey(frame) + opacity * colours(level)).round().astype(np.uint8)


def interpolated(cells: Float[np.ndarray, "rows cols"], size: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """Cells that divide a frame of this height and width evenly, bilinearly between their centres."""
    height, width = size
    picture = Image.fromarray(cells.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).astype(np.float64)


def grey(frame: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """The frame without its colours, 0 to 255."""
    return np.repeat((frame @ LUMA)[..., None], 3, axis=-1)


def mode(heat_map: Float[np.ndarray, "rows cols"]) -> tuple[float, float]:
    """Centre of the cell of the highest value (the first of equals) as (y, x), 0 to 1 from the upper left."""
    row, col = np.unravel_index(heat_map.argmax(), heat_map.shape)
    return (float(row) + 0.5) / heat_map.shape[0], (float(col) + 0.5) / heat_map.shape[1]


def hit(point: tuple[float, float], boxes: Float[np.ndarray, "boxes 4"], sounding: Bool[np.ndarray, " boxes"]) -> bool:
    """Whether the point (y, x) lies in a box (ymin, xmin, ymax, xmax) of something that sounds; NaN is no box."""
    y, x = point
    ymin, xmin, ymax, xmax = boxes.T
    return bool(((ymin <= y) & (y <= ymax) & (xmin <= x) & (x <= xmax) & sounding).any())


def in_view(arrays: Mapping[str, np.ndarray]) -> Int[np.ndarray, " rows"]:
    """Rows of a frame with its own sound that shows what sounds: a sounding box is in the picture."""
    sounding = in_picture(arrays["boxes"]) & arrays["box_sounding"]
    return np.flatnonzero(sounding.any(axis=1) & arrays["corresponds"])


def mismatched(arrays: Mapping[str, np.ndarray]) -> Int[np.ndarray, "frames 2"]:
    """Frames with their own sound and with another one's: (matched row, mismatched row), in the order of the items.

    Taken are the frames that show what sounds and are paired with the sound of a clip of no common class.

    Args:
      arrays: an evaluation's arrays of AVC pairs, each clip's own among them: `image_item`, `audio_item`,
        `corresponds`, `labels`, `boxes`, `box_sounding`.
    """
    own = {int(arrays["image_item"][row]): int(row) for row in np.flatnonzero(arrays["corresponds"])}
    visible = set(in_view(arrays).tolist())
    pairs = []
    for row in np.flatnonzero(~arrays["corresponds"]).tolist():
        matched, other = own[int(arrays["image_item"][row])], own[int(arrays["audio_item"][row])]
        if matched in visible and not (arrays["labels"][matched] & arrays["labels"][other]).any():
            pairs.append((matched, row))
    pairs.sort(key=lambda pair: arrays["image_item"][pair[0]])
    return np.array(pairs, dtype=int).reshape(-1, 2)


def scale(stops: int = 9) -> tuple[str, ...]:
    """The colour scale as CSS colours from probability 0 to 1, as it looks over a middle grey."""
    level = np.linspace(0, 1, stops)
    opacity = OPACITY * level[:, None]
    tinted = (1 - opacity) * 128 + opacity * colours(level)
    return tuple("rgb({} {} {})".format(*colour) for colour in tinted.round().astype(int).tolist())
