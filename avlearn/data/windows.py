"""Equally spaced windows of sound from every clip, for sound classification (Look, Listen and Learn 3.4)."""

import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from jaxtyping import Float32

from avlearn.data import annotations, augment, built_dataset, cut, graph, pipeline, requirements
from avlearn.data.records import Records
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec


def starts(clip_columns, window_columns: int, count: int):
    """First columns of equally spaced windows of a log-spectrogram, from its first column to its last, `[count]`.

    Fractions of a column are dropped. A single window is the middle one. Windows overlap where the clip is shorter than
    all of them together (ESC-50: 10 windows of 1 s in 5 s; DCASE 2013: 60 in 30 s).

    Args:
      clip_columns: columns that the clip has, an integer or a tensor.
      window_columns: columns of a window.
      count: windows, at least 1.
    """
    spare = clip_columns - window_columns
    return spare // 2 + np.zeros(1, np.int64) if count == 1 else np.arange(count) * spare // (count - 1)


def window_batches(
    split: built_dataset.Split, inputs: InputSpec, sampling: Sampling, *, count: int, batch_size: int
) -> Iterator[tuple[Float32[np.ndarray, "batch columns bins"], dict[str, np.ndarray]]]:
    """One pass over a split, clip by clip, `count` windows each.

    Args:
      split: what to cover.
      inputs: what the network eats.
      sampling: of it, the scaling of the log-spectrogram and the threads are used.
      count: windows of a clip.
      batch_size: windows of a batch; the last one is padded with zeros.

    Yields:
      Sounds, and for the real ones: clip (its number in the split), clip_id and labels `[windows, classes]`.

    Raises:
      ValueError: the split does not fit `inputs`, no window is asked for, or (while reading) a record is damaged or
        shorter than a window.
    """
    requirements.sound(split, inputs)
    if count < 1:
        raise ValueError(
            f"{count} windows of a clip; at least 1 is needed (--config.evaluation.sound_classification.windows)"
        )
    features = {"clip_id": cut.FEATURES["clip_id"], "labels": annotations.FEATURES["labels"]}
    records = split.records(features, ["log_spectrogram"])
    cut_one = functools.partial(_cut, records=records, inputs=inputs, num_classes=len(split.class_ids), count=count)
    dataset = (
        tf.data.Dataset.range(len(split))
        .map(graph.in_graph(cut_one), num_parallel_calls=pipeline.threads_of(sampling))
        .unbatch()
        .batch(batch_size)
        .prefetch(2)
    )
    for stored, rows in pipeline.arrays(dataset, split, sampling):
        sounds = augment.as_heard(stored, sampling.spectrogram_scaling)["log_spectrogram"]
        missing = batch_size - len(sounds)
        rows["clip_id"] = np.array([name.decode() for name in rows["clip_id"]])
        yield np.pad(sounds, [(0, missing), (0, 0), (0, 0)]), rows


def _cut(
    clip: tf.Tensor, *, records: Records, inputs: InputSpec, num_classes: int, count: int
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """All windows of a clip as they are stored, and a row of annotations for each."""
    opened = records(clip[None])
    columns, clip_id = cut.columns_of(opened)[0], opened["clip_id"][0]
    complaint = ["a clip is shorter than a window of", inputs.columns, "columns:", clip_id, columns]
    with tf.control_dependencies([tf.debugging.Assert(columns >= inputs.columns, complaint)]):
        first = tf.ensure_shape(starts(columns, inputs.columns, count), (count,))
    places = opened["log_spectrogram"].cut(first[None] * cut.COLUMN_BYTES, inputs.columns * cut.COLUMN_BYTES)
    cuts = cut.pool(cut.columns(records, places[0], inputs.columns), inputs.pool)
    rows = {"clip": clip, "clip_id": clip_id, "labels": annotations.classes(opened, num_classes)[0]}
    return {"log_spectrogram": cuts}, {name: tf.repeat(value[None], count, axis=0) for name, value in rows.items()}
