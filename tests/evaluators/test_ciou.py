import json

import cv2
import numpy as np
import pytest
from sklearn import metrics

from avlearn.evaluators import ciou
from avlearn.evaluators.numerics import detection, pixel_maps
from tests.helpers.paths import SHARED

VGGSS = SHARED / "vggss" / "vggss.json"
OUTSIDE = 12  # boxes of VGG-SS outside of the picture
NOTHING = [np.nan] * 4
LEFT = [0.0, 0.0, 1.0, 0.5]
TOP = [0.0, 0.0, 0.5, 1.0]
LEFT_TOP = [0.0, 0.0, 0.5, 0.5]
WHOLE = [0.0, 0.0, 1.0, 1.0]
AREA = 224 * 224


def steps(*rows):
    """Return a map of 224 x 224 that repeats the given cells, so that nothing is interpolated."""
    cells = np.array(rows, float)
    return np.kron(cells, np.ones((224 // cells.shape[0], 224 // cells.shape[1])))


def arrays(heat_map, boxes, **changes):
    """Return corresponding pairs, all boxes sounding, drawn by one annotator."""
    boxes = np.array(boxes, float)
    rows = len(boxes)
    return {
        "heat_map": np.array(heat_map, float),
        "corresponds": np.ones(rows, bool),
        "boxes": boxes,
        "box_sounding": ~np.isnan(boxes).all(axis=-1),
        "box_annotator": np.zeros(boxes.shape[:2], int),
        "image_item": np.arange(rows),
        **changes,
    }


def random_arrays(rows=20, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((rows, 2, 2, 2)), axis=2).reshape(rows, 2, 4)
    return arrays(rng.normal(size=(rows, 7, 7)), corners)


def value(protocol, heat_map, *boxes, ground_truth="union", annotator=None):
    """Compute the cIoU value of one map."""
    boxes = np.array([boxes], float)
    corners, usable = pixel_maps.pixel_corners(boxes)
    who = np.arange(boxes.shape[1])[None] if annotator is None else np.array([annotator])
    values, _ = ciou.overlaps(np.array([heat_map]), corners, usable, who, protocol, ground_truth, 0)
    return {name: float(each[0]) for name, each in values.items()}


def test_median_predicts_half_of_the_image():
    # Cells of a quarter each; the two strongest are on the left. p = left half.
    heat_map = steps([4, 2], [3, 1])
    assert value("median", heat_map, LEFT)["heat_map"] == 1
    assert value("median", heat_map, TOP)["heat_map"] == pytest.approx((1 / 4) / (1 / 2 + 1 / 4))
    assert value("median", heat_map, LEFT_TOP)["heat_map"] == pytest.approx((1 / 4) / (1 / 4 + 1 / 4))
    assert value("median", heat_map, WHOLE)["heat_map"] == pytest.approx((1 / 2) / 1)


def test_pixels_that_equal_the_threshold_are_predicted():
    heat_map = steps([2, 1], [1, 1])
    assert value("median", heat_map, LEFT_TOP)["heat_map"] == pytest.approx(1 / 4)  # all of the picture
    assert value("median", steps([2, 2], [2, 1]), LEFT_TOP)["heat_map"] == pytest.approx(1 / 3)
    assert value("adaptive", steps([2, 2], [2, 1]), LEFT_TOP)["heat_map"] == pytest.approx(1 / 3)


def test_adaptive_predicts_the_area_of_the_ground_truth():
    heat_map = steps([4, 2], [3, 1])
    assert value("adaptive", heat_map, LEFT_TOP)["heat_map"] == 1  # p = the strongest quarter
    assert value("adaptive", heat_map, LEFT)["heat_map"] == 1
    assert value("adaptive", heat_map, [0.5, 0.0, 1.0, 0.5])["heat_map"] == 0
    assert value("adaptive", heat_map, TOP)["heat_map"] == pytest.approx((1 / 4) / (1 / 2 + 1 / 4))


def test_half_predicts_pixels_of_at_least_half_the_range():
    # Scaled to 0 ... 1: 1, 1/2 on the left, .4, 0 on the right.
    heat_map = steps([10, 4], [5, 0])
    assert value("half", heat_map, LEFT)["heat_map"] == 1
    assert value("half", heat_map, LEFT_TOP)["heat_map"] == pytest.approx(1 / 2)
    assert value("half", steps([10, 4], [4.9, 0]), LEFT_TOP)["heat_map"] == 1
    assert value("half", np.full((7, 7), 3.0), LEFT)["heat_map"] == 0  # a constant map is 0 everywhere


def test_consensus_by_hand():
    heat_map = steps([4, 2], [3, 1])  # median: the left half
    # Both drew the quarter (1), one the rest of the upper half (1/2): 1/4 / ((1/4 + 1/8) + 1/4).
    found = value("median", heat_map, LEFT_TOP, TOP, ground_truth="consensus")
    assert found["heat_map"] == pytest.approx((1 / 4) / (3 / 8 + 1 / 4))
    assert found["whole_image"] == pytest.approx((3 / 8) / (3 / 8 + 1 / 2))
    assert found["ceiling"] == 1  # half of the picture: all that is above 0
    # Two or three annotators of one region give 1; one alone gives 1/2.
    thrice = value("median", steps([4, 3], [2, 1]), LEFT, LEFT, LEFT, ground_truth="consensus")
    assert thrice["heat_map"] == pytest.approx((1 / 4) / (1 / 2 + 1 / 4))
    assert value("median", heat_map, LEFT, ground_truth="consensus")["heat_map"] == 1
    assert value("median", heat_map, TOP, ground_truth="consensus")["heat_map"] == pytest.approx((1 / 8) / (2 / 4))
    # Overlapping boxes of one annotator are one map.
    one = value("median", heat_map, LEFT_TOP, TOP, ground_truth="consensus", annotator=[5, 5])
    assert one == value("median", heat_map, TOP, ground_truth="consensus")
    assert value("median", heat_map, LEFT_TOP, TOP) == value("median", heat_map, TOP)


def test_ceiling_by_hand():
    heat_map = steps([4, 2], [3, 1])
    assert value("median", heat_map, LEFT_TOP)["ceiling"] == pytest.approx(1 / 2)
    assert value("median", heat_map, [0.0, 0.0, 1.0, 0.75])["ceiling"] == pytest.approx(2 / 3)
    # The quarter of 1 and a third of the three quarters of 1/2: (1/4 + 1/8) / (1/4 + 3/8).
    consensus = value("median", heat_map, LEFT_TOP, WHOLE, ground_truth="consensus")
    assert consensus["ceiling"] == pytest.approx((3 / 8) / (5 / 8))
    for protocol in ("adaptive", "half"):
        assert value(protocol, heat_map, LEFT_TOP)["ceiling"] == 1


@pytest.mark.parametrize("protocol", ciou.PROTOCOLS)
@pytest.mark.parametrize("ground_truth", pixel_maps.GROUND_TRUTHS)
def test_no_prediction_is_above_the_ceiling(protocol, ground_truth):
    given = random_arrays()
    corners, usable = pixel_maps.pixel_corners(given["boxes"])
    who = np.tile([0, 1], (20, 1))
    values, _ = ciou.overlaps(given["heat_map"], corners, usable, who, protocol, ground_truth, 0)
    for name in ("heat_map", "centre", "random_map"):
        assert (values[name] <= values["ceiling"]).all()


@pytest.mark.parametrize("protocol", ciou.PROTOCOLS)
def test_agrees_with_one_map_at_a_time(protocol):
    """Compare with the form of published scripts: sort, threshold, sums over float masks, a loop over thresholds."""
    given = random_arrays()
    expected = []
    for heat_map, boxes in zip(given["heat_map"], given["boxes"], strict=True):
        truth = np.zeros((224, 224))
        for top, left, bottom, right in (224 * boxes).astype(int):
            truth[top:bottom, left:right] = 1
        big = cv2.resize(heat_map, (224, 224), interpolation=cv2.INTER_LINEAR)
        big = (big - big.min()) / (big.max() - big.min())
        ordered = np.sort(big.ravel())
        rank = {"median": AREA // 2, "adaptive": AREA - int(truth.sum()), "half": 0}[protocol]
        prediction = (big >= (0.5 if protocol == "half" else ordered[rank])).astype(float)
        expected.append((prediction * truth).sum() / (truth.sum() + (prediction * (truth == 0)).sum()))
    rates = [np.mean(np.array(expected) >= threshold / 20) for threshold in range(21)]
    found = ciou.evaluate(given, protocol=protocol)
    assert found["ciou"] == pytest.approx(rates[10])
    assert found["auc"] == pytest.approx(metrics.auc(np.linspace(0, 1, 21), rates))
    assert 0 < found["auc"] < 1
    assert (found["protocol"], found["ground_truth"]) == (protocol, "union")
    assert "cv2.INTER_LINEAR" in found["interpolation"]


def test_a_value_on_a_threshold_reaches_it():
    np.testing.assert_allclose(ciou.scores(np.array([0.5, 0.49]))["ciou"], 0.5)
    # Successes at 0, .05, .1, .15 of 1 = 4 of 21 thresholds: the trapezoid is 3 whole steps and a half.
    assert ciou.scores(np.array([3 / 20]))["auc"] == pytest.approx(3.5 * 0.05)


@pytest.mark.parametrize("rank", [0, 1, 300, 5000, 9998, 9999])
@pytest.mark.parametrize("kind", ["random", "sorted", "equal", "two", "striped"])
def test_nth_smallest(rank, kind):
    values = np.random.default_rng(0).normal(size=10_000)
    if kind == "striped":  # every 61st value does not represent the others
        values[::61] = 9
    else:
        values = {"random": values, "sorted": np.sort(values), "equal": 0 * values, "two": 1.0 * (values > 1)}[kind]
    assert ciou.nth_smallest(values, rank) == np.sort(values)[rank]


@pytest.mark.parametrize("protocol", ciou.PROTOCOLS)
def test_scale_and_offset_of_a_map_do_not_matter(protocol):
    given = random_arrays()
    rng = np.random.default_rng(1)
    scale, offset = rng.uniform(0.01, 50, (20, 1, 1)), rng.normal(size=(20, 1, 1)) * 30
    changed = given | {"heat_map": given["heat_map"] * scale + offset}
    assert ciou.evaluate(changed, protocol=protocol) == ciou.evaluate(given, protocol=protocol)


def test_size_of_blocks_does_not_matter(monkeypatch):
    given = random_arrays()
    whole = ciou.evaluate(given, protocol="adaptive")
    monkeypatch.setattr(ciou, "_BLOCK", 3)
    assert ciou.evaluate(given, protocol="adaptive") == whole


def test_degenerate_boxes_are_ignored_and_counted():
    boxes = [
        [LEFT, [0.5, 0.4, 0.3, 0.6]],  # scored by the first
        [[0.2, 0.3, 0.2, 0.9], [0.1, 0.1, 0.1, 0.1]],  # a line and a point: not scored
        [[1.0, 0.1, 1.0, 0.5], [0.0, 0.5, 0.0, 0.5]],  # outside, and cut to the picture: not scored
        [NOTHING, NOTHING],  # none there: not scored, nothing to count
        [[-1e-4, 0.0, 1 + 1e-4, 0.5], NOTHING],  # LEFT, but for rounding
        [[0.5, 0.5, 0.5 + 0.9 / 224, 0.5 + 0.9 / 224], NOTHING],  # less than a pixel
    ]
    given = arrays([steps([4, 2], [3, 1])] * 6, boxes)
    found = ciou.evaluate(given)
    assert (found["items"], found["without_usable_box"], found["degenerate_boxes"]) == (2, 4, 6)
    assert found["ciou"] == 1
    assert found["items_expected"] == 6
    assert ciou.evaluate(given, items_expected=12)["items_expected"] == 12


def test_boxes_are_rounded_down_to_pixels():
    boxes = np.array([[[0.1, 0.999, 0.25, 1.0], [0.0, 55.9999 / 224, 0.5, 57.9 / 224]]])
    corners, usable = pixel_maps.pixel_corners(boxes)
    assert corners.tolist() == [[[22, 223, 56, 224], [0, 56, 112, 57]]]
    assert usable.all()


def test_silent_boxes_are_not_ground_truth():
    given = arrays([steps([4, 2], [3, 1])] * 2, [[LEFT, [0.0, 0.5, 1.0, 1.0]]] * 2)
    given["box_sounding"][:, 1] = False
    assert ciou.evaluate(given)["ciou"] == 1
    given["box_sounding"][1] = False
    assert ciou.evaluate(given)["without_usable_box"] == 1


def test_classes_of_size():
    # Squares of 31, 32, 96 and 144 pixels: each the first of its class, but for the small one.
    boxes = [[[0.0, 0.0, side / 224, side / 224]] for side in (31, 32, 96, 144)]
    found = ciou.evaluate(arrays([steps([4, 2], [3, 1])] * 4, boxes))["by_size"]
    assert {name: each["items"] for name, each in found.items()} == dict.fromkeys(ciou.SIZES, 1)
    assert found["medium"]["share_of_picture"] == [pytest.approx((32 / 224) ** 2), pytest.approx((96 / 224) ** 2)]
    assert found["huge"]["share_of_picture"][1] == 1
    # The left half holds 144 x 112 of the huge square.
    whole = 144 * 112 / (144 * 144 + AREA / 2 - 144 * 112)
    assert found["huge"]["auc"] == pytest.approx(0.05 * (int(whole * 20) + 0.5))
    alone = ciou.evaluate(arrays([steps([4, 2], [3, 1])], [[WHOLE]]))["by_size"]
    assert alone["huge"]["items"] == 1
    assert (alone["small"]["ciou"], alone["small"]["baselines"]["centre"]["auc"]) == (None, None)


def negatives():
    """Return pairs: maximum of the map, whether the pair corresponds, whether the map is on the object."""
    rows = [(5, True, True), (4, False, True), (3, True, True), (2, True, False), (1, False, True), (0, True, True)]
    on, off = np.array([[1.0, 0], [0.9, 0]]), np.array([[0, 1.0], [0, 0.9]])
    given = arrays([(on if right else off) + top for top, _, right in rows], [[LEFT]] * 6)
    return given | {"corresponds": np.array([corresponds for _, corresponds, _ in rows])}


def test_negatives_by_hand():
    found = ciou.evaluate(negatives())["negatives"]
    # Down the list: found 1 1 2 2 2 3, false alarms 0 1 1 2 3 3, missed 3 3 2 1 1 0.
    # Recall 1/4 1/4 1/2 2/3 2/3 1; precision 1 1/2 2/3 1/2 2/5 1/2, the best from there on 1 2/3 2/3 1/2 1/2 1/2.
    assert found["average_precision"] == pytest.approx(1 / 4 + (1 / 4) * (2 / 3) + (1 / 6) / 2 + (1 / 3) / 2)
    assert found["max_f1"] == pytest.approx(6 / 9)
    assert found["baselines"]["constant"] == {"average_precision": 0.5, "max_f1": pytest.approx(6 / 9)}
    assert (found["items"], found["mismatched"]) == (6, 2)


def test_negatives_are_mismatched_pairs_only():
    given = negatives()
    given["box_sounding"][5] = False  # corresponds, but what sounds is not in sight: neither
    assert ciou.evaluate(given)["negatives"]["items"] == 5
    given["corresponds"][:] = True
    assert ciou.evaluate(given)["negatives"] is None


def test_average_precision_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    sounding = rng.random(200) < 0.4
    confidence = np.round(rng.normal(size=200) + sounding, 1)  # with ties
    precision, recall, _ = metrics.precision_recall_curve(sounding, confidence)
    best = np.maximum.accumulate(precision)  # scikit-learn goes from the lowest threshold up
    found = detection.scores(confidence, sounding, np.ones(200, bool))
    assert found["average_precision"] == pytest.approx(-np.sum(np.diff(recall) * best[:-1]))
    assert found["average_precision"] >= metrics.average_precision_score(sounding, confidence)
    f1 = [metrics.f1_score(sounding, confidence >= threshold) for threshold in np.unique(confidence)]
    assert found["max_f1"] == pytest.approx(max(f1))


def test_no_object_is_localized():
    found = detection.scores(np.arange(3.0), np.array([True, True, False]), np.zeros(3, bool))
    assert found == {"average_precision": 0, "max_f1": 0}


def test_constant_maps_are_counted():
    given = arrays([np.zeros((2, 2)), [[1.0, 0], [0, 0]]], [[LEFT]] * 2)
    assert ciou.evaluate(given)["constant_maps"] == 1


def test_wrong_options_are_refused():
    given = arrays([np.zeros((2, 2))], [[LEFT]])
    with pytest.raises(ValueError, match=r"ciou\.protocol is 'mean'; .*ciou\.protocol takes median, adaptive, half"):
        ciou.evaluate(given, protocol="mean")
    with pytest.raises(ValueError, match=r"ciou\.ground_truth is 'box'; .*ciou\.ground_truth takes union, consensus"):
        ciou.evaluate(given, ground_truth="box")
    del given["box_annotator"]
    ciou.evaluate(given)
    with pytest.raises(ValueError, match=r"ciou: missing \['box_annotator'\]"):
        ciou.evaluate(given, ground_truth="consensus")
    given["box_sounding"][:] = False
    with pytest.raises(ValueError, match="ciou: none of 1 corresponding pairs has a usable sounding box"):
        ciou.evaluate(given)


def vggss() -> np.ndarray:
    """Load the boxes of today's vggss.json, a row for each clip."""
    if not VGGSS.exists():
        pytest.skip(f"{VGGSS} is absent")
    clips = json.loads(VGGSS.read_text())
    boxes = np.full((len(clips), max(len(clip["bbox"]) for clip in clips), 4), np.nan)
    for row, clip in zip(boxes, clips, strict=True):
        row[: len(clip["bbox"])] = np.array(clip["bbox"], float)[:, [1, 0, 3, 2]]  # file: xmin, ymin, xmax, ymax
    outside = (np.abs(boxes - 0.5) > 0.501).any(axis=-1)
    assert outside.sum() == OUTSIDE
    boxes[outside] = NOTHING
    return boxes


def test_baselines_on_vggss():
    """The centred disc alone nearly reaches what LVS reports (.344, .382, on boxes that were revised since)."""
    boxes = vggss()
    found = ciou.evaluate(arrays(np.random.default_rng(1).random((len(boxes), 14, 14)), boxes))
    assert (len(boxes), found["items"], found["without_usable_box"], found["degenerate_boxes"]) == (
        5158,
        5156,
        2,
        18 - OUTSIDE,
    )
    expected = {"centre": (0.3404, 0.3745), "whole_image": (0.2196, 0.3127), "ceiling": (0.5056, 0.4949)}
    for name, scores in expected.items():
        assert tuple(found["baselines"][name].values()) == pytest.approx(scores, abs=5e-5)
    noise = found["baselines"]["random_map"]
    assert (noise["ciou"], noise["auc"]) == (pytest.approx(0.001, abs=0.002), pytest.approx(0.215, abs=0.003))
    assert found["ciou"] == pytest.approx(0.001, abs=0.002)


def test_baselines_on_vggss_with_pixels_above_the_threshold_only():
    """LVS's script predicts these pixels; docs/metrics/ciou.md quotes the third digits."""
    corners, usable = pixel_maps.pixel_corners(vggss())
    scored = usable.any(axis=1)
    middle = pixel_maps.centre_map()
    median = np.sort(middle, axis=None)[AREA // 2]
    above = middle > median
    assert (above.sum(), (middle >= median).sum()) == (25_084, 25_100)
    centre, whole, ceiling = [], [], []
    for frame_corners, frame_usable in zip(corners[scored], usable[scored], strict=True):
        truth = np.zeros((224, 224), bool)
        for top, left, bottom, right in frame_corners[frame_usable]:
            truth[top:bottom, left:right] = True
        covered, most = truth.sum(), AREA // 2 - 1  # above the median of a map without equal values
        centre.append((above & truth).sum() / (above | truth).sum())
        whole.append(covered / AREA)
        ceiling.append(min(most, covered) / max(most, covered))
    found = [tuple(ciou.scores(np.array(values)).values()) for values in (centre, whole, ceiling)]
    assert [tuple(np.round(scores, 3)) for scores in found] == [(0.340, 0.374), (0.220, 0.313), (0.505, 0.495)]
    assert sum(value == 1 for value in whole) == 3
