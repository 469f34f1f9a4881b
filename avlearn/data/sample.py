"""Draws what is seen and which sound is heard of a clip: one random draw decides all of it, so that it fits together.

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

GRID_MS = 40  # sound is cut at multiples of it from a frame (Objects that Sound, section 3.3)
DRAW_STREAM = 1  # keeps these random numbers apart from those of the order of clips
ALIGNED_MS = np.zeros(1, np.int64)  # offsets of a sound that is centred on its frames
NEGATIVES = ("on_grid", "off_grid")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How pairs are drawn and changed; the fields are keys of `config.data`.

    Attributes:
      pairing: `avc` (half positives, half negatives), or all aligned: `all_pairs` (every pair of a batch is scored),
        `contrast` (the loss sets each clip of a batch against all others) or `labelled` (each clip is classified); or
        `shifted`: each moment with its own sound, and with that of another moment of its clip (Owens and Efros 2018,
        section 3).
      negatives: `on_grid`, the sound of a negative lies on the grid of frame times as that of a positive does (Objects
        that Sound, section 3.3), or `off_grid`, at any column: the unprotected draw, whose shortcut can be studied.
      misalignment_seconds: sound up to this far from the frame, positives and negatives alike.
      shift_seconds: of `shifted`, the least and the greatest distance of the sound from the frames.
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
        """How far from the frames the sound may be drawn: multiples of 0.04 s, ascending."""
        if self.pairing == "shifted":
            return self.shifts_ms
        most = round(1000 * self.misalignment_seconds) // GRID_MS
        return GRID_MS * np.arange(-most, most + 1)

    @property
    def shifts_ms(self) -> Int64[np.ndarray, " offsets"]:
        """The same for `shifted`: to either side, and never 0."""
        least, greatest = (round(1000 * seconds) for seconds in self.shift_seconds)
        later = GRID_MS * np.arange(-(-least // GRID_MS), greatest // GRID_MS + 1)
        return np.concatenate([-later[::-1], later])

    def __post_init__(self):
        named = {
            "pairing": pairs.TRAINING_PAIRINGS,
            "negatives": NEGATIVES,
            "spectrogram_scaling": tuple(augment.SCALINGS),
        }
        for key, allowed in named.items():
            one_of(getattr(self, key), allowed, f"data.{key}")
        least = {"misalignment_seconds": 0, "brightness": 0, "saturation": 0, "samples_per_clip": 1, "threads": 0}
        for key, bound in least.items():
            if getattr(self, key) < bound:
                raise ValueError(f"{key}={getattr(self, key)} is out of range; --config.data.{key} is {bound} or more")
        self._check_shift()
        if not 0 <= self.volume < 1:
            raise ValueError(f"volume={self.volume} is out of range; --config.data.volume is at least 0 and below 1")

    def _check_shift(self) -> None:
        least, greatest = self.shift_seconds
        if not GRID_MS / 1000 <= least <= greatest:
            raise ValueError(
                f"shift_seconds={self.shift_seconds} is out of range; --config.data.shift_seconds is a least and a "
                f"greatest distance, {GRID_MS / 1000} or more"
            )
        if self.pairing == "shifted" and self.misalignment_seconds > 0:
            raise ValueError(
                f"misalignment_seconds={self.misalignment_seconds} would shift what pairing='shifted' calls aligned; "
                "use --config.data.misalignment_seconds=0"
            )


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


def choose(
    records: dict, draws: tf.Tensor, negative: tf.Tensor, inputs: InputSpec, sampling: Sampling
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Decides what each draw sees and hears of some clips.

    Args:
      records: with `cut.FEATURES` and `cut.large`.
      draws: uniform numbers, `[clips, draws, len(Draw)]`.
      negative: whether the clips' pairs are negatives: their sound will meet another frame; `[clips]`.
      inputs: what the network eats.
      sampling: `pairing`, `negatives`, `misalignment_seconds` and `shift_seconds` are used.

    Returns:
      What `cut.seen` and `cut.heard` return, `[clips, draws, ...]`.
    """
    here = moments_at(draws[..., Draw.MOMENT], records, inputs, sampling.offsets_ms)
    sound_ms = here.sound_ms
    if sampling.pairing == "shifted":
        sound_ms = tf.where(negative[:, None], here.sound_ms, here.seen_ms)
    start = cut.start_column(sound_ms, inputs.columns, inputs.front_end)
    if sampling.negatives == "off_grid":
        start = tf.where(negative[:, None], any_column(draws[..., Draw.ANY_COLUMN], records, inputs), start)
    return cut.seen(records, here.frame, inputs), cut.heard(records, start, sound_ms, inputs)


class Moment(NamedTuple):
    """Where pairs are cut, `[clips, draws]`.

    Attributes:
      frame: number of the frame in the middle of what is seen; of an even number of frames, the one after the middle.
      frame_ms: its time in the clip.
      seen_ms: time in the clip that what is seen is centred on.
      sound_ms: time in the clip that the sound is centred on.
    """

    frame: tf.Tensor
    frame_ms: tf.Tensor
    seen_ms: tf.Tensor
    sound_ms: tf.Tensor


def moments_at(draws: tf.Tensor, records: dict, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]) -> Moment:
    """Draws what is seen and what is heard of each clip: uniform over its `moments`.

    Args:
      draws: uniform in [0, 1), `[clips, draws]`; 0.5 is the middle.
      records: as for `moments`.
      inputs: as for `moments`.
      offsets_ms: as for `moments`.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: a clip is too short for one cut.
    """
    fitting = _fitting(records, inputs, offsets_ms)
    return fitting.moments(_pick(draws, fitting.total[:, None]))


def moments(records: dict, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]) -> Moment:
    """All frames and offsets that fit into a clip, by frame, as a `Moment` of `[1, moments]`.

    Args:
      records: of one clip, with `cut.FEATURES` and `cut.large`.
      inputs: how much is seen and heard.
      offsets_ms: of the sound's centre from that of the frames, ascending.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: the clip is too short for one cut.
    """
    fitting = _fitting(records, inputs, offsets_ms)
    return fitting.moments(tf.range(fitting.total[0])[None])


class _Fitting(NamedTuple):
    """Of each frame the offsets that fit, which are neighbours: not listed, since a clip of 10 s has ten thousand.

    Attributes:
      times_ms, seen_ms: of each frame and what is seen about it, as in `Moment`; `[clips, frames]`, as the next two.
      up_to: how many fit of the frames before it, and with its own.
      shift: from the number of a moment, counted over all frames, to the place of its offset.
      total: of all frames, `[clips]`.
      offsets_ms: all, `[offsets]`.
    """

    times_ms: tf.Tensor
    seen_ms: tf.Tensor
    up_to: tf.Tensor
    shift: tf.Tensor
    total: tf.Tensor
    offsets_ms: tf.Tensor

    def moments(self, numbers: tf.Tensor) -> Moment:
        """Those of some numbers from 0 to `total - 1`, `[clips, n]`."""
        frame = tf.searchsorted(self.up_to, numbers, side="right", out_type=tf.int64)
        frame_ms, seen_ms, shift = (
            tf.gather(values, frame, batch_dims=1) for values in (self.times_ms, self.seen_ms, self.shift)
        )
        return Moment(frame, frame_ms, seen_ms, seen_ms + tf.gather(self.offsets_ms, numbers + shift))


def _fitting(records: dict, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]) -> _Fitting:
    times_ms, seen_ms, whole = middles(records, inputs)
    earliest_ms, latest_ms = cut.sound_span(records, inputs)
    latest_ms = latest_ms[:, None]
    offsets = tf.constant(offsets_ms, tf.int64)
    first = _place(offsets, earliest_ms - seen_ms, "left")
    count = tf.maximum(_place(offsets, latest_ms - seen_ms, "right") - first, 0)
    if 0 not in offsets_ms:  # the frames' own sound is not among those, and half of the pairs hear it: it has to fit
        whole &= (earliest_ms <= seen_ms) & (seen_ms <= latest_ms)
    count *= tf.cast(whole, tf.int64)
    up_to, total = tf.cumsum(count, axis=1), tf.reduce_sum(count, axis=1)
    short = tf.argmin(total)  # of several, one
    held = (records["frame_times_ms"].row_lengths()[short], cut.columns_of(records)[short])
    complaint = ["no cut fits into the clip", records["clip_id"][short], "of (frames, columns)", *held, wanted(inputs)]
    with tf.control_dependencies([tf.debugging.Assert(total[short] > 0, complaint)]):
        return _Fitting(times_ms, seen_ms, up_to, first - (up_to - count), tf.identity(total), offsets)


def _place(ascending: tf.Tensor, values: tf.Tensor, side: str) -> tf.Tensor:
    """Where values of any shape would be put in among those of a vector."""
    flat = tf.searchsorted(ascending, tf.reshape(values, (-1,)), side=side, out_type=tf.int64)
    return tf.reshape(flat, tf.shape(values))


def wanted(inputs: InputSpec) -> str:
    """What one cut takes, and how to get clips that have it, for the message about one that does not."""
    flow = f", {inputs.flow_fields} fields of flow" if inputs.flow_fields else ""
    waveform = f", {inputs.waveform_samples} samples" if inputs.waveform_samples else ""
    taken = f"{inputs.frames} frames{flow}, {inputs.columns} columns{waveform}, all about one moment"
    return f"; the network takes {taken}. Build clips that are long enough, with the builder's option min_seconds"


def middles(records: dict, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Times of each clip's frames, and of what is seen about each: `[clips, frames]`, as many as the longest clip has.

    Returns:
      The frames' times; the centres' times, ms; and whether so many frames and flow fields lie in the clip there.
    """
    lengths = records["frame_times_ms"].row_lengths()
    times = records["frame_times_ms"].to_tensor()
    first, fields_before = inputs.frames // 2, inputs.flow_fields // 2
    # The last field leads to one frame more; without fields this is the frame itself.
    last = max(inputs.frames - first - 1, inputs.flow_fields - fields_before)
    before = max(first, fields_before)
    numbers = tf.range(tf.shape(times, tf.int64)[1])
    whole = (numbers >= before) & (numbers < lengths[:, None] - last)
    ends = (numbers - first, numbers - first + inputs.frames - 1)
    most = tf.maximum(tf.size(numbers, tf.int64) - 1, 0)
    return times, sum(tf.gather(times, tf.clip_by_value(end, 0, most), axis=1) for end in ends) // 2, whole


def any_column(draws: tf.Tensor, records: dict, inputs: InputSpec) -> tf.Tensor:
    """First columns of cuts from anywhere in each clip, on the grid or not, `[clips, draws]`."""
    return _pick(draws, (cut.columns_of(records) - inputs.columns + 1)[:, None])


def crop_window(jpeg: tf.Tensor, draw: tf.Tensor, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """As `crop_windows`, of one draw."""
    windows, size = crop_windows(jpeg, draw[None], inputs)
    return windows[0], size


def crop_windows(jpeg: tf.Tensor, draws: tf.Tensor, inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Square crops of `crop_fraction` of the shorter side.

    Args:
      jpeg: an encoded frame; all of a record are of one size.
      draws: uniform numbers, `[draws, len(Draw)]`.
      inputs: its `crop_fraction` is used.

    Returns:
      (top, left, height, width) of each crop, and (height, width) of the frame, pixels, int32.
    """
    size = tf.image.extract_jpeg_shape(jpeg)[:2]
    side = tf.cast(tf.round(inputs.crop_fraction * tf.cast(tf.reduce_min(size), tf.float64)), tf.int32)
    corners = _pick(draws[:, Draw.TOP : Draw.LEFT + 1], size - side + 1)
    return tf.concat([corners, tf.fill(tf.shape(corners), side)], axis=1), size


def _pick(draw: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Integers below `count` from uniform numbers."""
    return tf.cast(draw * tf.cast(count, tf.float64), count.dtype)
