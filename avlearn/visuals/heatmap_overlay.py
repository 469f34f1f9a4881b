"""Draws a network's heat map, the answer to "what is making the sound?", over the frame (OtS figures 5 and 6)."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from avlearn.visuals.boxes import in_frame

OPACITY = 0.85
LUMA = np.array([0.299, 0.587, 0.114])


def probability(heat_map: Float[np.ndarray, "*cells"]) -> Float[np.ndarray, "*cells"]:
    """Convert log-odds to the probability, 0 to 1, that a cell shows the source of the sound."""
    return 0.5 * (1 + np.tanh(0.5 * heat_map.astype(np.float64)))


def colours(level: Float[np.ndarray, "*cells"]) -> UInt8[np.ndarray, "*cells 3"]:
    """Map probabilities, 0 to 1, to colours of the scale that all overlays share."""
    return matplotlib.colormaps["plasma"](level, bytes=True)[..., :3]


def overlay(
    frame: UInt8[np.ndarray, "height width 3"], heat_map: Float[np.ndarray, "rows cols"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Tint the greyscale frame where the probability is high.

    Colour and opacity follow the probability itself, not its rank within this map: a map that is near 0 everywhere
    leaves the grey frame, and maps of different sounds can be compared.

    Args:
      frame: RGB, the network's input.
      heat_map: log-odds of each cell. The cells divide the frame evenly; between their centres the probability is
        interpolated bilinearly.
    """
    return tint(frame, interpolate(probability(heat_map), frame.shape[:2]))


def tint(
    frame: UInt8[np.ndarray, "height width 3"], level: Float[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Tint the greyscale frame; `level`, 0 to 1, sets both colour and opacity."""
    opacity = OPACITY * level[..., None]
    return ((1 - opacity) * grey(frame) + opacity * colours(level)).round().astype(np.uint8)


def interpolate(cells: Float[np.ndarray, "rows cols"], size: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """Interpolate cells bilinearly to the height and width of the frame that they divide evenly."""
    height, width = size
    image = Image.fromarray(cells.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).astype(np.float64)


def grey(frame: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """Convert a frame to greyscale, 0 to 255, with three equal channels."""
    return np.repeat((frame @ LUMA)[..., None], 3, axis=-1)


def mode(heat_map: Float[np.ndarray, "rows cols"]) -> tuple[float, float]:
    """Return the centre (y, x) of the first cell with the highest value, 0 to 1 from the upper left."""
    row, col = np.unravel_index(heat_map.argmax(), heat_map.shape)
    return (float(row) + 0.5) / heat_map.shape[0], (float(col) + 0.5) / heat_map.shape[1]


def hit(point: tuple[float, float], boxes: Float[np.ndarray, "boxes 4"], sounding: Bool[np.ndarray, " boxes"]) -> bool:
    """Return whether the point (y, x) is in a sounding box (ymin, xmin, ymax, xmax); boxes of NaN are padding."""
    y, x = point
    ymin, xmin, ymax, xmax = boxes.T
    return bool(((ymin <= y) & (y <= ymax) & (xmin <= x) & (x <= xmax) & sounding).any())


def visible_source_rows(arrays: Mapping[str, np.ndarray]) -> Int[np.ndarray, " rows"]:
    """Return the rows with matching audio whose frame shows a sounding box."""
    sounding = in_frame(arrays["boxes"]) & arrays["box_sounding"]
    return np.flatnonzero(sounding.any(axis=1) & arrays["corresponds"])


def mismatched(arrays: Mapping[str, np.ndarray]) -> Int[np.ndarray, "frames 2"]:
    """Return (matched row, mismatched row) for frames that are paired with their own and with another clip's audio.

    Only frames with a sounding box are included, and only audio of clips that share no class with the frame's clip.

    Args:
      arrays: an evaluation's arrays of AVC pairs, which include each clip's own pair: `image_item`, `audio_item`,
        `corresponds`, `labels`, `boxes`, `box_sounding`.

    Returns:
      Pairs of rows, in the order of the item numbers.
    """
    own = {int(arrays["image_item"][row]): int(row) for row in np.flatnonzero(arrays["corresponds"])}
    visible = set(visible_source_rows(arrays).tolist())
    pairs = []
    for row in np.flatnonzero(~arrays["corresponds"]).tolist():
        matched, other = own[int(arrays["image_item"][row])], own[int(arrays["audio_item"][row])]
        if matched in visible and not (arrays["labels"][matched] & arrays["labels"][other]).any():
            pairs.append((matched, row))
    pairs.sort(key=lambda pair: arrays["image_item"][pair[0]])
    return np.array(pairs, dtype=int).reshape(-1, 2)


def scale(stops: int = 9) -> tuple[str, ...]:
    """Return the colour scale, probability 0 to 1 over middle grey, as CSS colours."""
    level = np.linspace(0, 1, stops)
    opacity = OPACITY * level[:, None]
    blended = (1 - opacity) * 128 + opacity * colours(level)
    return tuple("rgb({} {} {})".format(*colour) for colour in blended.round().astype(int).tolist())
