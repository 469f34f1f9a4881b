"""The record schema of all datasets, which builders write and the input pipeline reads.

A record is one clip. Times are integers, in milliseconds from the start of the clip. The audio of a frame is centred on
the time of the frame. The log-spectrogram is the natural log of power with a floor of 1e-7, not normalised: each
paper's scaling is applied at training time.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

SCHEMA_VERSION = 2
BINS = 257


def features(
    class_ids: Sequence[str] | None,
    *,
    class_count: int | None = None,
    frames: bool = True,
    optical_flow: bool = False,
    waveform: bool = False,
) -> tfds.features.FeaturesDict:
    """Return the features of a record, without those that the dataset does not store.

    Args:
      class_ids: ids of the dataset's classes in label order (AudioSet's `/m/...` ids if it has them); None if the
        builder names them after it has read the annotations.
      class_count: number of classes, instead of their ids.
      frames: whether frames and boxes are stored.
      optical_flow: whether the flow between frames is stored.
      waveform: whether the waveform is stored.

    Returns:
      clip_id, video_id: names; clips of one video share `video_id` and are never paired as negatives.
      start_ms: start of the clip in its video.
      frames: JPEG frames; the builder config sets the length of the shorter side.
      frame_times_ms: times of the frames in the clip.
      optical_flow: flow from each frame to the next as grey JPEG, see `avlearn.media.optical_flow.to_images`.
      log_spectrogram: float16 `[columns, 257]`, raw bytes.
      waveform: int16 `[samples]`, mono, raw bytes, full scale 32767; its rate is in the metadata.
      labels: classes that sound.
      boxes: one entry for each annotated object on each annotated frame: `bbox`, normalised (ymin, xmin, ymax, xmax);
        `label`; `sounding`; `time_ms`, the time of its frame; `annotator`, the number of the person who drew it.
    """
    label = tfds.features.ClassLabel(names=None if class_ids is None else list(class_ids), num_classes=class_count)
    present = {
        "clip_id": tfds.features.Text(),
        "video_id": tfds.features.Text(),
        "start_ms": np.int64,
        "log_spectrogram": tfds.features.Tensor(shape=(None, BINS), dtype=np.float16, encoding="bytes"),
        "labels": tfds.features.Sequence(label),
    }
    if frames:
        present["frames"] = tfds.features.Sequence(
            tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        )
        present["frame_times_ms"] = tfds.features.Sequence(np.int64)
        present["boxes"] = tfds.features.Sequence(
            {
                "bbox": tfds.features.BBoxFeature(),
                "label": label,
                "sounding": np.bool_,
                "time_ms": np.int64,
                "annotator": np.int64,
            }
        )
    if optical_flow:
        present["optical_flow"] = tfds.features.Sequence(
            tfds.features.Image(shape=(None, None, 1), encoding_format="jpeg")
        )
    if waveform:
        present["waveform"] = tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")
    return tfds.features.FeaturesDict(present)


def metadata(
    *,
    frames_per_second: float | int,
    front_end: str,
    waveform_hz: int = 0,
    class_names: Sequence[str],
    ontology: Sequence[Mapping],
    class_ids: Sequence[str] = (),
) -> tfds.core.MetadataDict:
    """Return the metadata that is stored with a built dataset (pass it as `DatasetInfo(metadata=...)`).

    Args:
      frames_per_second: rate of the stored frames, 1 / s; 0 if none are stored.
      front_end: audio front end, `l3` or `lvs`.
      waveform_hz: sample rate of the stored waveform; 0 if none is stored.
      class_names: display names, in label order.
      ontology: the part of the AudioSet ontology that spans the classes, as objects with `id`, `name`, `child_ids`;
        empty for datasets without one, for which relevance is 0 or 1.
      class_ids: ids of the classes, in label order; TFDS's file of them is compared with these when a split is opened.
    """
    return tfds.core.MetadataDict(
        schema_version=SCHEMA_VERSION,
        frames_per_second=frames_per_second,
        front_end=front_end,
        waveform_hz=waveform_hz,
        class_names=list(class_names),
        ontology=ontology_nodes(ontology),
        class_ids=list(class_ids),
    )


def ontology_nodes(ontology: Sequence[Mapping]) -> list[dict]:
    """Return the nodes of an ontology with only the keys that are stored."""
    return [{key: node[key] for key in ("id", "name", "child_ids")} for node in ontology]
