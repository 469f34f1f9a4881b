import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from avlearn.evaluators import sound_classification
from avlearn.evaluators.numerics import linear_svm

PENALTIES = (1e-3, 1e-1, 10.0)


def esc(clips=36, windows=3, classes=3, folds=3, noise=1.5, seed=0):
    """Return windows of clips in random order, noisy per clip and per window; features differ in mean and scale."""
    rng = np.random.default_rng(seed)
    of_clip = np.arange(clips) % classes
    centres = np.random.default_rng(7).normal(size=(classes, 8))
    clip = rng.permutation(np.repeat(np.arange(clips), windows))
    of_its_clip = 0.7 * noise * rng.normal(size=(clips, 8))
    features = centres[of_clip[clip]] + of_its_clip[clip] + 0.7 * noise * rng.normal(size=(len(clip), 8))
    return {
        "audio_features": features * np.arange(1, 9) + 5,
        "clip": clip,
        "labels": np.eye(classes, dtype=bool)[of_clip],
        "fold": 1 + np.arange(clips) // classes % folds,
    }


def by_scikit_learn(arrays, trained, tested, penalty):
    """Compute the accuracy on the tested clips, window by window and clip by clip."""
    classes = arrays["labels"].argmax(axis=1)
    rows = np.isin(arrays["clip"], np.flatnonzero(trained))
    scaler = StandardScaler().fit(arrays["audio_features"][rows])
    svm = LinearSVC(C=penalty, dual=False, tol=1e-8, max_iter=10_000)
    svm.fit(scaler.transform(arrays["audio_features"][rows]), classes[arrays["clip"][rows]])
    right = []
    for one in np.flatnonzero(tested):
        of_windows = svm.decision_function(scaler.transform(arrays["audio_features"][arrays["clip"] == one]))
        right.append(of_windows.mean(axis=0).argmax() == classes[one])
    return np.mean(right)


def test_agrees_with_a_loop_over_scikit_learn():
    arrays = esc()
    found = sound_classification.evaluate(arrays, penalties=PENALTIES)
    fold = arrays["fold"]
    for one in (1, 2, 3):
        others = [each for each in (1, 2, 3) if each != one]
        inner = [
            np.mean([by_scikit_learn(arrays, ~np.isin(fold, (one, each)), fold == each, c) for each in others])
            for c in PENALTIES
        ]
        best = PENALTIES[int(np.argmax(inner))]
        assert found["fold_penalty"][str(one)] == best
        assert found["fold_accuracy"][str(one)] == pytest.approx(
            by_scikit_learn(arrays, fold != one, fold == one, best)
        )
    assert found["accuracy"] == pytest.approx(np.mean(list(found["fold_accuracy"].values())))
    assert found["accuracy"] > 0.6
    assert found["not_converged"] == []
    assert found["baselines"]["chance"] == pytest.approx(1 / 3)
    assert found["baselines"]["untrained"] is None
    assert (found["items"], found["items_expected"], found["windows_per_clip"]) == (36, 36, [3, 3])
    assert found["fold_clips"] == {"1": 12, "2": 12, "3": 12}


def test_one_division_as_in_dcase():
    arrays = esc(clips=40, windows=2, classes=4) | {"fold": 1 + np.arange(40) // 4 % 2}
    found = sound_classification.evaluate(arrays, test_folds=(2,), penalties=(0.1,), items_expected=25)
    expected = by_scikit_learn(arrays, arrays["fold"] == 1, arrays["fold"] == 2, 0.1)
    assert found["accuracy"] == pytest.approx(expected)
    assert list(found["fold_accuracy"]) == ["2"]
    assert (found["items"], found["items_expected"]) == (20, 25)
    marked = sound_classification.evaluate(arrays | {"tested": arrays["fold"] == 2}, penalties=(0.1,))
    assert marked["fold_accuracy"] == found["fold_accuracy"]


def test_penalty_within_one_fold_is_chosen_on_separate_clips(monkeypatch):
    """No clip is on both sides, every training clip is held out once, and the test fold is never used."""
    arrays = esc(clips=40, windows=2, classes=4)
    windows = sound_classification.Windows(
        arrays["audio_features"], arrays["clip"], arrays["labels"].argmax(axis=1), count=4
    )
    trained = np.arange(40) < 24
    seen = []

    def spy(windows, trained, tested, penalties):
        seen.append((trained, tested))
        return [0.5, 0.7, 0.7], True

    monkeypatch.setattr(sound_classification, "accuracies", spy)
    fold = np.where(trained, 0, 1)
    assert sound_classification.choose_penalty(windows, trained, fold, PENALTIES, seed=0) == PENALTIES[1]
    assert len(seen) == 5
    for train, held_out in seen:
        assert not (train & held_out).any()
        np.testing.assert_array_equal(train | held_out, trained)
    np.testing.assert_array_equal(np.sum([held_out for _, held_out in seen], axis=0), trained.astype(int))


def test_scaling_is_fitted_on_the_training_windows(monkeypatch):
    """Distant test windows do not change the scaling."""
    arrays = esc()
    fitted = []
    original = linear_svm.fit

    def spy(features, *args, **kwargs):
        fitted.append(features)
        return original(features, *args, **kwargs)

    monkeypatch.setattr(linear_svm, "fit", spy)
    far = arrays["fold"][arrays["clip"]] == 2
    arrays["audio_features"][far] += 1000
    sound_classification.evaluate(arrays, test_folds=(2,), penalties=(0.1,))
    assert len(fitted) == 1
    np.testing.assert_allclose(fitted[0].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(fitted[0].std(axis=0), 1)


def test_scores_are_averaged_over_windows_by_hand():
    scores = np.array([[1.0, 0.0], [0.0, 4.0], [3.0, 0.0], [2.0, 1.0]])
    found = sound_classification.clip_scores(scores, np.array([0, 0, 1, 0]))
    np.testing.assert_allclose(found, [[1, 5 / 3], [3, 0]])


def test_baselines_on_uneven_classes():
    arrays = esc()
    rows = np.flatnonzero(np.arange(36) % 3 == 0)[:6]  # of class 0, two in each fold: now of class 1
    arrays["labels"][rows] = [False, True, False]
    fold, classes = arrays["fold"], arrays["labels"].argmax(axis=1)
    found = sound_classification.evaluate(arrays, penalties=(0.1,))
    assert found["baselines"]["majority"] == pytest.approx(
        np.mean([(classes[fold == f] == 1).mean() for f in (1, 2, 3)])
    )
    assert sound_classification.majority(np.array([0, 1, 1]), np.array([1, 0, 2, 1])) == 0.5


def test_untrained_features_give_a_baseline():
    arrays, other = esc(), esc(noise=4.0, seed=1)
    other = other | {"clip": arrays["clip"], "audio_features": other["audio_features"]}
    given = arrays | {"untrained_audio_features": other["audio_features"]}
    found = sound_classification.evaluate(given, penalties=PENALTIES)
    assert found["accuracy"] == sound_classification.evaluate(arrays, penalties=PENALTIES)["accuracy"]
    assert found["baselines"]["untrained"] == sound_classification.evaluate(other, penalties=PENALTIES)["accuracy"]


def test_features_may_have_half_precision():
    arrays = esc()
    half = arrays | {"audio_features": arrays["audio_features"].astype(np.float16)}
    found = sound_classification.evaluate(half, penalties=(0.1,))["accuracy"]
    assert found == pytest.approx(sound_classification.evaluate(arrays, penalties=(0.1,))["accuracy"], abs=0.06)


def changed(name, rows, value):
    arrays = esc()
    arrays[name][rows] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"audio_features": np.ones((4, 2))}, {}, r"missing \['clip'\]; it needs .*'audio_features', 'clip'"),
        ({k: v for k, v in esc().items() if k != "fold"}, {}, r"missing \['fold'\]"),
        (esc() | {"clip": np.arange(5)}, {}, r"different numbers of rows: .*'audio_features': 108, 'clip': 5"),
        (esc() | {"fold": np.arange(5)}, {}, r"different numbers of rows: .*'labels': 36, 'fold': 5"),
        ({k: v[:0] for k, v in esc().items()}, {}, "no items: audio_features, clip have 0 rows"),
        (changed("audio_features", [3, 9], np.nan), {}, "audio_features is not finite in 2 of 108 rows"),
        (esc() | {"untrained_audio_features": np.full((108, 2), np.inf)}, {}, "untrained_audio_features is not finite"),
        (
            changed("clip", [0, 1, 2], 36),
            {},
            "clip is outside 0 to 35 in 3 of 108 rows, first in row .*labels and fold, which have 36",
        ),
        (changed("clip", esc()["clip"] == 7, 8), {}, "1 of 36 rows of labels have no window in clip"),
        (changed("labels", [0, 5], True), {}, "labels has several classes in 2 of 36 rows, first in row 0"),
        (changed("labels", [4], False), {}, "labels has no class in 1 of 36 rows, first in row 4"),
        (
            esc() | {"labels": 2 * esc()["labels"].astype(int)},
            {},
            "labels is 2 in 36 of 36 rows, first in row 0; expected true or false",
        ),
        (esc() | {"fold": np.ones(36, int)}, {}, "fold is 1 in 36 of 36 rows"),
        (esc(), {"test_folds": (9,)}, r"fold is 9 in 0 of 36 rows.*Folds given: \[1, 2, 3\]"),
        (esc(), {"test_folds": ()}, "test_folds is empty"),
        (esc() | {"tested": np.ones(5, bool)}, {}, r"different numbers of rows: .*'fold': 36, 'tested': 5"),
        (esc(), {"penalties": (1.0, 0.0)}, r"penalties = \(1.0, 0.0\)"),
        (esc(clips=6, folds=2), {}, "a class with 1 row among 3 training clips"),
    ],
)
def test_wrong_input_is_refused(arrays, options, message):
    with pytest.raises(ValueError, match=f"^sound_classification: .*{message}"):
        sound_classification.evaluate(arrays, **options)
