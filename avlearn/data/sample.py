"""Cuts one frame and the second of sound that belongs to it out of a record, by one random draw.

Only what is used is decoded: one JPEG frame, cropped as it is decoded, and the bytes of one second of log-spectrogram.
The functions on tensors run in TensorFlow's graph.
"""

import dataclasses
import enum

import numpy as np
import tensorflow as tf
from jaxtyping import Float64

from avlearn.data import augment, pairs, read, schema
from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.types import InputSpec

GRID_MS = 40  # sound is cut at multiples of it from a frame (Objects that Sound, section 3.3)
DRAW_STREAM = 1  # keeps these random numbers apart from those of the order of clips
NEGATIVES = ("on_grid", "off_grid")
COLUMN_BYTES = schema.BINS * np.dtype(np.float16).itemsize

FEATURES = {
    "video_id": tf.io.FixedLenFeature((), tf.string),
    "clip_id": tf.io.FixedLenFeature((), tf.string),
    "frames": tf.io.RaggedFeature(tf.string),
    "frame_times_ms": tf.io.RaggedFeature(tf.int64),
    "log_spectrogram": tf.io.FixedLenFeature((), tf.string),
}


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How pairs are drawn and changed; the fields are keys of `config.data`.

    Attributes:
      pairing: `avc` (half positives, half negatives), or all aligned: `all_pairs` (every pair of a batch is scored),
        `contrast` (the loss sets each clip of a batch against all others) or `labelled` (each clip is classified).
      negatives: `on_grid`, the sound of a negative lies on the grid of frame times as that of a positive does (Objects
        that Sound, section 3.3), or `off_grid`, at any column: the unprotected draw, whose shortcut can be studied.
      misalignment_seconds: sound up to this far from the frame, positives and negatives alike.
      spectrogram_scaling: a name in `avlearn.data.augment.SCALINGS`.
      flip: left-right, half of the frames.
      brightness: added, uniform within +- this share of the full range.
      saturation: factor on the distance from grey, uniform in 1 +- this.
      volume: factor on the amplitude, uniform in 1 +- this, one for the whole second.
      samples_per_clip: draws from one read, used in as many consecutive batches.
      threads: of the input pipeline; 0: as many as there are cores.

    Raises:
      ValueError: a value that is not allowed.
    """

    pairing: str = "avc"
    negatives: str = "on_grid"
    misalignment_seconds: float = 1.0
    spectrogram_scaling: str = "ln_12"
    flip: bool = True
    brightness: float = 0.2
    saturation: float = 0.2
    volume: float = 0.1
    samples_per_clip: int = 1
    threads: int = 0

    def __post_init__(self):
        named = {
            "pairing": pairs.TRAINING_PAIRINGS,
            "negatives": NEGATIVES,
            "spectrogram_scaling": tuple(augment.SCALINGS),
        }
        for key, allowed in named.items():
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f"{key}={getattr(self, key)!r} is unknown; use --config.data.{key}={'|'.join(allowed)}"
                )
        least = {"misalignment_seconds": 0, "brightness": 0, "saturation": 0, "samples_per_clip": 1, "threads": 0}
        for key, bound in least.items():
            if getattr(self, key) < bound:
                raise ValueError(f"{key}={getattr(self, key)} is out of range; --config.data.{key} is {bound} or more")
        if not 0 <= self.volume < 1:
            raise ValueError(f"volume={self.volume} is out of range; --config.data.volume is at least 0 and below 1")


class Draw(enum.IntEnum):
    """What each of a pair's uniform random numbers decides."""

    MOMENT = 0
    ANY_COLUMN = 1
    TOP = 2
    LEFT = 3
    FLIP = 4
    BRIGHTNESS = 5
    SATURATION = 6
    VOLUME = 7
    PARTNER = 8


# The middle frame, its own sound, the centre crop: evaluation's draw.
MIDDLE = (0.5,) * len(Draw)


def draws(seed: int, worker: int, step: int, batch: int) -> Float64[np.ndarray, "batch draws"]:
    """Uniform numbers in [0, 1) for each pair of a worker's batch, a pure function of the arguments."""
    return np.random.default_rng((seed, DRAW_STREAM, worker, step)).random((batch, len(Draw)))


def start_column(time_ms, columns: int, front_end: str):
    """First column of a cut of `columns` that is centred on a time; `time_ms` is an integer, or an array of them.

    Integer arithmetic, rounded down: with `l3` a frame at t seconds has its second of 200 columns, or 199, at
    `200 t - 100`. It may lie outside the clip.
    """
    spec = FRONT_ENDS[front_end]
    hop = 1000 * spec.hop_samples
    return (2 * spec.sample_rate_hz * time_ms - columns * hop) // (2 * hop)


def cut_pair(
    record: dict, draw: tf.Tensor, negative: tf.Tensor, inputs: InputSpec, sampling: Sampling
) -> dict[str, tf.Tensor]:
    """Cuts one draw's frame and second of sound out of a record.

    Args:
      record: parsed by `FEATURES`.
      draw: uniform numbers, `[len(Draw)]`.
      negative: whether the pair is one: its sound will meet another frame.
      inputs: what the network eats.
      sampling: `negatives` and `misalignment_seconds` are used.

    Returns:
      frame uint8 `[frame_pixels, frame_pixels, 3]`, sound (pooled, natural log of power), video (fingerprint), and
      negative and draw as given.
    """
    frame, start = moment(draw[Draw.MOMENT], record, inputs, sampling.misalignment_seconds)
    if sampling.negatives == "off_grid":
        start = tf.where(negative, any_column(draw[Draw.ANY_COLUMN], record, inputs), start)
    jpeg = record["frames"][frame]
    window, _ = crop_window(jpeg, draw, inputs)
    return {
        "frame": cut_frame(jpeg, window, inputs.frame_pixels),
        "sound": augment.pool(cut_sound(record, start, inputs), inputs.pool),
        "video": read.fingerprint(record["video_id"]),
        "negative": negative,
        "draw": draw,
    }


def moment(
    draw: tf.Tensor, record: dict, inputs: InputSpec, misalignment_seconds: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Frame number and first column of the sound: uniform over `moments`.

    Args:
      draw: uniform in [0, 1); 0.5 is the middle.
      record, inputs, misalignment_seconds: as for `moments`.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: the clip is too short for one cut.
    """
    frames, starts = moments(record, inputs, misalignment_seconds)
    chosen = _pick(draw, tf.size(starts, tf.int64))
    return frames[chosen], starts[chosen]


def moments(record: dict, inputs: InputSpec, misalignment_seconds: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Frame numbers and first columns of the sound, of all frames and misalignments that fit into the clip, by frame.

    Args:
      record: parsed by `FEATURES`.
      inputs: front end and columns.
      misalignment_seconds: bound of the distance between frame and sound, which is a multiple of 0.04 s.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: the clip is too short for one cut.
    """
    most = round(1000 * misalignment_seconds) // GRID_MS
    times = record["frame_times_ms"][:, None] + GRID_MS * tf.range(-most, most + 1, dtype=tf.int64)
    starts = start_column(times, inputs.columns, inputs.front_end)
    clip_columns = columns_of(record)
    fits = tf.where((starts >= 0) & (starts <= clip_columns - inputs.columns))
    complaint = ["no frame with its sound fits into the clip", record["clip_id"], "of columns:", clip_columns]
    with tf.control_dependencies([tf.debugging.Assert(tf.size(fits) > 0, complaint)]):
        return fits[:, 0], tf.gather_nd(starts, fits)


def any_column(draw: tf.Tensor, record: dict, inputs: InputSpec) -> tf.Tensor:
    """First column of a cut from anywhere in the clip, on the grid or not."""
    return _pick(draw, columns_of(record) - inputs.columns + 1)


def cut_sound(record: dict, start: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    """Natural log of power of the columns from `start` on, float32 `[columns, 257]`."""
    cut = tf.strings.substr(record["log_spectrogram"], start * COLUMN_BYTES, inputs.columns * COLUMN_BYTES)
    return tf.cast(tf.reshape(tf.io.decode_raw(cut, tf.float16), (inputs.columns, schema.BINS)), tf.float32)


def crop_window(jpeg: tf.Tensor, draw: tf.Tensor, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """A square crop of `crop_fraction` of the shorter side.

    Args:
      jpeg: the encoded frame.
      draw: a pair's uniform numbers, `[len(Draw)]`.
      inputs: its `crop_fraction` is used.

    Returns:
      (top, left, height, width) of the crop and (height, width) of the frame, pixels, int32.
    """
    size = tf.image.extract_jpeg_shape(jpeg)[:2]
    side = tf.cast(tf.round(inputs.crop_fraction * tf.cast(tf.reduce_min(size), tf.float64)), tf.int32)
    corner = _pick(draw[Draw.TOP : Draw.LEFT + 1], size - side + 1)
    return tf.concat([corner, [side, side]], 0), size


def cut_frame(jpeg: tf.Tensor, window: tf.Tensor, frame_pixels: int) -> tf.Tensor:
    """Decodes a crop, resized by area where it is not of `frame_pixels`; uint8 `[frame_pixels, frame_pixels, 3]`."""
    crop = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")
    shape = (frame_pixels, frame_pixels)
    frame = tf.cond(
        window[2] == frame_pixels,
        lambda: crop,
        lambda: tf.cast(tf.round(tf.image.resize(crop, shape, method="area")), tf.uint8),
    )
    return tf.ensure_shape(frame, (*shape, 3))


def columns_of(record: dict) -> tf.Tensor:
    """Columns of log-spectrogram that a record holds, int64."""
    return tf.cast(tf.strings.length(record["log_spectrogram"]) // COLUMN_BYTES, tf.int64)


def _pick(draw: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Integers below `count` from uniform numbers."""
    return tf.cast(draw * tf.cast(count, tf.float64), count.dtype)
