"""Cuts pieces out of a record: frames, the flow between them, log-spectrogram, waveform.

Only what is used is decoded: one JPEG frame, cropped as it is decoded (or as many consecutive ones as the network
takes, and the flow between them), and the bytes of one second of log-spectrogram, or of the waveform. The functions on
tensors run in TensorFlow's graph.
"""

import numpy as np
import tensorflow as tf

from avlearn.data import augment, schema
from avlearn.data.pieces import Pieces
from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.types import InputSpec

COLUMN_BYTES = schema.BINS * np.dtype(np.float16).itemsize
SAMPLE_BYTES = np.dtype(np.int16).itemsize

FEATURES = {
    "video_id": tf.io.FixedLenFeature((), tf.string),
    "clip_id": tf.io.FixedLenFeature((), tf.string),
    "frame_times_ms": tf.io.RaggedFeature(tf.int64),
}


def large(inputs: InputSpec) -> tuple[str, ...]:
    """Which of a record's large values a network takes."""
    taken = {"optical_flow": inputs.flow_fields, "waveform": inputs.waveform_samples}
    return ("frames", "log_spectrogram", *(name for name, count in taken.items() if count))


def start_column(time_ms, columns: int, front_end: str):
    """First column of a cut of `columns` that is centred on a time; `time_ms` is an integer, or an array of them.

    Integer arithmetic, rounded down: with `l3` a frame at t seconds has its second of 200 columns, or 199, at
    `200 t - 100`. It may lie outside the clip.
    """
    spec = FRONT_ENDS[front_end]
    hop = 1000 * spec.hop_samples
    return (2 * spec.sample_rate_hz * time_ms - columns * hop) // (2 * hop)


def start_sample(time_ms, samples: int, waveform_hz: int):
    """First sample of a cut of `samples` that is centred on a time; as `start_column`."""
    return (2 * waveform_hz * time_ms - 1000 * samples) // 2000


def columns_of(record: dict) -> tf.Tensor:
    """Columns of log-spectrogram that a record holds, int64."""
    return record["log_spectrogram"].num_bytes() // COLUMN_BYTES


def sound_span(record: dict, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """First and last time, ms, about which the sound lies in the clip, as log-spectrogram and as waveform."""
    spec = FRONT_ENDS[inputs.front_end]
    first, last = _span(inputs.columns, columns_of(record), spec.sample_rate_hz, 1000 * spec.hop_samples)
    if inputs.waveform_samples:
        samples = record["waveform"].num_bytes() // SAMPLE_BYTES
        first_heard, last_heard = _span(inputs.waveform_samples, samples, inputs.waveform_hz, 1000)
        first, last = max(first, first_heard), tf.minimum(last, last_heard)
    return tf.constant(first, tf.int64), last


def _span(count: int, held: tf.Tensor, rate_hz: int, hop: int) -> tuple[int, tf.Tensor]:
    """Times at which `start_column` (or `start_sample`) is from 0 to `held - count`."""
    half = count * hop
    return -(-half // (2 * rate_hz)), -(-(2 * hop * (held - count + 1) + half) // (2 * rate_hz)) - 1


def sound(record: dict, start: tf.Tensor, sound_ms: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """What is heard.

    Args:
      record: with `FEATURES` and `large`.
      start: first column of the log-spectrogram.
      sound_ms: time that the waveform is centred on.
      inputs: what the network eats.

    Returns:
      sound, natural log of power, pooled; and waveform, float32, full scale 1, where the network takes one.
    """
    heard = {"sound": augment.pool(columns(record, start, inputs), inputs.pool)}
    if inputs.waveform_samples:
        first = start_sample(sound_ms, inputs.waveform_samples, inputs.waveform_hz)
        cut = record["waveform"].cut(first * SAMPLE_BYTES, inputs.waveform_samples * SAMPLE_BYTES)
        samples = tf.bitcast(tf.reshape(cut, (inputs.waveform_samples, SAMPLE_BYTES)), tf.int16)
        heard["waveform"] = tf.cast(samples, tf.float32) / np.iinfo(np.int16).max
    return heard


def columns(record: dict, start: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    """Natural log of power of the columns from `start` on, float32 `[columns, 257]`."""
    cut = record["log_spectrogram"].cut(start * COLUMN_BYTES, inputs.columns * COLUMN_BYTES)
    return tf.cast(tf.bitcast(tf.reshape(cut, (inputs.columns, schema.BINS, -1)), tf.float16), tf.float32)


def view(record: dict, middle: tf.Tensor, window: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """What is seen about a frame, all of it through the same window.

    Args:
      record: with `FEATURES` and `large`.
      middle: number of the frame in the middle.
      window: (top, left, height, width) of the crop, pixels, int32.
      inputs: what the network eats.

    Returns:
      frames uint8 of `inputs.frame_shape`; and flow uint8 of `inputs.flow_shape` where the network takes it.
    """
    if inputs.frames == 1:
        seen = {"frames": frame(record["frames"][middle], window, inputs.frame_pixels)}
    else:
        cuts = tf.map_fn(
            lambda number: frame(record["frames"][number], window, inputs.frame_pixels),
            _about(middle, inputs.frames),
            fn_output_signature=tf.uint8,
        )
        seen = {"frames": tf.ensure_shape(cuts, inputs.frame_shape)}
    if inputs.flow_fields:
        seen["flow"] = flow(record["optical_flow"], _about(middle, inputs.flow_fields), window, inputs)
    return seen


def flow(fields: Pieces, numbers: tf.Tensor, window: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    """Decodes the same crop of some fields of optical flow as `frame` of frames; uint8 of `inputs.flow_shape`.

    Resizing moves the values to other places and does not change them: they stay in pixels of the stored frame.
    """
    top, left, height, width = tf.unstack(window)

    def field(number: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_jpeg(fields[number], channels=1, dct_method="INTEGER_ACCURATE")  # across above down
        across_and_down = tf.reshape(picture, (2, -1, tf.shape(picture)[1]))
        cut = across_and_down[:, top : top + height, left : left + width]
        return tf.transpose(cut, (1, 2, 0))

    cuts = tf.map_fn(field, numbers, fn_output_signature=tf.TensorSpec((None, None, 2), tf.uint8))
    channels = tf.reshape(tf.transpose(cuts, (1, 2, 0, 3)), (height, width, 2 * inputs.flow_fields))
    return resized(tf.ensure_shape(channels, (None, None, 2 * inputs.flow_fields)), inputs.frame_pixels)


def frame(jpeg: tf.Tensor, window: tf.Tensor, frame_pixels: int) -> tf.Tensor:
    """Decodes a crop, resized by area where it is not of `frame_pixels`; uint8 `[frame_pixels, frame_pixels, 3]`."""
    crop = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")
    return resized(crop, frame_pixels)


def resized(crop: tf.Tensor, pixels: int) -> tf.Tensor:
    """A square crop, uint8 `[side, side, channels]`, resized by area where its side is not `pixels`."""
    shape = (pixels, pixels)
    fitting = tf.cond(
        tf.shape(crop)[0] == pixels,
        lambda: crop,
        lambda: tf.cast(tf.round(tf.image.resize(crop, shape, method="area")), tf.uint8),
    )
    return tf.ensure_shape(fitting, (*shape, crop.shape[-1]))


def _about(middle: tf.Tensor, count: int) -> tf.Tensor:
    """So many neighbouring numbers about one; of an even number it is the one after the middle."""
    return middle - count // 2 + tf.range(count, dtype=middle.dtype)
