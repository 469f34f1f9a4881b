"""Cuts a network's inputs out of records: frames, the flow between them, log-spectrogram, waveform.

Nothing else is read or decoded. The inputs are one JPEG frame, cropped while it is decoded (or several consecutive ones
and the flow between them), and the bytes of one second of log-spectrogram or waveform. `locate_images` and
`locate_audio` find them in the records (see `avlearn.data.records`); `decode_images` and `read_audio` turn them into
arrays. The functions on tensors run in TensorFlow's graph.
"""

import numpy as np
import tensorflow as tf

from avlearn.data import finite, graph, schema
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


def large_values(inputs: InputSpec) -> tuple[str, ...]:
    """Return the names of the large values of a record that a network takes."""
    taken = {"optical_flow": inputs.flow_fields, "waveform": inputs.waveform_samples}
    return ("frames", "log_spectrogram", *(name for name, count in taken.items() if count))


def start_column(time_ms, columns: int, front_end: str):
    """Return the first column of a cut that is centred on a time; it may be outside the clip.

    The result is rounded down to an integer: with `l3`, the cut of 200 (or 199) columns for a frame at t seconds begins
    at column `200 t - 100`.

    Args:
      time_ms: an integer or an array of integers.
      columns: number of columns of the cut.
      front_end: audio front end, a name in `avlearn.media.log_spectrogram.FRONT_ENDS`.
    """
    spec = FRONT_ENDS[front_end]
    hop = 1000 * spec.hop_samples
    return (2 * spec.sample_rate_hz * time_ms - columns * hop) // (2 * hop)


def start_sample(time_ms, samples: int, waveform_hz: int):
    """Return the first sample of a cut of the waveform that is centred on a time; see `start_column`."""
    return (2 * waveform_hz * time_ms - 1000 * samples) // 2000


def num_columns(records: dict) -> tf.Tensor:
    """Return the number of log-spectrogram columns of each record, int64 `[clips]`."""
    return records["log_spectrogram"].num_bytes() // COLUMN_BYTES


def audio_span(records: dict, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the range of times, in ms, for which an audio cut centred on the time fits into the clip.

    The cut is that of the log-spectrogram and, if the network takes one, that of the waveform.

    Returns:
      The first time, the same for all clips, and the last time of each clip, int64 `[clips]`.
    """
    spec = FRONT_ENDS[inputs.front_end]
    first, last = _span(inputs.columns, num_columns(records), spec.sample_rate_hz, 1000 * spec.hop_samples)
    if inputs.waveform_samples:
        samples = records["waveform"].num_bytes() // SAMPLE_BYTES
        first_sample, last_sample = _span(inputs.waveform_samples, samples, inputs.waveform_hz, 1000)
        first, last = max(first, first_sample), tf.minimum(last, last_sample)
    return tf.constant(first, tf.int64), last


def _span(count: int, held: tf.Tensor, rate_hz: int, hop: int) -> tuple[int, tf.Tensor]:
    """Return the first and last time at which `start_column` (or `start_sample`) is between 0 and `held - count`."""
    half = count * hop
    return -(-half // (2 * rate_hz)), -(-(2 * hop * (held - count + 1) + half) // (2 * rate_hz)) - 1


def locate_images(records: dict, middle: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """Return the locations of the image inputs around frames.

    Args:
      records: records read with `FEATURES` and `large_values`.
      middle: numbers of the middle frames, `[clips, n]`.
      inputs: inputs of the network.

    Returns:
      frames: `[clips, n, frames]`.
      optical_flow: `[clips, n, fields]`; absent if the network takes no flow.
    """
    counts = {"frames": inputs.frames, "optical_flow": inputs.flow_fields}
    return {name: records[name].pick(_neighbours(middle, count)) for name, count in counts.items() if count}


def locate_audio(records: dict, start: tf.Tensor, audio_ms: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """Return the locations of the audio inputs.

    Args:
      records: records read with `FEATURES` and `large_values`.
      start: first columns of the log-spectrogram, `[clips, n]`.
      audio_ms: times that the waveform is centred on, `[clips, n]`.
      inputs: inputs of the network.

    Returns:
      log_spectrogram: `[clips, n]`.
      waveform: `[clips, n]`; absent if the network takes none.
      clip_id: `[clips, n]`, for error messages.
    """
    locations = {"log_spectrogram": records["log_spectrogram"].cut(start * COLUMN_BYTES, inputs.columns * COLUMN_BYTES)}
    if inputs.waveform_samples:
        first = start_sample(audio_ms, inputs.waveform_samples, inputs.waveform_hz)
        locations["waveform"] = records["waveform"].cut(first * SAMPLE_BYTES, inputs.waveform_samples * SAMPLE_BYTES)
    return {**locations, "clip_id": tf.repeat(records["clip_id"][:, None], tf.shape(start)[1], axis=1)}


def read_audio(reader: Records, locations: dict[str, tf.Tensor], inputs: InputSpec) -> dict[str, tf.Tensor]:
    """Read the audio inputs as they are stored; `avlearn.data.augment` scales them.

    Args:
      reader: reads the records.
      locations: n locations of each value, as `locate_audio` returns them.
      inputs: inputs of the network.

    Returns:
      log_spectrogram: natural log of power, float16 `[n, columns, bins]`; if pooled, float32.
      waveform: int16 `[n, samples]`; absent if the network takes none.
    """
    columns = read_columns(reader, locations["log_spectrogram"], inputs.columns, locations["clip_id"])
    cuts = {"log_spectrogram": pool(columns, inputs.pool)}
    if inputs.waveform_samples:
        cut = reader.rows(locations["waveform"], inputs.waveform_samples * SAMPLE_BYTES)
        cuts["waveform"] = tf.bitcast(tf.reshape(cut, (-1, inputs.waveform_samples, SAMPLE_BYTES)), tf.int16)
    return cuts


def read_columns(reader: Records, locations: tf.Tensor, count: int, clip_ids: tf.Tensor) -> tf.Tensor:
    """Read `count` columns of natural log of power at each of n locations, float16 `[n, count, 257]`.

    Args:
      reader: reads the records.
      locations: n locations.
      count: number of columns.
      clip_ids: name of the clip of each location, or of all.

    Raises (when the graph runs):
      tf.errors.InvalidArgumentError: a value is NaN or infinite; the message names the clip.
    """
    cut = reader.rows(locations, count * COLUMN_BYTES)
    columns = tf.bitcast(tf.reshape(cut, (-1, count, schema.BINS, COLUMN_BYTES // schema.BINS)), tf.float16)
    return graph.checked(columns, finite.check_log_spectrograms, clip_ids)


def pool(ln_power: tf.Tensor, size: int) -> tf.Tensor:
    """Average `size` x `size` cells of `[n, columns, bins]`, dropping remainders; float32 unless `size` is 1."""
    if size == 1:
        return ln_power
    columns, bins = np.array(ln_power.shape[1:]) // size
    # Columns, then bins: ten times as fast as average pooling with one channel.
    cells = tf.cast(ln_power[:, : columns * size], tf.float32)
    rows = tf.reduce_mean(tf.reshape(cells, (-1, columns, size, ln_power.shape[2])), axis=2)
    return tf.reduce_mean(tf.reshape(rows[..., : bins * size], (-1, columns, bins, size)), axis=3)


def decode_images(encoded: dict[str, tf.Tensor], window: tf.Tensor, inputs: InputSpec) -> dict[str, tf.Tensor]:
    """Decode the image inputs of one moment, all cropped by the same window.

    Args:
      encoded: JPEGs: frames `[frames]` and, if the network takes it, optical_flow `[fields]`.
      window: (top, left, height, width) of the crop, pixels, int32.
      inputs: inputs of the network.

    Returns:
      frames: uint8, of shape `inputs.frame_shape`.
      flow: uint8, of shape `inputs.flow_shape`; absent if the network takes none.
    """
    if inputs.frames == 1:
        decoded = {"frames": decode_frame(encoded["frames"][0], window, inputs.frame_pixels)}
    else:
        cuts = tf.map_fn(
            lambda jpeg: decode_frame(jpeg, window, inputs.frame_pixels),
            encoded["frames"],
            fn_output_signature=tf.uint8,
        )
        decoded = {"frames": tf.ensure_shape(cuts, inputs.frame_shape)}
    if inputs.flow_fields:
        decoded["flow"] = decode_flow(encoded["optical_flow"], window, inputs)
    return decoded


def decode_flow(jpegs: tf.Tensor, window: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    """Decode a crop of fields of optical flow; uint8, of shape `inputs.flow_shape`.

    Resizing does not scale the values: they stay in pixels of the stored frame.
    """
    top, left, height, width = tf.unstack(window)

    def field(jpeg: tf.Tensor) -> tf.Tensor:
        # The image holds x motion above y motion.
        image = tf.io.decode_jpeg(jpeg, channels=1, dct_method="INTEGER_ACCURATE")
        x_and_y = tf.reshape(image, (2, -1, tf.shape(image)[1]))
        cut = x_and_y[:, top : top + height, left : left + width]
        return tf.transpose(cut, (1, 2, 0))

    cuts = tf.map_fn(field, jpegs, fn_output_signature=tf.TensorSpec((None, None, 2), tf.uint8))
    channels = tf.reshape(tf.transpose(cuts, (1, 2, 0, 3)), (height, width, 2 * inputs.flow_fields))
    return resize(tf.ensure_shape(channels, (None, None, 2 * inputs.flow_fields)), inputs.frame_pixels)


def decode_frame(jpeg: tf.Tensor, window: tf.Tensor, frame_pixels: int) -> tf.Tensor:
    """Decode a crop of a frame and resize it to `frame_pixels`; uint8 `[frame_pixels, frame_pixels, 3]`."""
    crop = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")
    return resize(crop, frame_pixels)


def resize(crop: tf.Tensor, pixels: int) -> tf.Tensor:
    """Resize a square crop, uint8 `[side, side, channels]`, by area to a side of `pixels`."""
    shape = (pixels, pixels)
    fitting = tf.cond(
        tf.shape(crop)[0] == pixels,
        lambda: crop,
        lambda: tf.cast(tf.round(tf.image.resize(crop, shape, method="area")), tf.uint8),
    )
    return tf.ensure_shape(fitting, (*shape, crop.shape[-1]))


def _neighbours(middle: tf.Tensor, count: int) -> tf.Tensor:
    """Return `count` consecutive numbers around each, `[..., count]`; an even count has one more before than after."""
    return middle[..., None] - count // 2 + tf.range(count, dtype=middle.dtype)
