"""Every moment of a clip, each frame with its sound, for a film of a network's heat map (OtS figure 7)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import Float32, Int64, UInt8

from avlearn.data import augment, built_dataset, cut, graph, requirements, sample
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


def film(split: built_dataset.Split, inputs: InputSpec, item: int) -> Film:
    """All moments of a clip, for pictures and playable sound.

    Raises:
      ValueError: the split does not fit `inputs`, or the clip is too short for its sound.
    """
    requirements.fits(split, inputs)
    with split.explained():
        clip = _Clip(split, inputs, item)
        every = sample.moments(clip.opened, inputs, sample.ALIGNED_MS)
        times_ms = every.frame_ms[0].numpy()
        frames = clip.crops(every.frame)
        end_ms = int(times_ms[-1]) + round(1000 / split.frames_per_second)
        first, end = (cut.start_column(time, 0, inputs.front_end) for time in (int(times_ms[0]), end_ms))
        sound = clip.columns(first, min(end, int(cut.columns_of(clip.opened)[0])))
    return Film(times_ms, split.frames_per_second, frames, sound)


def batches(
    split: built_dataset.Split, inputs: InputSpec, sampling: Sampling, *, items: Sequence[int], batch_size: int
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
    requirements.fits(split, inputs)
    for item in items:
        with split.explained():
            clip = _Clip(split, inputs, item)
            every = sample.moments(clip.opened, inputs, sample.ALIGNED_MS)
        for begin in range(0, every.frame.shape[1], batch_size):
            here = sample.Moment(*(values[:, begin : begin + batch_size] for values in every))
            times_ms = here.frame_ms[0].numpy()
            missing = batch_size - len(times_ms)
            fields = clip.batch(here, sampling.spectrogram_scaling)
            rows = {
                "image_item": np.full(len(times_ms), item),
                "time_ms": times_ms,
                "corresponds": fields["corresponds"],
            }
            yield (
                Batch(**{name: np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)) for name, x in fields.items()}),
                rows,
            )


class _Clip:
    """A clip that is opened."""

    def __init__(self, split: built_dataset.Split, inputs: InputSpec, item: int):
        self._records, self._inputs = split.records(cut.FEATURES, cut.large(inputs)), inputs
        self.opened = self._records(tf.constant([item], tf.int64))

    def crops(self, frames: tf.Tensor) -> UInt8[np.ndarray, "moments side side 3"]:
        """Centre crops of frames `[1, moments]` at the record's resolution."""
        jpegs = self._records.strings(self.opened["frames"].pick(frames))[0]
        window = _centre(jpegs[0], self._inputs)
        return np.stack([cut.frame(jpeg, window, int(window[2])).numpy() for jpeg in jpegs])

    def columns(self, first: int, end: int) -> Float32[np.ndarray, "columns bins"]:
        """Natural log of power of the columns from one to before another."""
        count = end - first
        begin = tf.constant([[first * cut.COLUMN_BYTES]], tf.int64)
        places = self.opened["log_spectrogram"].cut(begin, count * cut.COLUMN_BYTES)
        return cut.columns(self._records, places[0], count)[0].numpy().astype(np.float32)

    def batch(self, here: sample.Moment, scaling: str) -> dict[str, np.ndarray]:
        """Fields of a `Batch` of some moments, as evaluation cuts them."""
        inputs, count = self._inputs, here.frame.shape[1]
        starts = cut.start_column(here.sound_ms, inputs.columns, inputs.front_end)
        places = cut.heard(self.opened, starts, here.sound_ms, inputs)
        heard = cut.sound(self._records, {name: of[0] for name, of in places.items()}, inputs)
        heard = {name: values.numpy() for name, values in heard.items()}
        seen = {name: self._records.strings(of)[0] for name, of in cut.seen(self.opened, here.frame, inputs).items()}
        window = _centre(seen["frames"][0, 0], inputs)
        shown = [cut.view({name: of[row] for name, of in seen.items()}, window, inputs) for row in range(count)]
        return {
            **{name: np.stack([each[name] for each in shown]) for name in shown[0]},
            **augment.as_heard(heard, scaling),
            "corresponds": np.ones(count, bool),
            "video": np.full(count, graph.fingerprint(self.opened["video_id"])[0].numpy()),
            "weight": np.ones(count, np.float32),
        }


def _centre(jpeg: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    return sample.crop_window(jpeg, tf.constant(sample.MIDDLE, tf.float64), inputs)[0]
