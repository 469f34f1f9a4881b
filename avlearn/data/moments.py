"""Every moment of a clip, each frame with its sound, for a film of a network's heat map (OtS figure 7)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import Float32, Int64, UInt8

from avlearn.data import augment, check, cut, read, sample
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
    check.fits(split, inputs)
    with split.explained():
        record = _record(split, inputs, item)
        numbers = sample.moments(record, inputs, sample.ALIGNED_MS).frame
        times_ms = tf.gather(record["frame_times_ms"], numbers).numpy()
        frames = _crops(record, numbers, inputs)
        end_ms = int(times_ms[-1]) + round(1000 / split.frames_per_second)
        first, end = (cut.start_column(time, 0, inputs.front_end) for time in (int(times_ms[0]), end_ms))
        whole = dataclasses.replace(inputs, columns=min(end, int(cut.columns_of(record))) - first)
        sound = cut.columns(record, tf.constant(first, tf.int64), whole).numpy()
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
    check.fits(split, inputs)
    for item in items:
        with split.explained():
            record = _record(split, inputs, item)
            every = sample.moments(record, inputs, sample.ALIGNED_MS)
        for begin in range(0, len(every.frame), batch_size):
            here = sample.Moment(*(values[begin : begin + batch_size] for values in every))
            batch = _batch(record, here, inputs, sampling)
            times_ms = tf.gather(record["frame_times_ms"], here.frame).numpy()
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


def _record(split: read.Split, inputs: InputSpec, item: int) -> dict:
    return split.record_at(cut.FEATURES, cut.large(inputs))(tf.constant(item, tf.int64))


def _crops(record: dict, numbers: tf.Tensor, inputs: InputSpec) -> UInt8[np.ndarray, "moments side side 3"]:
    """Centre crops of frames at the record's resolution."""
    window = _centre(record["frames"][numbers[0]], inputs)
    return np.stack([cut.frame(record["frames"][number], window, int(window[2])).numpy() for number in numbers])


def _centre(jpeg: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    return sample.crop_window(jpeg, tf.constant(sample.MIDDLE, tf.float64), inputs)[0]


def _batch(record: dict, here: sample.Moment, inputs: InputSpec, sampling: Sampling) -> dict[str, np.ndarray]:
    starts = cut.start_column(here.sound_ms, inputs.columns, inputs.front_end)
    window = _centre(record["frames"][here.frame[0]], inputs)
    cuts = [
        {**cut.view(record, frame, window, inputs), **cut.sound(record, start, sound_ms, inputs)}
        for frame, start, sound_ms in zip(here.frame, starts, here.sound_ms, strict=True)
    ]
    stacked = {name: tf.stack([each[name] for each in cuts]) for name in cuts[0]}
    sounds = augment.SCALINGS[sampling.spectrogram_scaling](stacked.pop("sound"))
    return {
        **{name: values.numpy() for name, values in stacked.items()},
        "log_spectrogram": sounds.numpy(),
        "corresponds": np.ones(len(cuts), bool),
        "video": np.full(len(cuts), read.fingerprint(record["video_id"]).numpy()),
        "weight": np.ones(len(cuts), np.float32),
    }
