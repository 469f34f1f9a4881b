"""Every moment of a clip, each frame with its audio, for animations of a network's heat map (OtS figure 7)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import Float32, Int64, UInt8

from avlearn.data import augment, built_dataset, cut, graph, requirements, sample
from avlearn.data.sample import Sampling
from avlearn.types import Batch, InputSpec


@dataclasses.dataclass(frozen=True)
class MomentSequence:
    """All moments of a clip, at the resolution of the record.

    A moment is a frame with the audio centred on it, which must fit into the clip.

    Attributes:
      times_ms: times of the moments from the start of the clip, ms.
      frames_per_second: rate of the frames, 1 / s.
      frames: centre crops.
      log_spectrogram: natural log of power, from the first moment to the end of the last frame.
    """

    times_ms: Int64[np.ndarray, " moments"]
    frames_per_second: float
    frames: UInt8[np.ndarray, "moments side side 3"]
    log_spectrogram: Float32[np.ndarray, "columns bins"]


def load_moments(split: built_dataset.Split, inputs: InputSpec, item: int) -> MomentSequence:
    """Return all moments of a clip, for display and playback.

    Raises:
      ValueError: the split does not fit `inputs`, or the clip is too short.
    """
    requirements.check_split(split, inputs)
    with split.readable_errors():
        clip = _Clip(split, inputs, item)
        every = sample.all_moments(clip.record, inputs, sample.ALIGNED_MS)
        times_ms = every.frame_ms[0].numpy()
        frames = clip.crops(every.frame)
        end_ms = int(times_ms[-1]) + round(1000 / split.frames_per_second)
        first, end = (cut.start_column(time, 0, inputs.front_end) for time in (int(times_ms[0]), end_ms))
        ln_power = clip.columns(first, min(end, int(cut.num_columns(clip.record)[0])))
    return MomentSequence(times_ms, split.frames_per_second, frames, ln_power)


def batches(
    split: built_dataset.Split, inputs: InputSpec, sampling: Sampling, *, items: Sequence[int], batch_size: int
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """Yield all moments of clips, clip by clip and in order of time, cut as in evaluation.

    Args:
      split: split of the clips.
      inputs: inputs of the network.
      sampling: the scaling of the log-spectrogram is used.
      items: numbers of the clips.
      batch_size: rows of a batch; the last batch of each clip is padded with zeros of weight 0.

    Yields:
      A batch, and for its real rows: image_item, corresponds, and time_ms from the start of the clip.

    Raises:
      ValueError: the split does not fit `inputs`, or a clip is too short.
    """
    requirements.check_split(split, inputs)
    for item in items:
        with split.readable_errors():
            clip = _Clip(split, inputs, item)
            every = sample.all_moments(clip.record, inputs, sample.ALIGNED_MS)
        for begin in range(0, len(every.frame[0]), batch_size):
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
    """An open clip."""

    def __init__(self, split: built_dataset.Split, inputs: InputSpec, item: int):
        self._records, self._inputs = split.records(cut.FEATURES, cut.large_values(inputs)), inputs
        self.record = self._records(tf.constant([item], tf.int64))

    def crops(self, frames: tf.Tensor) -> UInt8[np.ndarray, "moments side side 3"]:
        """Decode centre crops of frames `[1, moments]` at the resolution of the record."""
        jpegs = self._records.strings(self.record["frames"].pick(frames))[0]
        window = _centre(jpegs[0], self._inputs)
        return np.stack([cut.decode_frame(jpeg, window, int(window[2])).numpy() for jpeg in jpegs])

    def columns(self, first: int, end: int) -> Float32[np.ndarray, "columns bins"]:
        """Read the natural log of power of the columns from `first` to before `end`."""
        count = end - first
        begin = tf.constant([[first * cut.COLUMN_BYTES]], tf.int64)
        locations = self.record["log_spectrogram"].cut(begin, count * cut.COLUMN_BYTES)
        columns = cut.read_columns(self._records, locations[0], count, self.record["clip_id"])
        return columns[0].numpy().astype(np.float32)

    def batch(self, here: sample.Moment, scaling: str) -> dict[str, np.ndarray]:
        """Return the fields of a `Batch` of moments, cut as in evaluation."""
        inputs, count = self._inputs, len(here.frame[0])
        starts = cut.start_column(here.audio_ms, inputs.columns, inputs.front_end)
        locations = cut.locate_audio(self.record, starts, here.audio_ms, inputs)
        audio = cut.read_audio(self._records, {name: each[0] for name, each in locations.items()}, inputs)
        audio = {name: values.numpy() for name, values in audio.items()}
        locations = cut.locate_images(self.record, here.frame, inputs)
        encoded = {name: self._records.strings(each)[0] for name, each in locations.items()}
        window = _centre(encoded["frames"][0, 0], inputs)
        images = [
            cut.decode_images({name: jpegs[row] for name, jpegs in encoded.items()}, window, inputs)
            for row in range(count)
        ]
        return {
            **{name: np.stack([each[name] for each in images]) for name in images[0]},
            **augment.scale_audio(audio, scaling),
            "corresponds": np.ones(count, bool),
            "video": np.full(count, graph.fingerprint(self.record["video_id"])[0].numpy()),
            "weight": np.ones(count, np.float32),
        }


def _centre(jpeg: tf.Tensor, inputs: InputSpec) -> tf.Tensor:
    return sample.crop_window(jpeg, tf.constant(sample.MIDDLE, tf.float64), inputs)[0]
