"""Labels and boxes of clips, and of the frames cut from them.

The functions run in TensorFlow's graph.
"""

import tensorflow as tf

from avlearn.data import finite, graph

MAX_BOXES = 16  # per frame: a fixed number, so that all batches have one shape

FEATURES = {
    "labels": tf.io.RaggedFeature(tf.int64),
    "boxes/bbox": tf.io.RaggedFeature(tf.float32),
    "boxes/label": tf.io.RaggedFeature(tf.int64),
    "boxes/sounding": tf.io.RaggedFeature(tf.int64),
    "boxes/annotator": tf.io.RaggedFeature(tf.int64),
    "boxes/time_ms": tf.io.RaggedFeature(tf.int64),
}


def clip_annotations(records: dict, num_classes: int) -> dict[str, tf.Tensor]:
    """Return the labels and boxes of clips as dense tensors.

    Args:
      records: parsed with `FEATURES`, and their clip_id.
      num_classes: number of classes of the dataset.

    Returns:
      labels: bool `[clips, num_classes]`.
      boxes: float32 `[clips, n, 4]`, padded with NaN; n is the largest number of boxes of a clip, plus one.
      box_label, box_sounding, box_annotator, box_time_ms: int64 `[clips, n]`.

    Raises (when the graph runs):
      tf.errors.InvalidArgumentError: a box is NaN or infinite; the message names the clip.
    """
    padding = {"label": -1, "sounding": 0, "annotator": -1, "time_ms": 2**40}  # later than any time in a clip

    def dense(values: tf.RaggedTensor, fill, size: int = 1) -> tf.Tensor:
        # Pad by one, because `tf.data.Dataset.unbatch` crashes on elements of size 0 (TensorFlow 2.21).
        return tf.pad(values.to_tensor(fill), [(0, 0), (0, size)], constant_values=fill)

    ragged = records["boxes/bbox"]
    stored = ragged.with_values(
        graph.checked(ragged.values, finite.check_boxes, ragged.value_rowids(), records["clip_id"])
    )
    boxes = dense(stored, float("nan"), 4)
    return {
        "labels": multi_hot(records, num_classes),
        "boxes": tf.reshape(boxes, (tf.shape(boxes)[0], -1, 4)),
        **{f"box_{name}": dense(records[f"boxes/{name}"], fill) for name, fill in padding.items()},
    }


def frame_annotations(clip: dict, clip_id: tf.Tensor, time_ms: tf.Tensor, window: tf.Tensor, size: tf.Tensor) -> dict:
    """Return the labels and boxes of one cropped frame.

    The boxes are those of the annotated time nearest to the frame, or of the earlier one if two are equally near.
    Boxes outside the crop are left out, because the network does not see them.

    Args:
      clip: one clip's row of `clip_annotations`.
      clip_id: name of the clip.
      time_ms: time of the frame in the clip.
      window: (top, left, height, width) of the crop, pixels, int32.
      size: (height, width) of the stored frame, pixels.

    Returns:
      labels: bool `[num_classes]`.
      boxes: float32 `[16, 4]` as (ymin, xmin, ymax, xmax), normalised and clipped to the crop, padded with NaN.
      box_label, box_annotator: int64 `[16]`, padded with -1.
      box_sounding: bool `[16]`, padded with False.

    Raises (when the graph runs):
      tf.errors.InvalidArgumentError: the frame has more than 16 boxes.
    """
    times = clip["box_time_ms"]
    distance = 2 * tf.abs(times - time_ms) + tf.cast(times > time_ms, tf.int64)  # the last term breaks ties
    boxes = to_crop(clip["boxes"], window, size)
    visible = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)  # False for NaN
    here = tf.where((distance == tf.reduce_min(distance)) & visible)[:, 0]
    count = tf.size(here)
    complaint = [f"more than {MAX_BOXES} boxes on a frame of", clip_id]
    with tf.control_dependencies([tf.debugging.Assert(count <= MAX_BOXES, complaint)]):
        missing = MAX_BOXES - count

    def padded(values: tf.Tensor, fill) -> tf.Tensor:
        padding = tf.fill((missing, *values.shape[1:]), tf.constant(fill, values.dtype))
        return tf.ensure_shape(tf.concat([tf.gather(values, here), padding], 0), (MAX_BOXES, *values.shape[1:]))

    return {
        "labels": clip["labels"],
        "boxes": padded(boxes, float("nan")),
        "box_label": padded(clip["box_label"], -1),
        "box_sounding": padded(clip["box_sounding"] > 0, False),
        "box_annotator": padded(clip["box_annotator"], -1),
    }


def label_features(num_classes: int) -> dict:
    """Return the features to parse to get the labels; none for a network without classes."""
    return {"labels": FEATURES["labels"]} if num_classes else {}


def label_fields(records: dict, num_classes: int) -> dict[str, tf.Tensor]:
    """Return the field `labels` of a batch, bool `[clips, num_classes]`; none for a network without classes."""
    return {"labels": multi_hot(records, num_classes)} if num_classes else {}


def multi_hot(records: dict, num_classes: int) -> tf.Tensor:
    """Return which classes each record has, bool `[clips, num_classes]`."""
    each = tf.one_hot(records["labels"].to_tensor(-1), num_classes, on_value=True, off_value=False)
    return tf.reduce_any(each, axis=1)


def to_crop(boxes: tf.Tensor, window: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Convert boxes `[n, 4]` from coordinates of the image to coordinates of a crop, both normalised, and clip them."""
    window, size = tf.cast(window, tf.float32), tf.cast(size, tf.float32)
    corners = tf.reshape(boxes, (-1, 2, 2)) * size
    return tf.clip_by_value(tf.reshape((corners - window[:2]) / window[2:], (-1, 4)), 0.0, 1.0)
