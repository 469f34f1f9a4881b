import numpy as np
import pytest
from scipy import optimize, special

from avlearn.evaluators import linear_probe


def split(rows=120, noise=1.0, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    of_row = rng.integers(classes, size=rows)
    centres = np.random.default_rng(7).normal(size=(classes, 6))
    features = (centres[of_row] + noise * rng.normal(size=(rows, 6))) * np.arange(1, 7) + 3
    return {"image_features": features.astype(np.float32), "labels": np.eye(classes, dtype=bool)[of_row]}


def test_reaches_the_optimum_that_scipy_finds():
    """The smoothed cross-entropy is convex: a long training reaches the optimum of L-BFGS."""
    data = split()
    classes = data["labels"].argmax(axis=1)
    features = (data["image_features"] - data["image_features"].mean(axis=0)) / data["image_features"].std(axis=0)
    target = 0.9 * np.eye(3)[classes] + 0.1 / 3

    def loss(flat):
        logits = features @ flat[:18].reshape(6, 3) + flat[18:]
        return -(target * special.log_softmax(logits, axis=1)).sum(axis=1).mean()

    best = optimize.minimize(loss, np.zeros(21), options={"gtol": 1e-6}).x
    weights, bias = linear_probe.train(
        data["image_features"],
        classes,
        count=3,
        epochs=1500,
        batch=120,
        learning_rate=0.05,
        label_smoothing=0.1,
        seed=0,
    )
    logits = data["image_features"] @ np.asarray(weights) + np.asarray(bias)
    expected = features @ best[:18].reshape(6, 3) + best[18:]
    np.testing.assert_allclose(special.softmax(logits, axis=1), special.softmax(expected, axis=1), atol=2e-3)


def test_metrics():
    train, test = split(300), split(90, seed=1)
    found = linear_probe.evaluate(test, train, epochs=30, learning_rate=0.02, items_expected=100)
    assert found["top1"] > found["baselines"]["majority"] + 0.3
    classes = test["labels"].argmax(axis=1)
    most = np.bincount(train["labels"].argmax(axis=1)).argmax()
    assert found["baselines"] == {"chance": 1 / 3, "majority": np.mean(classes == most), "untrained": None}
    assert (found["items"], found["items_expected"], found["fit"]["items"], found["classes"]) == (90, 100, 300, 3)
    assert (found["batch"], found["label_smoothing"]) == (256, 0.1)


def test_untrained_features_give_a_baseline():
    train, test = split(), split(60, seed=1)
    name = "untrained_image_features"
    found = linear_probe.evaluate(
        test | {name: test["image_features"]}, train | {name: train["image_features"]}, epochs=5, learning_rate=0.02
    )
    assert found["baselines"]["untrained"] == found["top1"]


def test_top1_by_hand():
    layer = (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 0.5]))
    features = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.8], [0.5, 0.0]])  # classes 0, 1, 1, and 0 of equal scores
    assert linear_probe.top1(layer, features, np.array([0, 1, 0, 0])) == 0.75


def test_moments_over_chunks(monkeypatch):
    monkeypatch.setattr(linear_probe, "_CHUNK", 7)
    features = np.random.default_rng(0).normal(size=(50, 4)) * [1, 10, 1e-3, 1] + [0, 100, 0, 5]
    features[:, 3] = 5.1
    mean, deviation = linear_probe.moments(features.astype(np.float32))
    np.testing.assert_allclose(mean, features.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(deviation[:3], features.std(axis=0)[:3], rtol=1e-3)
    assert deviation[3] == 1


@pytest.mark.parametrize(
    ("test", "fit", "options", "message"),
    [
        (split(), None, {}, ": no training features"),
        (split(), {"labels": split()["labels"]}, {}, r" \(fit\): missing \['image_features'\]"),
        (
            split(),
            {k: v[:0] for k, v in split().items()},
            {},
            r" \(fit\): no items: image_features, labels have 0 rows",
        ),
        (split(), split(classes=4), {}, ": labels has 3 columns in 120 rows, but 4 in the 120 rows of fit"),
        (
            split(),
            split() | {"labels": np.ones((120, 3), bool)},
            {},
            r" \(fit\): labels has several classes in 120 of 120",
        ),
        (split(), split(), {"label_smoothing": 1.0}, ": .*label_smoothing = 1.0"),
        (split(), split(), {"epochs": 0}, ": epochs = 0"),
    ],
)
def test_wrong_input_is_refused(test, fit, options, message):
    with pytest.raises(ValueError, match=f"^linear_probe{message}"):
        linear_probe.evaluate(test, fit, **options)
