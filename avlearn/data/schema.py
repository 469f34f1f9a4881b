"""The one record schema of every dataset: what the builders write and what the input pipeline reads.

A record is one clip. Times are integers, in milliseconds from the start of the clip. A frame at time t is the moment
t; the second of sound that belongs to it is centred on it. The log-spectrogram is the natural log of power with a floor
of 1e-7, not normalised, so that every paper's scaling is an affine step at training time.
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
    """Features of a record; what a dataset does not hold is absent.

    Args:
      class_ids: ids of the dataset's classes (AudioSet's `/m/...` ids where it has them), in label order; None where
        the builder names them once it has read the annotations.
      class_count: how many classes there are, in place of their ids, where those are not needed.
      frames: whether there are pictures, and so frames and boxes.
      optical_flow: whether the flow between frames is stored.
      waveform: whether the waveform is stored.

    Returns:
      clip_id, video_id: names; clips of one video share `video_id`, and are never paired as negatives.
      start_ms: where the clip starts in its video.
      frames: JPEG frames, shorter side as the builder config says; frame_times_ms: their times in the clip.
      optical_flow: flow from each frame to the next as grey JPEG, `avlearn.media.optical_flow.to_images`.
      log_spectrogram: float16 `[columns, 257]`, raw bytes.
      waveform: int16 `[samples]`, mono, raw bytes, full scale 32767; its rate is in the metadata.
      labels: classes of what sounds.
      boxes: one entry for each annotated object at each annotated frame: `bbox` normalised (ymin, xmin, ymax, xmax),
        `label`, `sounding`, `time_ms`, the time of the frame it is on, and `annotator`, the number of who drew it.
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
) -> tfds.core.MetadataDict:
    """What a reader has to know about a built dataset, stored beside it (pass as `DatasetInfo(metadata=...)`).

    Args:
      frames_per_second: rate of the stored frames, 1 / s; 0 where there are none.
      front_end: audio front end, `l3` or `lvs`.
      waveform_hz: sample rate of the stored waveform; 0 where there is none.
      class_names: display names, in label order.
      ontology: the part of the AudioSet ontology that spans the classes, as objects with `id`, `name`, `child_ids`
        (empty for datasets without one: relevance is then 0 or 1).
    """
    return tfds.core.MetadataDict(
        schema_version=SCHEMA_VERSION,
        frames_per_second=frames_per_second,
        front_end=front_end,
        waveform_hz=waveform_hz,
        class_names=list(class_names),
        ontology=ontology_nodes(ontology),
    )


def ontology_nodes(ontology: Sequence[Mapping]) -> list[dict]:
    """Nodes of an ontology with what is stored of them."""
    return [{key: node[key] for key in ("id", "name", "child_ids")} for node in ontology]
