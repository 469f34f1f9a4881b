"""Counts the contents of a built split, and reads single clips as stored, for people to look at."""

import collections
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from etils import epath
from jaxtyping import Bool, Float32, Int, Int64, UInt8

from avlearn.data import annotations, augment, built_dataset, contents, cut, graph, schema
from avlearn.data.records import Records
from avlearn.media.log_spectrogram import FRONT_ENDS

BATCH = 64  # clips between two reports of progress

LABELS = {"labels": annotations.FEATURES["labels"]}
TIMES = {"frame_times_ms": cut.FEATURES["frame_times_ms"]}
BOX_FEATURES = {name: feature for name, feature in annotations.FEATURES.items() if name.startswith("boxes/")}


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts over a split.

    Attributes:
      num_bytes: size of the shards.
      per_class: number of clips of each class, in label order.
      unlabelled: number of clips without a class.
      columns: number of clips by number of log-spectrogram columns.
      frames: number of clips by number of frames; empty if the dataset has no frames.
      boxes, sounding_boxes: number of boxes on all clips together.
      clips_with_boxes: number of clips with at least one box.
    """

    num_bytes: int
    per_class: Int64[np.ndarray, " classes"]
    unlabelled: int
    columns: collections.Counter
    frames: collections.Counter
    boxes: int
    sounding_boxes: int
    clips_with_boxes: int


@dataclasses.dataclass(frozen=True)
class StoredMoment:
    """A stored frame and its annotations.

    Attributes:
      time_ms: time in the clip.
      frame: frame as stored.
      flow: flow to the next frame, x above y, see `avlearn.media.optical_flow.to_images`; None if not stored.
      boxes, label, sounding: boxes whose nearest frame is this one.
    """

    time_ms: int
    frame: UInt8[np.ndarray, "height width 3"]
    flow: UInt8[np.ndarray, "flow_height width 1"] | None
    boxes: Float32[np.ndarray, "boxes 4"]
    label: Int64[np.ndarray, " boxes"]
    sounding: Bool[np.ndarray, " boxes"]


@dataclasses.dataclass(frozen=True)
class StoredClip:
    """A record, decoded.

    Attributes:
      clip_id: name of the clip.
      start_ms: start of the clip in its video.
      labels: classes that sound.
      log_spectrogram: natural log of power.
      waveform: full scale 1, at the split's `waveform_hz`; None if not stored.
      moments: first, middle and last frame; fewer if the clip has fewer frames, none if the dataset has none.
    """

    clip_id: str
    start_ms: int
    labels: tuple[int, ...]
    log_spectrogram: Float32[np.ndarray, "columns bins"]
    waveform: Float32[np.ndarray, " samples"] | None
    moments: tuple[StoredMoment, ...]


def count_split(split: built_dataset.Split, progress: Callable[[int], object]) -> Counts:
    """Count a split in one pass that reads every record in full and checks its checksum.

    Args:
      split: an open split.
      progress: called with the number of clips read since the last call.

    Raises:
      ValueError: a record is damaged.
    """
    per_class = np.zeros(len(split.class_ids), np.int64)
    unlabelled = boxes = sounding = with_boxes = 0
    columns, frames = collections.Counter(), collections.Counter()
    on_frames = {**TIMES, "boxes/sounding": BOX_FEATURES["boxes/sounding"]} if "frames" in split.features else {}
    records = split.full_records(LABELS | on_frames, ["log_spectrogram"])  # in full, to check every checksum
    to_counts = functools.partial(_to_counts, num_classes=len(split.class_ids))
    for batch in _batches(split, np.arange(len(split)), records, to_counts):
        per_class += batch["classes"].sum(axis=0)
        unlabelled += int((~batch["classes"].any(axis=1)).sum())
        columns.update(batch["columns"].tolist())
        frames.update(batch["frames"].tolist() if "frames" in batch else ())
        if "boxes" in batch:
            boxes += int(batch["boxes"].sum())
            sounding += int(batch["sounding"].sum())
            with_boxes += int((batch["boxes"] > 0).sum())
        progress(len(batch["columns"]))
    num_bytes = sum(epath.Path(file).stat().length for file in split.files)
    return Counts(num_bytes, per_class, unlabelled, columns, frames, boxes, sounding, with_boxes)


def clip_labels(split: built_dataset.Split, clips: Int[np.ndarray, " clips"]) -> Bool[np.ndarray, "clips classes"]:
    """Return the classes of clips, in the order of the given numbers.

    Raises:
      ValueError: a record is damaged.
    """
    to_classes = functools.partial(_to_classes, num_classes=len(split.class_ids))
    return np.concatenate([batch["classes"] for batch in _batches(split, clips, split.records(LABELS), to_classes)])


def read_clip(split: built_dataset.Split, number: int) -> StoredClip:
    """Read a clip by its number in the split.

    If the clip has boxes, its middle frame is the annotated frame nearest to the middle. A box belongs to the stored
    frame nearest to its time, or to the earlier one if two are equally near.

    Raises:
      ValueError: the record is damaged.
    """
    wanted = {**LABELS, "clip_id": cut.FEATURES["clip_id"], "start_ms": tf.io.FixedLenFeature((), tf.int64)}
    if "frames" in split.features:
        wanted |= {**TIMES, **BOX_FEATURES}
    large = {name: tf.io.RaggedFeature(tf.string) for name in contents.LARGE if name in split.features}
    with split.readable_errors():
        parsed = tf.io.parse_single_example(split.reader()(tf.constant(number, tf.int64)), wanted | large)
        record = {name: value.numpy() for name, value in parsed.items()}
        log_spectrogram = np.frombuffer(record["log_spectrogram"][0], np.float16).reshape(-1, schema.BINS)
        seconds = FRONT_ENDS[split.front_end].seconds(log_spectrogram.shape[0])
        return StoredClip(
            clip_id=record["clip_id"].decode(),
            start_ms=int(record["start_ms"]),
            labels=tuple(record["labels"].tolist()),
            log_spectrogram=log_spectrogram.astype(np.float32),
            waveform=augment.full_scale(np.frombuffer(record["waveform"][0], np.int16))
            if "waveform" in record
            else None,
            moments=tuple(_moments(record, 500 * seconds)) if "frames" in record else (),
        )


def _batches(
    split: built_dataset.Split, clips: np.ndarray, records: Records, element: Callable
) -> Iterator[dict[str, np.ndarray]]:
    """Yield what a TensorFlow function computes from the records of clips, in order."""
    dataset = graph.group_clips(tf.data.Dataset.from_tensor_slices(clips), records, BATCH)
    dataset = dataset.map(
        graph.without_autograph(lambda group: element(records(group))), num_parallel_calls=os.cpu_count()
    )
    with split.readable_errors():
        yield from dataset.rebatch(BATCH).as_numpy_iterator()


def _to_classes(record: dict, num_classes: int) -> dict[str, tf.Tensor]:
    return {"classes": annotations.multi_hot(record, num_classes)}


def _to_counts(record: dict, num_classes: int) -> dict[str, tf.Tensor]:
    found = {**_to_classes(record, num_classes), "columns": cut.num_columns(record)}
    if "frame_times_ms" in record:
        found["frames"] = record["frame_times_ms"].row_lengths()
        found["boxes"] = record["boxes/sounding"].row_lengths()
        found["sounding"] = tf.reduce_sum(record["boxes/sounding"], axis=1)
    return found


def _moments(record: dict, middle_ms: float) -> Iterator[StoredMoment]:
    times, box_times = record["frame_times_ms"], record["boxes/time_ms"]
    if not times.size:
        return
    frame_of_box = _nearest(times, box_times)
    wanted = box_times[_nearest(box_times, np.array([middle_ms]))] if box_times.size else np.array([middle_ms])
    for number in sorted({0, int(_nearest(times, wanted)[0]), times.size - 1}):
        here = frame_of_box == number
        flow = record.get("optical_flow", ())
        yield StoredMoment(
            time_ms=int(times[number]),
            frame=tf.io.decode_jpeg(record["frames"][number], channels=3).numpy(),
            flow=tf.io.decode_jpeg(flow[number], channels=1).numpy() if number < len(flow) else None,
            boxes=record["boxes/bbox"].reshape(-1, 4)[here],
            label=record["boxes/label"][here],
            sounding=record["boxes/sounding"][here] > 0,
        )


def _nearest(times: np.ndarray, wanted: np.ndarray) -> Int[np.ndarray, " wanted"]:
    """Return the index of the time nearest to each wanted one, the first if several are equally near."""
    return np.abs(times[:, None] - wanted[None]).argmin(axis=0)
