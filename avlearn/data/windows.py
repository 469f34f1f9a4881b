"""Equally spaced windows of audio from every clip, for sound classification (Look, Listen and Learn 3.4)."""

import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from jaxtyping import Float32

from avlearn.data import annotations, augment, built_dataset, cut, graph, iteration, requirements
from avlearn.data.records import Records
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec


def window_starts(clip_columns, window_columns: int, count: int):
    """Return the first columns of equally spaced windows that span a log-spectrogram, `[count]`.

    Fractions of a column are dropped. A single window is in the middle. The windows overlap if together they are longer
    than the clip (ESC-50: 10 windows of 1 s in 5 s; DCASE 2013: 60 in 30 s).

    Args:
      clip_columns: number of columns of the clip, an integer or a tensor.
      window_columns: number of columns of a window.
      count: number of windows, at least 1.
    """
    spare = clip_columns - window_columns
    return spare // 2 + np.zeros(1, np.int64) if count == 1 else np.arange(count) * spare // (count - 1)


def window_batches(
    split: built_dataset.Split, inputs: InputSpec, sampling: Sampling, *, count: int, batch_size: int
) -> Iterator[tuple[Float32[np.ndarray, "batch columns bins"], dict[str, np.ndarray]]]:
    """Yield `count` windows of every clip of a split, clip by clip.

    Args:
      split: split to read.
      inputs: inputs of the network.
      sampling: the scaling of the log-spectrogram and the threads are used.
      count: number of windows of a clip.
      batch_size: windows of a batch; the last batch is padded with zeros.

    Yields:
      Scaled log-spectrograms, and for the real ones: clip (number in the split), clip_id, labels `[windows, classes]`.

    Raises:
      ValueError: the split does not fit `inputs`, `count` is less than 1, or (during iteration) a record is damaged or
        shorter than a window.
    """
    requirements.check_spectrogram(split, inputs)
    if count < 1:
        raise ValueError(
            f"count={count} is out of range; --config.evaluation.sound_classification.windows must be 1 or more"
        )
    features = {"clip_id": cut.FEATURES["clip_id"], "labels": annotations.FEATURES["labels"]}
    records = split.records(features, ["log_spectrogram"])
    cut_one = functools.partial(_cut, records=records, inputs=inputs, num_classes=len(split.class_ids), count=count)
    dataset = (
        tf.data.Dataset.range(len(split))
        .map(graph.without_autograph(cut_one), num_parallel_calls=iteration.num_threads(sampling))
        .unbatch()
        .batch(batch_size)
        .prefetch(2)
    )
    for stored, rows in iteration.numpy_elements(dataset, split, sampling):
        scaled = augment.scale_audio(stored, sampling.spectrogram_scaling)["log_spectrogram"]
        missing = batch_size - len(scaled)
        rows["clip_id"] = np.array([name.decode() for name in rows["clip_id"]])
        yield np.pad(scaled, [(0, missing), (0, 0), (0, 0)]), rows


def _cut(
    clip: tf.Tensor, *, records: Records, inputs: InputSpec, num_classes: int, count: int
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Read all windows of a clip as they are stored, and a row of annotations for each."""
    record = records(clip[None])
    columns, clip_id = cut.num_columns(record)[0], record["clip_id"][0]
    complaint = ["a clip is shorter than a window of", inputs.columns, "columns:", clip_id, columns]
    with tf.control_dependencies([tf.debugging.Assert(columns >= inputs.columns, complaint)]):
        first = tf.ensure_shape(window_starts(columns, inputs.columns, count), (count,))
    locations = record["log_spectrogram"].cut(first[None] * cut.COLUMN_BYTES, inputs.columns * cut.COLUMN_BYTES)
    cuts = cut.pool(cut.read_columns(records, locations[0], inputs.columns, record["clip_id"]), inputs.pool)
    rows = {"clip": clip, "clip_id": clip_id, "labels": annotations.multi_hot(record, num_classes)[0]}
    return {"log_spectrogram": cuts}, {name: tf.repeat(value[None], count, axis=0) for name, value in rows.items()}
