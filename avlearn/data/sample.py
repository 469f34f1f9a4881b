"""Draws the moment of a clip at which images and audio are cut; one random draw determines both, so that they match.

The functions on tensors run in TensorFlow's graph.
"""

import dataclasses
import enum
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from jaxtyping import Float64, Int64

from avlearn.config import one_of
from avlearn.data import augment, cut, pairs
from avlearn.types import InputSpec

GRID_MS = 40  # the distance of audio from a frame is a multiple of it (Objects that Sound, section 3.3)
DRAW_STREAM = 1  # random stream; `avlearn.data.order` uses another
ALIGNED_MS = np.zeros(1, np.int64)  # the only offset of audio that is centred on its frames
NEGATIVES = ("on_grid", "off_grid")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How pairs are drawn and augmented; the fields are keys of `config.data`.

    Attributes:
      pairing: `avc`: half positives, half negatives. `all_pairs`, `contrast`, `labelled`: all aligned, for losses that
        score every pair of a batch, contrast each clip with all others, or classify each clip. `shifted`: each moment
        with its own audio and with the audio of another moment of its clip (Owens and Efros 2018, section 3).
      negatives: `on_grid`: the audio of negatives is cut on the grid of frame times, like that of positives (Objects
        that Sound, section 3.3). `off_grid`: it is cut at any column, which leaves a shortcut that can be studied.
      misalignment_seconds: largest distance of the audio from the frame, of positives and negatives alike.
      shift_seconds: smallest and largest distance of the audio from the frames, for `shifted`.
      spectrogram_scaling: a name in `avlearn.data.augment.SCALINGS`.
      flip: whether half of the pairs are flipped left to right.
      brightness: added to each channel, uniform within +- this fraction of the full range.
      saturation: factor on the distance from grey, uniform in 1 +- this.
      volume: factor on the amplitude, uniform in 1 +- this, one for each cut.
      samples_per_clip: number of draws from each clip that is read, one for each of as many consecutive batches.
      threads: threads of the input pipeline; 0: one per core.

    Raises:
      ValueError: a value is not allowed.
    """

    pairing: str = "avc"
    negatives: str = "on_grid"
    misalignment_seconds: float = 1.0
    shift_seconds: tuple[float, float] = (2.0, 5.8)
    spectrogram_scaling: str = "ln_12"
    flip: bool = True
    brightness: float = 0.2
    saturation: float = 0.2
    volume: float = 0.1
    samples_per_clip: int = 1
    threads: int = 0

    @property
    def offsets_ms(self) -> Int64[np.ndarray, " offsets"]:
        """Allowed offsets of the audio from the frames, in ms: multiples of 40, ascending."""
        if self.pairing == "shifted":
            return self.shifts_ms
        most = round(1000 * self.misalignment_seconds) // GRID_MS
        return GRID_MS * np.arange(-most, most + 1)

    @property
    def shifts_ms(self) -> Int64[np.ndarray, " offsets"]:
        """Allowed offsets for `shifted`, in ms: before and after the frames, never 0."""
        smallest, largest = (round(1000 * seconds) for seconds in self.shift_seconds)
        later = GRID_MS * np.arange(-(-smallest // GRID_MS), largest // GRID_MS + 1)
        return np.concatenate([-later[::-1], later])

    def __post_init__(self):
        named = {
            "pairing": pairs.TRAINING_PAIRINGS,
            "negatives": NEGATIVES,
            "spectrogram_scaling": tuple(augment.SCALINGS),
        }
        for key, allowed in named.items():
            one_of(getattr(self, key), allowed, f"data.{key}")
        minimums = {"misalignment_seconds": 0, "brightness": 0, "saturation": 0, "samples_per_clip": 1, "threads": 0}
        for key, bound in minimums.items():
            if getattr(self, key) < bound:
                raise ValueError(
                    f"{key}={getattr(self, key)} is out of range; --config.data.{key} must be {bound} or more"
                )
        self._check_shift()
        if not 0 <= self.volume < 1:
            raise ValueError(
                f"volume={self.volume} is out of range; --config.data.volume must be at least 0 and below 1"
            )

    def _check_shift(self) -> None:
        smallest, largest = self.shift_seconds
        if not GRID_MS / 1000 <= smallest <= largest:
            raise ValueError(
                f"shift_seconds={self.shift_seconds} is out of range; --config.data.shift_seconds must be the "
                f"smallest and the largest distance, both {GRID_MS / 1000} or more"
            )
        if self.pairing == "shifted" and self.misalignment_seconds > 0:
            raise ValueError(
                f"misalignment_seconds={self.misalignment_seconds} would shift what pairing='shifted' calls aligned; "
                "use --config.data.misalignment_seconds=0"
            )


class Draw(enum.IntEnum):
    """The index of each random number of a pair, named after its use."""

    MOMENT = 0
    ANY_COLUMN = 1
    TOP = 2
    LEFT = 3
    FLIP = 4
    BRIGHTNESS = 5
    SATURATION = 6
    VOLUME = 7
    PARTNER = 8


# Evaluation's draw: the middle frame, its own audio, the centre crop.
MIDDLE = (0.5,) * len(Draw)


def draws(seed: int, worker: int, step: int, batch: int) -> Float64[np.ndarray, "batch draws"]:
    """Draw uniform numbers in [0, 1) for each pair of a worker's batch, a pure function of the arguments."""
    return np.random.default_rng((seed, DRAW_STREAM, worker, step)).random((batch, len(Draw)))


def choose_inputs(
    records: dict, draws: tf.Tensor, negative: tf.Tensor, inputs: InputSpec, sampling: Sampling
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Locate the image and audio inputs of each draw from clips.

    Args:
      records: records read with `cut.FEATURES` and `cut.large_values`.
      draws: uniform numbers, `[clips, draws, len(Draw)]`.
      negative: whether the audio of each clip goes to a negative pair, `[clips]`.
      inputs: inputs of the network.
      sampling: `pairing`, `negatives`, `misalignment_seconds` and `shift_seconds` are used.

    Returns:
      The results of `cut.locate_images` and `cut.locate_audio`, `[clips, draws, ...]`.
    """
    here = draw_moments(draws[..., Draw.MOMENT], records, inputs, sampling.offsets_ms)
    audio_ms = here.audio_ms
    if sampling.pairing == "shifted":
        audio_ms = tf.where(negative[:, None], here.audio_ms, here.images_ms)
    start = cut.start_column(audio_ms, inputs.columns, inputs.front_end)
    if sampling.negatives == "off_grid":
        start = tf.where(negative[:, None], random_columns(draws[..., Draw.ANY_COLUMN], records, inputs), start)
    return cut.locate_images(records, here.frame, inputs), cut.locate_audio(records, start, audio_ms, inputs)


class Moment(NamedTuple):
    """Moments at which pairs are cut, `[clips, draws]`; times are in ms from the start of the clip.

    Attributes:
      frame: number of the middle frame; if the number of frames is even, the one after the middle.
      frame_ms: time of that frame.
      images_ms: time on which the image inputs are centred.
      audio_ms: time on which the audio inputs are centred.
    """

    frame: tf.Tensor
    frame_ms: tf.Tensor
    images_ms: tf.Tensor
    audio_ms: tf.Tensor


def draw_moments(
    draws: tf.Tensor, records: dict, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]
) -> Moment:
    """Draw moments of each clip, uniformly from its `all_moments`.

    Args:
      draws: uniform numbers in [0, 1), `[clips, draws]`; 0.5 is the middle.
      records, inputs, offsets_ms: as for `all_moments`.

    Raises (when the graph runs):
      tf.errors.InvalidArgumentError: a clip is too short for a cut.
    """
    valid = _valid_moments(records, inputs, offsets_ms)
    return valid.select(_to_index(draws, valid.total[:, None]))


def all_moments(records: dict, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]) -> Moment:
    """Return all frames and offsets that fit into a clip, ordered by frame, as a `Moment` of `[1, moments]`.

    Args:
      records: records of one clip, read with `cut.FEATURES` and `cut.large_values`.
      inputs: inputs of the network.
      offsets_ms: offsets of the audio's centre from the centre of the image inputs, ascending.

    Raises (when the graph runs):
      tf.errors.InvalidArgumentError: the clip is too short for a cut.
    """
    valid = _valid_moments(records, inputs, offsets_ms)
    return valid.select(tf.range(valid.total[0])[None])


class _ValidMoments(NamedTuple):
    """The moments whose cuts fit into the clips, not listed one by one, since a clip of 10 s has ten thousand.

    The valid offsets of a frame are consecutive, so a range describes them.

    Attributes:
      times_ms, images_ms: times of each frame, see `Moment`; these and the next two are `[clips, frames]`.
      up_to: number of moments of all frames up to and including this one.
      shift: to be added to the number of a moment, counted over all frames, to get the index of its offset.
      total: number of moments of each clip, `[clips]`.
      offsets_ms: all offsets, `[offsets]`.
    """

    times_ms: tf.Tensor
    images_ms: tf.Tensor
    up_to: tf.Tensor
    shift: tf.Tensor
    total: tf.Tensor
    offsets_ms: tf.Tensor

    def select(self, numbers: tf.Tensor) -> Moment:
        """Return the moments with numbers from 0 to `total - 1`, `[clips, n]`."""
        frame = tf.searchsorted(self.up_to, numbers, side="right", out_type=tf.int64)
        frame_ms, images_ms, shift = (
            tf.gather(values, frame, batch_dims=1) for values in (self.times_ms, self.images_ms, self.shift)
        )
        return Moment(frame, frame_ms, images_ms, images_ms + tf.gather(self.offsets_ms, numbers + shift))


def _valid_moments(records: dict, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]) -> _ValidMoments:
    times_ms, images_ms, complete = image_centres(records, inputs)
    earliest_ms, latest_ms = cut.audio_span(records, inputs)
    latest_ms = latest_ms[:, None]
    offsets = tf.constant(offsets_ms, tf.int64)
    first = _insertion_index(offsets, earliest_ms - images_ms, "left")
    count = tf.maximum(_insertion_index(offsets, latest_ms - images_ms, "right") - first, 0)
    if 0 not in offsets_ms:  # half of the pairs take the frames' own audio, so that must fit too
        complete &= (earliest_ms <= images_ms) & (images_ms <= latest_ms)
    count *= tf.cast(complete, tf.int64)
    up_to, total = tf.cumsum(count, axis=1), tf.reduce_sum(count, axis=1)
    short = tf.argmin(total)  # the message names one clip
    held = (records["frame_times_ms"].row_lengths()[short], cut.num_columns(records)[short])
    complaint = [
        "no cut fits into the clip",
        records["clip_id"][short],
        "of (frames, columns)",
        *held,
        describe_inputs(inputs),
    ]
    with tf.control_dependencies([tf.debugging.Assert(total[short] > 0, complaint)]):
        return _ValidMoments(times_ms, images_ms, up_to, first - (up_to - count), tf.identity(total), offsets)


def _insertion_index(ascending: tf.Tensor, values: tf.Tensor, side: str) -> tf.Tensor:
    """Return where values of any shape would be inserted into an ascending vector, as `np.searchsorted` does."""
    flat = tf.searchsorted(ascending, tf.reshape(values, (-1,)), side=side, out_type=tf.int64)
    return tf.reshape(flat, tf.shape(values))


def describe_inputs(inputs: InputSpec) -> str:
    """Return the end of the message about a clip that is too short: the length that is needed, and how to build it."""
    flow = f", {inputs.flow_fields} fields of flow" if inputs.flow_fields else ""
    waveform = f", {inputs.waveform_samples} samples" if inputs.waveform_samples else ""
    taken = f"{inputs.frames} frames{flow}, {inputs.columns} columns{waveform}, all around one moment"
    return f"; the network takes {taken}. Build clips that are long enough, with the builder's option min_seconds"


def image_centres(records: dict, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the time on which the image inputs around each frame are centred.

    Returns:
      Times of the frames, ms; times of the centres, ms; and whether the clip has all frames and flow fields around the
      frame; each `[clips, frames]`, padded to the longest clip.
    """
    lengths = records["frame_times_ms"].row_lengths()
    times = records["frame_times_ms"].to_tensor()
    first, fields_before = inputs.frames // 2, inputs.flow_fields // 2
    # The last flow field leads to one more frame; without fields this is the frame itself.
    last = max(inputs.frames - first - 1, inputs.flow_fields - fields_before)
    before = max(first, fields_before)
    numbers = tf.range(tf.shape(times, tf.int64)[1])
    complete = (numbers >= before) & (numbers < lengths[:, None] - last)
    ends = (numbers - first, numbers - first + inputs.frames - 1)
    most = tf.maximum(tf.size(numbers, tf.int64) - 1, 0)
    begin_ms, end_ms = (tf.gather(times, tf.clip_by_value(end, 0, most), axis=1) for end in ends)
    return times, (begin_ms + end_ms) // 2, complete


def random_columns(draws: tf.Tensor, records: dict, inputs: InputSpec) -> tf.Tensor:
    """Return the first columns of cuts anywhere in each clip, regardless of the grid, `[clips, draws]`."""
    return _to_index(draws, (cut.num_columns(records) - inputs.columns + 1)[:, None])


def crop_window(jpeg: tf.Tensor, draw: tf.Tensor, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the crop of one draw; see `crop_windows`."""
    windows, size = crop_windows(jpeg, draw[None], inputs)
    return windows[0], size


def crop_windows(jpeg: tf.Tensor, draws: tf.Tensor, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Return square crops with a side of `crop_fraction` times the frame's shorter side.

    Args:
      jpeg: an encoded frame; all frames of a record have one size.
      draws: uniform numbers, `[draws, len(Draw)]`.
      inputs: `crop_fraction` is used.

    Returns:
      (top, left, height, width) of each crop, and (height, width) of the frame, pixels, int32.
    """
    size = tf.image.extract_jpeg_shape(jpeg)[:2]
    side = tf.cast(tf.round(inputs.crop_fraction * tf.cast(tf.reduce_min(size), tf.float64)), tf.int32)
    corners = _to_index(draws[:, Draw.TOP : Draw.LEFT + 1], size - side + 1)
    return tf.concat([corners, tf.fill(tf.shape(corners), side)], axis=1), size


def _to_index(draw: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Turn uniform numbers in [0, 1) into integers below `count`."""
    return tf.cast(draw * tf.cast(count, tf.float64), count.dtype)
