"""Frames whose sources must all be found, worked by hand."""

import numpy as np
import pytest

from avlearn.evaluators import iiou

LEFT, RIGHT = [0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]
MAPS = {"left": [[1.0, 0.0], [1.0, 0.0]], "right": [[0.0, 1.0], [0.0, 1.0]]}


def by_hand():
    """Return three frames with a left and a right source: both found, one found, and one map for both."""
    return {
        "heat_map": np.array([MAPS[side] for side in ("left", "right", "left", "left", "right", "left")]),
        "boxes": np.array([[LEFT], [RIGHT], [LEFT], [RIGHT], [LEFT], [RIGHT]]),
        "image_item": np.array([4, 4, 7, 7, 9, 9]),
        "source": np.array([0, 1, 0, 1, 0, 1]),
    }


def test_a_frame_succeeds_if_all_its_sources_are_found():
    found = iiou.evaluate(by_hand(), items_expected=10)
    assert found["iiou"] == pytest.approx(1 / 3)
    assert found["ciou_of_sources"] == pytest.approx(3 / 6)
    assert (found["items"], found["sources"], found["items_expected"]) == (3, 6, 10)
    assert found["without_several_sources"] == 7
    # Half of the frame, the middle: a quarter is on each box, value (1/4) / (1/2 + 1/4) = 1/3: none is found.
    assert found["baselines"]["centre"] == {"iiou": 0.0, "ciou_of_sources": 0.0}
    # The whole frame: (1/2) / (1/2 + 1/2) = 1/2, which counts.
    assert found["baselines"]["whole_image"] == {"iiou": 1.0, "ciou_of_sources": 1.0}
    assert found["baselines"]["ceiling"] == {"iiou": 1.0, "ciou_of_sources": 1.0}
    low, high = found["iiou_interval"]
    assert (low, high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": np.full((6, 1, 4), np.nan)}, "of 6 rows, 6 have no usable box in boxes and 0 repeat"),
        ({"source": np.zeros(6, int)}, "0 have no usable box in boxes and 3 repeat a source of their frame"),
        ({"image_item": np.arange(6)}, "0 repeat .* 6 frames have only one source"),
    ],
)
def test_wrong_input_is_refused(change, message):
    with pytest.raises(ValueError, match=f"^iiou: .*{message}"):
        iiou.evaluate(by_hand() | change)


def test_unknown_protocol():
    with pytest.raises(ValueError, match=r"iiou\.protocol is 'mean'; .* takes median, adaptive, half"):
        iiou.evaluate(by_hand(), protocol="mean")
