import numpy as np
import pytest
from sklearn.svm import LinearSVC

from avlearn.evaluators.numerics import linear_svm


def problem(classes, rows=120, dim=6, overlap=1.0, dtype=np.float64):
    rng = np.random.default_rng(0)
    of_row = np.arange(rows) % classes
    centres = rng.normal(size=(classes, dim))
    return (centres[of_row] + overlap * rng.normal(size=(rows, dim))).astype(dtype), of_row


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_agrees_with_scikit_learn(penalty):
    features, classes = problem(4)
    weights, converged = linear_svm.fit(features, classes, count=4, penalty=penalty, tolerance=1e-8)
    other = LinearSVC(C=penalty, dual=False, tol=1e-10, max_iter=10_000).fit(features, classes)
    assert converged
    np.testing.assert_allclose(weights[:-1], other.coef_.T, atol=1e-5)
    np.testing.assert_allclose(weights[-1], other.intercept_, atol=1e-5)
    np.testing.assert_allclose(linear_svm.scores(features, weights), other.decision_function(features), atol=1e-4)


def test_two_rows_by_hand():
    """Rows 1 and -1 of the classes 0 and 1: w^2 / 2 + 2 C (1 - w)^2 is least at w = 4 C / (1 + 4 C); no intercept."""
    weights, _ = linear_svm.fit(np.array([[1.0], [-1.0]]), np.array([0, 1]), count=2, penalty=0.5, tolerance=1e-9)
    np.testing.assert_allclose(weights, [[2 / 3, -2 / 3], [0, 0]], atol=1e-8)


def test_other_initial_weights_reach_the_same_optimum():
    features, classes = problem(3)
    once, _ = linear_svm.fit(features, classes, count=3, penalty=1.0, tolerance=1e-8)
    first, _ = linear_svm.fit(features, classes, count=3, penalty=0.01)
    again, _ = linear_svm.fit(features, classes, count=3, penalty=1.0, tolerance=1e-8, start=first)
    np.testing.assert_allclose(again, once, atol=1e-6)


def test_float32_is_close():
    features, classes = problem(3, dtype=np.float32)
    exact, _ = linear_svm.fit(features.astype(np.float64), classes, count=3, penalty=0.1, tolerance=1e-8)
    weights, converged = linear_svm.fit(features, classes, count=3, penalty=0.1)
    assert converged
    np.testing.assert_allclose(weights, exact, atol=0.01)


def test_too_few_steps_are_reported():
    features, classes = problem(3)
    assert not linear_svm.fit(features, classes, count=3, penalty=10.0, tolerance=1e-8, steps=2)[1]


def test_a_class_without_rows_is_never_predicted():
    features, classes = problem(3)
    weights, _ = linear_svm.fit(features, classes, count=4, penalty=1.0)
    assert 3 not in linear_svm.scores(features, weights).argmax(axis=1)
