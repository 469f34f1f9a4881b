"""Draws a log-spectrogram as an image: time to the right, frequency upwards."""

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

QUIET, LOUD = -12.0, 8.0


def draw(
    log_spectrogram: Float[np.ndarray, "columns bins"], height: int, width: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a log-spectrogram. All images share one colour scale, so that quiet audio looks quiet.

    Args:
      log_spectrogram: natural log of power, not normalised: values up to -12 are black, values from 8 on the brightest.
      height: height, pixels. The frequency axis is stretched at its lower end, where musical sounds have their
        partials: height `h`, 0 to 1 from the bottom, shows `h ** 2` of the highest frequency. Each row shows its
        loudest bin.
      width: width, pixels.
    """
    level = np.clip((stretch(log_spectrogram.T.astype(np.float64), height) - QUIET) / (LOUD - QUIET), 0, 1)
    colours = matplotlib.colormaps["magma"](level, bytes=True)[..., :3]
    return np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.BOX))


def stretch(values: Float[np.ndarray, "bins columns"], height: int) -> Float[np.ndarray, "height columns"]:
    """Map bins to rows, highest frequency first, as `draw` does: each row has the largest value of its bins."""
    edges = np.linspace(0, 1, height, endpoint=False) ** 2 * len(values)
    return np.maximum.reduceat(values, np.floor(edges).astype(int), axis=0)[::-1]
