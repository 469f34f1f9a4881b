"""What a record says of the frame that was cut from it: its clip's labels, and the boxes that are on it.

The functions run in TensorFlow's graph.
"""

import tensorflow as tf

MAX_BOXES = 16  # of one frame; a fixed number, so that arrays of all batches fit together

FEATURES = {
    "labels": tf.io.RaggedFeature(tf.int64),
    "boxes/bbox": tf.io.RaggedFeature(tf.float32),
    "boxes/label": tf.io.RaggedFeature(tf.int64),
    "boxes/sounding": tf.io.RaggedFeature(tf.int64),
    "boxes/annotator": tf.io.RaggedFeature(tf.int64),
    "boxes/time_ms": tf.io.RaggedFeature(tf.int64),
}


def of_clips(records: dict, num_classes: int) -> dict[str, tf.Tensor]:
    """Labels and boxes of some clips, dense: `[clips, ...]`, with one box more than the clip has that has most.

    Args:
      records: parsed by `FEATURES`.
      num_classes: of the dataset.

    Returns:
      labels bool `[clips, num_classes]`; boxes float32 `[clips, n, 4]`, NaN where there is none; box_label,
      box_sounding, box_annotator and box_time_ms, int64 `[clips, n]`.
    """
    filling = {"label": -1, "sounding": 0, "annotator": -1, "time_ms": 2**40}  # farther off than any

    def dense(values: tf.RaggedTensor, fill, size: int = 1) -> tf.Tensor:
        # And one more: `tf.data.Dataset.unbatch` ends the process on elements of nothing (TensorFlow 2.21).
        return tf.pad(values.to_tensor(fill), [(0, 0), (0, size)], constant_values=fill)

    boxes = dense(records["boxes/bbox"], float("nan"), 4)
    return {
        "labels": classes(records, num_classes),
        "boxes": tf.reshape(boxes, (tf.shape(boxes)[0], -1, 4)),
        **{f"box_{name}": dense(records[f"boxes/{name}"], fill) for name, fill in filling.items()},
    }


def of_frame(clip: dict, clip_id: tf.Tensor, time_ms: tf.Tensor, window: tf.Tensor, size: tf.Tensor) -> dict:
    """Labels and boxes for a frame.

    Args:
      clip: what `of_clips` has of the clip.
      clip_id: its name.
      time_ms: time of the frame. Its boxes are those of the annotated time nearest to it, the earlier of two: the same
        time where every frame is annotated, the clip's only one where one is.
      window: (top, left, height, width) of the crop, pixels, int32.
      size: (height, width) of the stored frame.

    Returns:
      labels bool `[num_classes]`; boxes float32 `[16, 4]` as (ymin, xmin, ymax, xmax), normalised to the crop and
      clipped to it, NaN where there is none; box_label int64 `[16]`, -1 where there is none; box_sounding bool `[16]`;
      box_annotator int64 `[16]`, -1 where there is none.
      A box that lies outside the crop is none: the network does not see it.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: more than 16 boxes.
    """
    times = clip["box_time_ms"]
    distance = 2 * tf.abs(times - time_ms) + tf.cast(times > time_ms, tf.int64)  # the last term parts a tie
    boxes = into_crop(clip["boxes"], window, size)
    visible = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)  # which no NaN is
    here = tf.where((distance == tf.reduce_min(distance)) & visible)[:, 0]
    count = tf.size(here)
    complaint = [f"more than {MAX_BOXES} boxes on a frame of", clip_id]
    with tf.control_dependencies([tf.debugging.Assert(count <= MAX_BOXES, complaint)]):
        missing = MAX_BOXES - count

    def padded(values: tf.Tensor, fill) -> tf.Tensor:
        filling = tf.fill((missing, *values.shape[1:]), tf.constant(fill, values.dtype))
        return tf.ensure_shape(tf.concat([tf.gather(values, here), filling], 0), (MAX_BOXES, *values.shape[1:]))

    return {
        "labels": clip["labels"],
        "boxes": padded(boxes, float("nan")),
        "box_label": padded(clip["box_label"], -1),
        "box_sounding": padded(clip["box_sounding"] > 0, False),
        "box_annotator": padded(clip["box_annotator"], -1),
    }


def label_features(num_classes: int) -> dict:
    """What a record is parsed for where a network wants its classes; nothing where it wants 0."""
    return {"labels": FEATURES["labels"]} if num_classes else {}


def labels(records: dict, num_classes: int) -> dict[str, tf.Tensor]:
    """The field `labels` of a batch; none for a network that wants 0 classes."""
    return {"labels": classes(records, num_classes)} if num_classes else {}


def classes(records: dict, num_classes: int) -> tf.Tensor:
    """Whether each record has each class, bool `[clips, num_classes]`."""
    each = tf.one_hot(records["labels"].to_tensor(-1), num_classes, on_value=True, off_value=False)
    return tf.reduce_any(each, axis=1)


def into_crop(boxes: tf.Tensor, window: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Boxes `[n, 4]` normalised to an image of `size` to those normalised to a window of it, clipped to the window."""
    window, size = tf.cast(window, tf.float32), tf.cast(size, tf.float32)
    corners = tf.reshape(boxes, (-1, 2, 2)) * size
    return tf.clip_by_value(tf.reshape((corners - window[:2]) / window[2:], (-1, 4)), 0.0, 1.0)
