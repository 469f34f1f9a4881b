import numpy as np
import pytest
from sklearn import metrics

from avlearn.evaluators import avc_accuracy


def test_by_hand():
    # Predicted positive: rows 0, 3, 4. Right: 0, 3 (positives), 2, 5 (negatives); 0 exactly counts as negative.
    arrays = {
        "logit": np.array([0.5, -1.0, 0.0, 2.0, 0.1, -3.0]),
        "corresponds": np.array([True, True, False, True, False, False]),
        "image_item": np.array([0, 1, 0, 2, 1, 2]),
    }
    found = avc_accuracy.evaluate(arrays, items_expected=4)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["predicted_positive"] == pytest.approx(3 / 6)
    # Of the 9 pairs (positive, negative): .5 and 2.0 beat all three, -1.0 beats one.
    assert found["roc_auc"] == pytest.approx(7 / 9)
    assert found["baselines"] == {"chance": 0.5, "constant": 0.5}
    assert (found["items"], found["items_expected"]) == (6, 8)


def test_draws_are_averaged_by_hand():
    # Two clips, two draws. Positives: right, wrong. Negatives of draw 0: wrong, right; of draw 1: right, right.
    arrays = {
        "logit": np.array([1.0, -1.0, 2.0, -2.0, -0.5, -3.0]),
        "corresponds": np.array([True, True, False, False, False, False]),
        "image_item": np.array([0, 1, 0, 1, 0, 1]),
        "pair_draw": np.array([-1, -1, 0, 0, 1, 1]),
    }
    found = avc_accuracy.evaluate(arrays, items_expected=3)
    assert found["accuracy_of_draws"] == [2 / 4, 3 / 4]
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["predicted_positive"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    # Pairs (positive, negative) in order: 1 < 2, 1 > -2, -1 < 2, -1 > -2; and 1 > -.5, 1 > -3, -1 < -.5, -1 > -3.
    assert found["roc_auc"] == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert (found["draws"], found["items"], found["items_expected"]) == (2, 6, 9)
    # A clip's share over the draws: clip 0 has (1 + (0 + 1) / 2) / 2 = 3/4, clip 1 (0 + (1 + 1) / 2) / 2 = 1/2.
    low, high = found["accuracy_interval"]
    assert (low, high) == pytest.approx((1 / 2, 3 / 4))
    arrays["pair_draw"] = np.array([-1, -1, 0, 0, 0, 1])
    with pytest.raises(ValueError, match=r"2 of 6 pairs correspond, and the draws have \[3, 1\] negatives"):
        avc_accuracy.evaluate(arrays)


def test_a_logit_of_zero_is_negative():
    arrays = {
        "logit": np.zeros(4),
        "corresponds": np.array([True, False, True, False]),
        "image_item": np.array([0, 0, 1, 1]),
    }
    found = avc_accuracy.evaluate(arrays)
    assert found["predicted_positive"] == 0
    assert found["accuracy"] == 0.5
    assert found["accuracy_interval"] == [0.5, 0.5]  # each clip has one right and one wrong pair, whichever are drawn
    assert found["roc_auc"] == 0.5


def test_threshold_is_chosen_on_other_clips_by_hand():
    # Right of six at a threshold below all: 3; above -2: 4; above 0: 5; above 1: 4; above 2: 5; above 3: 4; above 5: 3.
    fit = {
        "logit": np.array([3.0, -2.0, 2.0, 5.0, 0.0, 1.0]),
        "corresponds": np.array([True, False, False, True, False, True]),
    }
    assert avc_accuracy.best_threshold(fit["logit"], fit["corresponds"]) == (2.5, pytest.approx(5 / 6))
    arrays = {
        "logit": np.array([2.4, 2.6, 9.0, 2.5]),
        "corresponds": np.array([True, False, True, False]),
        "image_item": np.array([0, 0, 1, 1]),
    }
    found = avc_accuracy.evaluate(arrays, fit, threshold="validation")
    assert found["threshold"] == 2.5
    assert found["accuracy"] == 2 / 4  # exactly the threshold is below it
    assert found["fit"] == {"accuracy": pytest.approx(5 / 6), "items": 6}
    assert avc_accuracy.evaluate(arrays)["threshold"] == 0
    assert avc_accuracy.evaluate(arrays)["accuracy"] == 2 / 4


def test_the_best_threshold_may_be_below_or_above_all():
    # Right of three at a threshold below all: 2; above 1: 1; above 2: 0; above 3: 1.
    logit = np.array([3.0, 1.0, 2.0])
    corresponds = np.array([False, True, True])
    assert avc_accuracy.best_threshold(logit, corresponds) == (0.5, pytest.approx(2 / 3))
    assert avc_accuracy.best_threshold(logit, ~corresponds) == (2.5, 1.0)
    assert avc_accuracy.best_threshold(logit, np.zeros(3, bool)) == (3.5, 1.0)
    assert avc_accuracy.best_threshold(logit, np.ones(3, bool)) == (0.5, 1.0)
    # Every pair is predicted to correspond.
    pairs = {"logit": logit[:2], "corresponds": corresponds[:2], "image_item": np.array([0, 0])}
    found = avc_accuracy.evaluate(pairs, {"logit": logit, "corresponds": corresponds}, threshold="validation")
    assert (found["threshold"], found["predicted_positive"], found["accuracy"]) == (0.5, 1.0, 0.5)


def test_no_threshold_is_better():
    rng = np.random.default_rng(1)
    for _ in range(20):
        corresponds = rng.random(30) < 0.5
        logit = np.round(rng.normal(size=30) + corresponds, 1)  # rounded: with ties
        threshold, accuracy = avc_accuracy.best_threshold(logit, corresponds)
        everywhere = np.concatenate([[-9], np.unique(logit)])
        assert accuracy == max(((logit > value) == corresponds).mean() for value in everywhere)
        assert ((logit > threshold) == corresponds).mean() == accuracy
        assert threshold not in logit


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    corresponds = rng.permutation(np.repeat([True, False], 100))
    logit = np.round(rng.normal(size=200) + corresponds, 1).astype(np.float32)  # rounded: with ties
    found = avc_accuracy.evaluate({"logit": logit, "corresponds": corresponds, "image_item": np.arange(200) // 2})
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(corresponds, logit > 0))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(corresponds, logit))
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 200), rel=0.3)  # the normal approximation


@pytest.mark.parametrize(
    ("draw", "message"), [([-1, -1], "-1 where corresponds is False"), ([0, 0], "0 where .* True")]
)
def test_draws_that_contradict_the_pairs_are_refused(draw, message):
    arrays = {"logit": np.zeros(2), "corresponds": np.array([True, False]), "image_item": np.zeros(2, int)}
    with pytest.raises(ValueError, match=f"^avc_accuracy: pair_draw is {message} in 1 of 2 rows, first in row "):
        avc_accuracy.evaluate(arrays | {"pair_draw": np.array(draw)})


def test_unbalanced_pairs_are_refused():
    arrays = {"logit": np.zeros(3), "corresponds": np.array([True, True, False]), "image_item": np.arange(3)}
    with pytest.raises(ValueError, match=r"avc_accuracy: 2 of 3 pairs.*half of each draw.*pairing 'avc_draws'"):
        avc_accuracy.evaluate(arrays)
