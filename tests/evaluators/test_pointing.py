import numpy as np
import pytest
from scipy.special import expit

from avlearn.evaluators import pointing

NOTHING = [np.nan] * 4
LEFT_TOP = [0.0, 0.0, 0.5, 0.4]
MIDDLE = [0.4, 0.4, 0.6, 0.6]
RIGHT = [0.0, 0.7, 1.0, 1.0]
BORDER = [1.0, 0.2, 1.0, 0.9]  # below the picture, cut to it
OUTSIDE = [1.0, 0.2, 1.5, 0.9]  # below the picture
CUT = [-0.3, -0.2, 0.3, 0.3]  # partly in the picture


def peak(row, column, height=2.0, rows=2, columns=4):
    heat_map = np.full((rows, columns), -3.0)
    heat_map[row, column] = height
    return heat_map


def arrays(rows):
    """Build evaluation arrays from (heat map, corresponds, boxes, sounding) of each pair."""
    heat_map, corresponds, boxes, sounding = zip(*rows, strict=True)
    return {
        "heat_map": np.stack(heat_map),
        "corresponds": np.array(corresponds),
        "boxes": np.array(boxes),
        "box_sounding": np.array(sounding),
        "image_item": np.arange(len(rows)),
    }


@pytest.fixture
def by_hand():
    # Cells of the 2 x 4 map have their centres at y .25, .75 and x .125, .375, .625, .875.
    return arrays(
        [
            (peak(0, 0), True, [LEFT_TOP, NOTHING], [True, False]),  # hit
            (peak(1, 0), True, [LEFT_TOP, RIGHT], [True, True]),  # miss: between the two
            (peak(1, 3), True, [LEFT_TOP, RIGHT], [True, True]),  # hit of the second
            (peak(1, 3), True, [LEFT_TOP, RIGHT], [True, False]),  # miss: on the silent one
            (peak(0, 2), True, [MIDDLE, LEFT_TOP], [True, False]),  # miss; the centre is right
            (peak(0, 0), True, [NOTHING, RIGHT], [True, False]),  # not scored: nothing visible sounds
            (peak(0, 0), True, [BORDER, NOTHING], [True, False]),  # not scored: out of the picture
            (peak(0, 0, height=-1.0), False, [LEFT_TOP, NOTHING], [True, False]),
            (peak(0, 0, height=-2.0), False, [RIGHT, NOTHING], [True, False]),
        ]
    )


def test_by_hand(by_hand):
    found = pointing.evaluate(by_hand)
    assert found["accuracy"] == pytest.approx(2 / 5)
    assert (found["items"], found["without_sounding_box"], found["items_expected"]) == (5, 2, 7)
    assert found["items_with_distractor"] == 2
    assert found["accuracy_with_distractor"] == 0
    assert found["mean_maximum_matched"] == pytest.approx(expit(2.0))
    assert found["mean_maximum_mismatched"] == pytest.approx((expit(-1.0) + expit(-2.0)) / 2)
    low, high = found["accuracy_interval"]
    assert 0 <= low < 2 / 5 < high <= 1


def test_baselines_by_hand(by_hand):
    baselines = pointing.evaluate(by_hand)["baselines"]
    assert baselines["centre"] == pytest.approx(1 / 5)
    assert baselines["centre_with_distractor"] == pytest.approx(1 / 2)
    # Cells inside: LEFT_TOP 2 of 8; LEFT_TOP or RIGHT 4, twice; LEFT_TOP 2; MIDDLE none.
    assert baselines["random_cell"] == pytest.approx((2 + 4 + 4 + 2 + 0) / 8 / 5)


def test_random_cell_agrees_with_drawing_cells():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((40, 3, 2, 2)), axis=2)
    boxes = corners.reshape(40, 3, 4)
    boxes[::3, 2] = np.nan
    share = pointing.covered_cells(boxes, (5, 7))
    drawn = np.zeros(40)
    for row, column in np.ndindex(5, 7):
        y, x = (row + 0.5) / 5, (column + 0.5) / 7
        drawn += [any(b[0] <= y <= b[2] and b[1] <= x <= b[3] for b in each) for each in boxes]
    np.testing.assert_allclose(share, drawn / 35)
    assert 0 < share.mean() < 1


def test_mode_is_the_centre_of_the_strongest_cell():
    maps = np.stack([peak(0, 0), peak(1, 2), np.zeros((2, 4))])
    np.testing.assert_allclose(pointing.mode(maps), [[0.25, 0.125], [0.75, 0.625], [0.25, 0.125]])
    np.testing.assert_allclose(pointing.mode(peak(6, 3, rows=14, columns=7)[None]), [[6.5 / 14, 0.5]])


def test_a_box_includes_its_border():
    points = np.array([[0.2, 0.5], [0.2, 0.51], [0.19, 0.5], [0.2, 0.4]])
    boxes = np.full((4, 1, 4), [0.2, 0.4, 0.6, 0.5])
    np.testing.assert_array_equal(pointing.inside(points, boxes), [True, False, False, True])


def test_a_box_is_in_the_image_if_a_part_with_an_area_is():
    empty, line, left = [0.5, 0.5, 0.5, 0.5], [0.2, 0.3, 0.2, 0.9], [0.2, -0.5, 0.8, 0.0]
    boxes = np.array([[CUT, OUTSIDE, NOTHING], [empty, line, left], [LEFT_TOP, RIGHT, [np.nan, 0.0, 1.0, 1.0]]])
    expected = [[True, False, False], [False, False, False], [True, True, False]]
    np.testing.assert_array_equal(pointing.in_frame(boxes), expected)


def test_no_distractor_gives_no_accuracy_with_distractor():
    rows = [(peak(0, 0), corresponds, [LEFT_TOP], [True]) for corresponds in (True, False)]
    found = pointing.evaluate(arrays(rows))
    assert found["accuracy"] == 1
    assert found["items_with_distractor"] == 0
    assert found["accuracy_with_distractor"] is None
    assert found["baselines"]["centre_with_distractor"] is None


def test_half_of_the_expected_pairs_correspond(by_hand):
    assert pointing.evaluate(by_hand, items_expected=12)["items_expected"] == 12


def test_nothing_to_score_is_refused(by_hand):
    by_hand["box_sounding"][:] = False
    with pytest.raises(ValueError, match="pointing: none of 7 corresponding pairs has a sounding box in the image"):
        pointing.evaluate(by_hand)


def test_mismatched_pairs_are_needed(by_hand):
    by_hand["corresponds"][:] = True
    with pytest.raises(ValueError, match=r"pointing: corresponds is true in all 9 rows.*pairing 'avc'"):
        pointing.evaluate(by_hand)
