"""A second of sound as a picture: time to the right, frequency upwards."""

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

QUIET, LOUD = -12.0, 8.0


def picture(
    log_spectrogram: Float[np.ndarray, "columns bins"], height: int, width: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a log-spectrogram; all pictures have one scale, so that a quiet sound looks quiet.

    Args:
      log_spectrogram: natural log of power, un-normalised: -12 and below is black, 8 and above the brightest.
      height: pixels; the frequency axis is stretched at its lower end, where musical sounds have their partials: the
        height `h`, 0 to 1 from the bottom, is at `h ** 2` of the highest frequency. Each row has its loudest bin.
      width: pixels.
    """
    level = np.clip((stretched(log_spectrogram.T.astype(np.float64), height) - QUIET) / (LOUD - QUIET), 0, 1)
    colours = matplotlib.colormaps["magma"](level, bytes=True)[..., :3]
    return np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.BOX))


def stretched(values: Float[np.ndarray, "bins columns"], height: int) -> Float[np.ndarray, "height columns"]:
    """Values by frequency, upwards as `picture` draws them: each row has the largest of its bins."""
    edges = np.linspace(0, 1, height, endpoint=False) ** 2 * len(values)
    return np.maximum.reduceat(values, np.floor(edges).astype(int), axis=0)[::-1]
