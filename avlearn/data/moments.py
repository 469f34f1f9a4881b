"""Every moment of a clip, each frame with its sound, for a film of a network's heat map (OtS figure 7)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import Float32, Int64, UInt8

from avlearn.data import augment, pipeline, read, sample
from avlearn.data.sample import Sampling
from avlearn.types import Batch, InputSpec


@dataclasses.dataclass(frozen=True)
class Film:
    """What evaluation sees and hears of a clip from its first moment to its last, at the record's resolution.

    A moment is a frame whose sound, centred on it, lies within the clip.

    Attributes:
      times_ms: of the moments, from the start of the clip.
      frames_per_second: of the frames.
      frames: their crops.
      log_spectrogram: from the first moment until the last frame has been shown, natural log of power.
    """

    times_ms: Int64[np.ndarray, " moments"]
    frames_per_second: float
    frames: UInt8[np.ndarray, "moments side side 3"]
    log_spectrogram: Float32[np.ndarray, "columns bins"]


def film(split: read.Split, inputs: InputSpec, item: int) -> Film:
    """All moments of a clip, for pictures and playable sound.

    Raises:
      ValueError: the split does not fit `inputs`, or the clip is too short for its sound.
    """
    pipeline.check_fits(split, inputs)
    with split.explained():
        record = _record(split, item)
        numbers, _ = sample.moments(record, inputs, misalignment_seconds=0.0)
        times_ms = tf.gather(record["frame_times_ms"], numbers).numpy()
        frames = _frames(record, numbers.numpy(), inputs, pixels=None)
        end_ms = int(times_ms[-1]) + round(1000 / split.frames_per_second)
        first, end = (sample.start_column(time, 0, inputs.front_end) for time in (int(times_ms[0]), end_ms))
        whole = dataclasses.replace(inputs, columns=min(end, int(sample.columns_of(record))) - first)
        sound = sample.cut_sound(record, tf.constant(first, tf.int64), whole).numpy()
    return Film(times_ms, split.frames_per_second, frames, sound)


def batches(
    split: read.Split, inputs: InputSpec, sampling: Sampling, *, items: Sequence[int], batch_size: int
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """All moments of some clips, as evaluation cuts them; clip by clip, in the order of time.

    Args:
      split: where the clips are.
      inputs: what the network eats.
      sampling: of it, the scaling of the log-spectrogram is used.
      items: numbers of the clips.
      batch_size: rows of a batch; the last one of each clip is padded with zeros at weight 0.

    Yields:
      A batch, and for its real rows: image_item, corresponds, and time_ms from the start of the clip.

    Raises:
      ValueError: the split does not fit `inputs`, or a clip is too short for its sound.
    """
    pipeline.check_fits(split, inputs)
    for item in items:
        with split.explained():
            record = _record(split, item)
            numbers, starts = sample.moments(record, inputs, misalignment_seconds=0.0)
        for begin in range(0, len(numbers), batch_size):
            here = slice(begin, begin + batch_size)
            batch = _batch(record, numbers[here].numpy(), starts[here], inputs, sampling)
            times_ms = tf.gather(record["frame_times_ms"], numbers[here]).numpy()
            rows = {
                "image_item": np.full(len(times_ms), item),
                "time_ms": times_ms,
                "corresponds": batch["corresponds"],
            }
            missing = batch_size - len(times_ms)
            yield (
                Batch(**{name: np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)) for name, x in batch.items()}),
                rows,
            )


def _record(split: read.Split, item: int) -> dict[str, tf.Tensor]:
    return tf.io.parse_single_example(split.reader()(tf.constant(item, tf.int64)), sample.FEATURES)


def _frames(
    record: dict[str, tf.Tensor], numbers: Int64[np.ndarray, " moments"], inputs: InputSpec, pixels: int | None
) -> UInt8[np.ndarray, "moments side side 3"]:
    """Centre crops of frames at this side; None: at the record's."""
    jpegs = [record["frames"][number] for number in numbers]
    window, _ = sample.crop_window(jpegs[0], tf.constant(sample.MIDDLE, tf.float64), inputs)
    side = int(window[2]) if pixels is None else pixels
    return np.stack([sample.cut_frame(jpeg, window, side).numpy() for jpeg in jpegs])


def _batch(
    record: dict[str, tf.Tensor],
    numbers: Int64[np.ndarray, " moments"],
    starts: tf.Tensor,
    inputs: InputSpec,
    sampling: Sampling,
) -> dict[str, np.ndarray]:
    sounds = tf.stack([augment.pool(sample.cut_sound(record, start, inputs), inputs.pool) for start in starts])
    return {
        "frames": _frames(record, numbers, inputs, inputs.frame_pixels),
        "log_spectrogram": augment.SCALINGS[sampling.spectrogram_scaling](sounds).numpy(),
        "corresponds": np.ones(len(numbers), bool),
        "video": np.full(len(numbers), read.fingerprint(record["video_id"]).numpy()),
        "weight": np.ones(len(numbers), np.float32),
    }
