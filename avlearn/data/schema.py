"""The one record schema of every dataset: what the builders write and what the input pipeline reads.

A record is one clip. Times are integers, in milliseconds from the start of the clip. A frame at time t is the moment
t; the second of sound that belongs to it is centred on it. The log-spectrogram is the natural log of power with a floor
of 1e-7, not normalised, so that every paper's scaling is an affine step at training time.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

SCHEMA_VERSION = 1
BINS = 257


def features(class_ids: Sequence[str]) -> tfds.features.FeaturesDict:
    """Features of a record.

    Args:
      class_ids: ids of the dataset's classes (AudioSet's `/m/...` ids where it has them), in label order.

    Returns:
      clip_id, video_id: names; clips of one video share `video_id`, and are never paired as negatives.
      start_ms: where the clip starts in its video.
      frames: JPEG frames, shorter side as the builder config says; frame_times_ms: their times in the clip.
      log_spectrogram: float16 `[columns, 257]`, raw bytes.
      labels: classes of what sounds.
      boxes: one entry for each visible object at each frame: `bbox` normalised (ymin, xmin, ymax, xmax), `label`,
        `sounding`, and `time_ms`, the time of the frame it is on.
    """
    label = tfds.features.ClassLabel(names=list(class_ids))
    return tfds.features.FeaturesDict(
        {
            "clip_id": tfds.features.Text(),
            "video_id": tfds.features.Text(),
            "start_ms": np.int64,
            "frames": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")),
            "frame_times_ms": tfds.features.Sequence(np.int64),
            "log_spectrogram": tfds.features.Tensor(shape=(None, BINS), dtype=np.float16, encoding="bytes"),
            "labels": tfds.features.Sequence(label),
            "boxes": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": label,
                    "sounding": np.bool_,
                    "time_ms": np.int64,
                }
            ),
        }
    )


def metadata(
    *,
    frames_per_second: float | int,
    front_end: str,
    class_names: Sequence[str],
    ontology: Sequence[Mapping],
) -> tfds.core.MetadataDict:
    """What a reader has to know about a built dataset, stored beside it (pass as `DatasetInfo(metadata=...)`).

    Args:
      frames_per_second: rate of the stored frames, 1 / s.
      front_end: audio front end, `l3` or `lvs`.
      class_names: display names, in label order.
      ontology: the part of the AudioSet ontology that spans the classes, as objects with `id`, `name`, `child_ids`
        (empty for datasets without one: relevance is then 0 or 1).
    """
    return tfds.core.MetadataDict(
        schema_version=SCHEMA_VERSION,
        frames_per_second=frames_per_second,
        front_end=front_end,
        class_names=list(class_names),
        ontology=[{key: node[key] for key in ("id", "name", "child_ids")} for node in ontology],
    )
