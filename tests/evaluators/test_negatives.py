"""Precision and recall with silent and off-screen audio as negatives, worked by hand."""

import numpy as np
import pytest

from avlearn.evaluators import negatives

NONE = [np.nan] * 4
LEFT = [0.0, 0.0, 1.0, 0.5]


def maps(maxima, left):
    """Return maps of 2 x 2 whose left (or right) half has the maximum and whose other half is 0."""
    made = np.zeros((len(maxima), 2, 2))
    for one, maximum, on_left in zip(made, maxima, left, strict=True):
        one[:, 0 if on_left else 1] = maximum
    return made


def by_hand():
    # Two clips with a box on the left, one without a box. Own audio: .9 localized, .4 mislocalized, and .6
    # on the third. Another clip's audio: .7, .2, .1. Silence: .5, .3, .05.
    return {
        "heat_map": maps([0.9, 0.4, 0.6, 0.7, 0.2, 0.1, 0.5, 0.3, 0.05], [True, False, *[True] * 7]),
        "corresponds": np.repeat([True, False, False], 3),
        "silent": np.repeat([False, False, True], 3),
        "boxes": np.array([[LEFT], [LEFT], [NONE]] * 3),
        "box_sounding": np.array([[True], [True], [False]] * 3),
        "image_item": np.tile([0, 1, 2], 3),
    }


def test_kinds_by_hand():
    found = negatives.evaluate(by_hand())
    # Off-screen, from the top: .9 found (precision 1, recall 1: one of two is found, the other is mislocalized
    # when reached). Down to .7: 1 found, 1 false alarm; down to .4: 1 found, 2 false.
    # Recall = found / (found + missed): at .9 it is 1 / 2, for .4 is missed; at .4 it is 1 / 1.
    # Precision at .4 and below: 1 / 3 (.9 found, .7 and .4 false), interpolated over the second half of the recall.
    assert found["off_screen"]["average_precision"] == pytest.approx(0.5 * 1 + 0.5 / 3)
    # F1 = 2 found / (2 found + false + missed): 2 / 3 at .9, 2 / 4 at .7, 2 / 4 at .4.
    assert found["off_screen"]["max_f1"] == pytest.approx(2 / 3)
    # Silence: .9 (found), .5 (false), .4 (mislocalized).
    assert found["silence"]["average_precision"] == pytest.approx(0.5 * 1 + 0.5 / 3)
    # All: .9 found, .7, .5 and .4 false: precision 1 / 4 where the recall is 1.
    assert found["all"]["average_precision"] == pytest.approx(0.5 * 1 + 0.5 / 4)
    assert found["out_of_sight"] is None
    assert [found[name]["negatives"] for name in ("off_screen", "silence", "all")] == [3, 3, 6]
    # A constant confidence predicts all pairs: 1 of 8 is right, recall 1; F1 = 2 / (2 + 7).
    assert found["baselines"]["constant"] == {"average_precision": 1 / 8, "max_f1": pytest.approx(2 / 9)}
    assert (found["items"], found["without_usable_box"], found["items_expected"]) == (2, 1, 3)


def test_sounds_from_out_of_sight_are_negatives_on_request():
    found = negatives.evaluate(by_hand(), out_of_sight="negatives", items_expected=5)
    # .9 found, .6 (the third clip) false, .4 mislocalized.
    assert found["out_of_sight"]["average_precision"] == pytest.approx(0.5 * 1 + 0.5 / 3)
    assert (found["out_of_sight"]["negatives"], found["all"]["negatives"]) == (1, 7)
    assert found["all"]["average_precision"] == pytest.approx(0.5 * 1 + 0.5 / 5)
    assert found["items_expected"] == 5


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"out_of_sight": "yes"}, "evaluation.negatives.out_of_sight is 'yes'; .* takes left_out, negatives"),
        ({}, {"protocol": "mean"}, "evaluation.negatives.protocol is 'mean'; .* takes median"),
        (
            {"corresponds": np.ones(9, bool)},
            {},
            "negatives: 6 pairs with a usable sounding box and 0 negatives in 9 rows",
        ),
        ({"box_sounding": np.zeros((9, 1), bool)}, {}, "negatives: 0 pairs with a usable sounding box and 6 negatives"),
    ],
)
def test_wrong_input_is_refused(change, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        negatives.evaluate(by_hand() | change, **options)
