"""Changes to frames and sounds: colour, side, volume, and the named scalings of the log-spectrogram."""

import math

import cv2
import numpy as np
import tensorflow as tf
from jaxtyping import Bool, Float, UInt8

LUMA = np.array([0.299, 0.587, 0.114])  # of R, G, B in grey (ITU-R BT.601, as in JPEG)
DB_PER_LN = 10 / math.log(10)
# Between real clips (two of them: -60 and -67 dB, deviations 22 and 12) and the synthetic world (-32 dB, 22).
DB_MEAN = -45.0
DB_STANDARD_DEVIATION = 20.0
DB_RANGE = 80.0


def jitter(
    frames: UInt8[np.ndarray, "batch height width 3"],
    flip: Bool[np.ndarray, " batch"],
    brightness: Float[np.ndarray, " batch"],
    saturation: Float[np.ndarray, " batch"],
) -> UInt8[np.ndarray, "batch height width 3"]:
    """Flips frames left to right and changes their colours (Look, Listen and Learn, section 2.2).

    Args:
      frames: RGB.
      flip: which ones.
      brightness: added to each channel, as a share of the full range.
      saturation: factor on each pixel's distance from its grey of the same luma.
    """
    out = np.empty_like(frames)
    for frame, mirrored, added, factor, result in zip(frames, flip, brightness, saturation, out, strict=True):
        matrix = np.empty((3, 4), np.float32)
        matrix[:, :3] = factor * np.eye(3) + (1 - factor) * LUMA
        matrix[:, 3] = 255 * added
        cv2.transform(cv2.flip(frame, 1) if mirrored else frame, matrix, dst=result)
    return out


def flip_flow(flow: tf.Tensor, flip: tf.Tensor) -> tf.Tensor:
    """Flips optical flow `[batch, height, width, channels]` left to right where `flip` says so.

    What moved to the right moves to the left then: every other channel, the motion across, changes its sign, which the
    code of `avlearn.media.optical_flow.to_pictures` makes 255 less its value.
    """
    across = tf.range(flow.shape[-1]) % 2 == 0
    mirrored = tf.reverse(flow, axis=[2])
    return tf.where(flip[:, None, None, None], tf.where(across, 255 - mirrored, mirrored), flow)


def change_volume(ln_power: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the amplitude of each second `[batch, columns, bins]` by its factor, power by the square."""
    return ln_power + 2 * tf.math.log(tf.cast(factor, ln_power.dtype))[:, None, None]


def pool(ln_power: tf.Tensor, size: int) -> tf.Tensor:
    """Means over `size` x `size` cells of `[columns, bins]`, remainders dropped."""
    if size == 1:
        return ln_power
    columns, bins = ln_power.shape[0] // size, ln_power.shape[1] // size
    # Rows, then bins: ten times as fast as average pooling with one channel.
    rows = tf.reduce_mean(tf.reshape(ln_power[: columns * size], (columns, size, -1)), axis=1)
    return tf.reduce_mean(tf.reshape(rows[:, : bins * size], (columns, bins, size)), axis=2)


def ln_12(ln_power: tf.Tensor) -> tf.Tensor:
    """Natural log of power / 12 (Localizing Visual Sounds the Hard Way, and others)."""
    return ln_power / 12


def ln_5(ln_power: tf.Tensor) -> tf.Tensor:
    """Natural log of power / 5 (a large replication of Look, Listen and Learn)."""
    return ln_power / 5


def db_standardised(ln_power: tf.Tensor) -> tf.Tensor:
    """Decibels of full scale, less a mean, over a standard deviation, both fixed."""
    return (ln_power * DB_PER_LN - DB_MEAN) / DB_STANDARD_DEVIATION


def db_80(ln_power: tf.Tensor) -> tf.Tensor:
    """Decibels below the peak of each second, clipped at 80 and brought to [-1, 1]: the volume has no influence."""
    peak = tf.reduce_max(ln_power, axis=(-2, -1), keepdims=True)
    below = tf.maximum((ln_power - peak) * DB_PER_LN, -DB_RANGE)
    return 1 + 2 * below / DB_RANGE


SCALINGS = {"ln_12": ln_12, "ln_5": ln_5, "db_standardised": db_standardised, "db_80": db_80}
