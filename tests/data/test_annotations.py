import numpy as np
import pytest
import tensorflow as tf

from avlearn.data import annotations

WINDOW, SIZE = tf.constant([4, 8, 24, 24]), tf.constant([32, 40])


def record(boxes, times_ms, labels=(1,)):
    """Return records of three clips; the middle one has these boxes."""
    count = len(times_ms)
    others = ((0.1, 0.1, 0.9, 0.9),)

    def ragged(before, values, after, dtype):
        rows = [np.reshape(each, -1).tolist() for each in (before, values, after)]
        return tf.ragged.constant(rows, dtype, ragged_rank=1)

    return {
        "clip_id": tf.constant("some clip"),
        "labels": ragged([0, 2], labels, [], tf.int64),
        "boxes/bbox": ragged(others * 3, boxes, [], tf.float32),
        "boxes/label": ragged([7] * 3, range(count), [], tf.int64),
        "boxes/sounding": ragged([1] * 3, [k % 2 for k in range(count)], [], tf.int64),
        "boxes/annotator": ragged([8] * 3, [3 - k % 2 for k in range(count)], [], tf.int64),
        "boxes/time_ms": ragged([600] * 3, times_ms, [], tf.int64),
    }


def annotations_of(records, time_ms):
    clip = {name: values[1] for name, values in annotations.clip_annotations(records, 4).items()}
    found = annotations.frame_annotations(clip, records["clip_id"], tf.constant(time_ms, tf.int64), WINDOW, SIZE)
    return {name: values.numpy() for name, values in found.items()}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_names_its_clip(value):
    records = record([(0, 0, 0.5, value)], (600,)) | {"clip_id": tf.constant(["a", "b", "c"])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="a box of the clip b has NaN or infinite values"):
        tf.function(annotations.clip_annotations, autograph=False)(records, 4)


def test_boxes_are_normalised_to_the_crop_and_clipped():
    # Pixels (0, 0) to (16, 20), (8, 10) to (24, 30), and (0, 0) to (4, 40), which ends where the crop begins.
    boxes = [(0, 0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75), (0, 0, 0.125, 1)]
    found = annotations_of(record(boxes, (600, 600, 600)), 600)
    np.testing.assert_allclose(found["boxes"][0], (0, 0, 12 / 24, 12 / 24), atol=1e-6)
    np.testing.assert_allclose(found["boxes"][1], (4 / 24, 2 / 24, 20 / 24, 22 / 24), atol=1e-6)
    assert np.isnan(found["boxes"][2:]).all()
    assert found["box_label"].tolist() == [0, 1] + [-1] * 14
    assert found["box_sounding"].tolist() == [False, True] + [False] * 14
    assert found["box_annotator"].tolist() == [3, 2] + [-1] * 14


@pytest.mark.parametrize(("time_ms", "label"), [(0, 0), (299, 0), (300, 0), (301, 1), (900, 2), (5000, 2)])
def test_boxes_are_those_of_the_nearest_annotated_time(time_ms, label):
    found = annotations_of(record([(0.2, 0.2, 0.8, 0.8)] * 3, (200, 400, 800)), time_ms)
    assert found["box_label"].tolist() == [label] + [-1] * 15


def test_a_clip_without_boxes_or_labels():
    found = annotations_of(record([], (), labels=()), 600)
    assert np.isnan(found["boxes"]).all()
    assert (found["box_label"] == -1).all()
    assert (found["box_annotator"] == -1).all()
    assert found["labels"].tolist() == [False] * 4


def test_labels_are_set_by_class():
    assert annotations_of(record([], (), labels=(3, 1)), 0)["labels"].tolist() == [False, True, False, True]


def test_too_many_boxes_are_an_error():
    sixteen = annotations_of(record([(0.2, 0.2, 0.8, 0.8)] * 16, (0,) * 16), 0)
    assert not np.isnan(sixteen["boxes"]).any()
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 16 boxes"):
        annotations_of(record([(0.2, 0.2, 0.8, 0.8)] * 17, (0,) * 17), 0)
