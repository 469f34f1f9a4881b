"""Cuts pieces out of a record: frames, the flow between them, log-spectrogram, waveform.

Only what is used is read and decoded: one JPEG frame, cropped as it is decoded (or as many consecutive ones as the
network takes, and the flow between them), and the bytes of one second of log-spectrogram, or of the waveform. `seen`
and `heard` say where that is in the records of some clips, as `avlearn.data.records` has it; `view` and `sound` make
arrays of what is there. The functions on tensors run in TensorFlow's graph.
"""

import numpy as np
import tensorflow as tf

from avlearn.data import schema
from avlearn.data.records import Records
from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.types import InputSpec

COLUMN_BYTES = schema.BINS * np.dtype(np.float16).itemsize
SAMPLE_BYTES = np.dtype(np.int16).itemsize

FEATURES = {
    "video_id": tf.io.FixedLenFeature((), tf.string),
    "clip_id": tf.io.FixedLenFeature((), tf.string),
    "frame_times_ms": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
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


def columns_of(records: dict) -> tf.Tensor:
    """Columns of log-spectrogram that each record holds, int64 `[clips]`."""
    return records["log_spectrogram"].num_bytes() // COLUMN_BYTES


def sound_span(records: dict, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """First time (of all clips) and last ones `[clips]`, ms, about which the sound lies in the clip.

    As log-spectrogram, and as waveform where the network takes one.
    """
    spec = FRONT_ENDS[inputs.front_end]
    first, last = _span(inputs.columns, columns_of(records), spec.sample_rate_hz, 1000 * spec.hop_samples)
    if inputs.waveform_samples:
        samples = records["waveform"].num_bytes() // SAMPLE_BYTES
        first_heard, last_heard = _span(inputs.waveform_samples, samples, inputs.waveform_hz, 1000)
        first, last = max(first, first_heard), tf.minimum(last, last_heard)
    return tf.constant(first, tf.int64), last


def _span(count: int, held: tf.Tensor, rate_hz: int, hop: int) -> tuple[int, tf.Tensor]:
    """Times at which `start_column` (or `start_sample`) is from 0 to `held - count`."""
    half = count * hop
    return -(-half // (2 * rate_hz)), -(-(2 * hop * (held - count + 1) + half) // (2 * rate_hz)) - 1


def seen(records: dict, middle: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """Places of what is seen about frames.

    Args:
      records: with `FEATURES` and `large`.
      middle: numbers of the frames in the middle, `[clips, n]`.
      inputs: what the network eats.

    Returns:
      frames `[clips, n, frames]`; and optical_flow `[clips, n, fields]` where the network takes it.
    """
    counts = {"frames": inputs.frames, "optical_flow": inputs.flow_fields}
    return {name: records[name].pick(_about(middle, count)) for name, count in counts.items() if count}


def heard(records: dict, start: tf.Tensor, sound_ms: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """Places of what is heard.

    Args:
      records: with `FEATURES` and `large`.
      start: first columns of the log-spectrogram, `[clips, n]`.
      sound_ms: times that the waveform is centred on, `[clips, n]`.
      inputs: what the network eats.

    Returns:
      log_spectrogram `[clips, n]`; and waveform `[clips, n]` where the network takes one.
    """
    places = {"log_spectrogram": records["log_spectrogram"].cut(start * COLUMN_BYTES, inputs.columns * COLUMN_BYTES)}
    if inputs.waveform_samples:
        first = start_sample(sound_ms, inputs.waveform_samples, inputs.waveform_hz)
        places["waveform"] = records["waveform"].cut(first * SAMPLE_BYTES, inputs.waveform_samples * SAMPLE_BYTES)
    return places


def sound(read: Records, places: dict[str, tf.Tensor], inputs: InputSpec) -> dict[str, tf.Tensor]:
    """What is heard, as it is stored: `avlearn.data.augment` makes of it what the network takes.

    Args:
      read: what is there.
      places: as `heard` has them, `[n, ...]`.
      inputs: what the network eats.

    Returns:
      log_spectrogram, natural log of power, float16 `[n, columns, bins]`, or pooled, float32; and waveform, int16
      `[n, samples]`, where the network takes one.
    """
    cuts = {"log_spectrogram": pool(columns(read, places["log_spectrogram"], inputs.columns), inputs.pool)}
    if inputs.waveform_samples:
        cut = read.rows(places["waveform"], inputs.waveform_samples * SAMPLE_BYTES)
        cuts["waveform"] = tf.bitcast(tf.reshape(cut, (-1, inputs.waveform_samples, SAMPLE_BYTES)), tf.int16)
    return cuts


def columns(read: Records, places: tf.Tensor, count: int) -> tf.Tensor:
    """Natural log of power of so many columns at each place, float16 `[n, count, 257]`."""
    cut = read.rows(places, count * COLUMN_BYTES)
    return tf.bitcast(tf.reshape(cut, (-1, count, schema.BINS, COLUMN_BYTES // schema.BINS)), tf.float16)


def pool(ln_power: tf.Tensor, size: int) -> tf.Tensor:
    """Means over `size` x `size` cells of `[n, columns, bins]`, remainders dropped; float32 where `size` is not 1."""
    if size == 1:
        return ln_power
    columns, bins = (length // size for length in ln_power.shape[1:])
    # Rows, then bins: ten times as fast as average pooling with one channel.
    whole = tf.cast(ln_power[:, : columns * size], tf.float32)
    rows = tf.reduce_mean(tf.reshape(whole, (-1, columns, size, ln_power.shape[2])), axis=2)
    return tf.reduce_mean(tf.reshape(rows[..., : bins * size], (-1, columns, bins, size)), axis=3)


def view(pictures: dict[str, tf.Tensor], window: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """What is seen about a frame, all of it through the same window.

    Args:
      pictures: encoded frames `[frames]`, and optical_flow `[fields]` where the network takes it.
      window: (top, left, height, width) of the crop, pixels, int32.
      inputs: what the network eats.

    Returns:
      frames uint8 of `inputs.frame_shape`; and flow uint8 of `inputs.flow_shape` where the network takes it.
    """
    if inputs.frames == 1:
        shown = {"frames": frame(pictures["frames"][0], window, inputs.frame_pixels)}
    else:
        cuts = tf.map_fn(
            lambda jpeg: frame(jpeg, window, inputs.frame_pixels), pictures["frames"], fn_output_signature=tf.uint8
        )
        shown = {"frames": tf.ensure_shape(cuts, inputs.frame_shape)}
    if inputs.flow_fields:
        shown["flow"] = flow(pictures["optical_flow"], window, inputs)
    return shown


def flow(jpegs: tf.Tensor, window: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    """Decodes the same crop of some fields of optical flow as `frame` of frames; uint8 of `inputs.flow_shape`.

    Resizing moves the values to other places and does not change them: they stay in pixels of the stored frame.
    """
    top, left, height, width = tf.unstack(window)

    def field(jpeg: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_jpeg(jpeg, channels=1, dct_method="INTEGER_ACCURATE")  # across above down
        across_and_down = tf.reshape(picture, (2, -1, tf.shape(picture)[1]))
        cut = across_and_down[:, top : top + height, left : left + width]
        return tf.transpose(cut, (1, 2, 0))

    cuts = tf.map_fn(field, jpegs, fn_output_signature=tf.TensorSpec((None, None, 2), tf.uint8))
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
    """So many neighbouring numbers about each, `[..., count]`; of an even number it is the one after the middle."""
    return middle[..., None] - count // 2 + tf.range(count, dtype=middle.dtype)
