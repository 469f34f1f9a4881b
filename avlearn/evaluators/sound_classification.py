"""Sound classification on the audio network's features (Look, Listen and Learn 3.4, table 2): ESC-50, DCASE 2013.

Features of equally spaced windows of one second are scaled to zero mean and unit variance, a one-vs-all linear SVM is
trained on the windows, and a clip's scores are the mean over its windows.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from avlearn.evaluators.numerics import array_checks, linear_svm, single_label
from avlearn.types import TableRow

NEEDS = ("audio_features", "clip", "labels", "fold")
OPTIONAL = ("untrained_audio_features", "tested")
PAIRING = "windows"
SOURCE_OPTIONS = ("dataset", "windows", "test_splits")
TABLE = (TableRow("accuracy", "Sound classification", "chance", "chance"),)
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
INNER_FOLDS = 5  # used if all training clips are in one fold, as in DCASE 2013


@dataclasses.dataclass(frozen=True)
class Windows:
    """Features of windows, and the classes of their clips.

    Attributes:
      features: one row per window.
      clip: number of each window's clip; every clip has a window.
      classes: class of each clip.
      count: number of classes.
    """

    features: Float[np.ndarray, "windows dim"]
    clip: Int[np.ndarray, " windows"]
    classes: Int[np.ndarray, " clips"]
    count: int


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    test_folds: Sequence[int] | None = None,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Compute the accuracy on each test fold after training on all other folds, and the mean over test folds.

    `choose_penalty` chooses the SVM's C by cross-validation on the training clips.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`): audio_features and clip have a row for each window,
        labels and fold a row for each clip. Optionally untrained_audio_features, for the baseline, and tested (a row
        for each clip): only the folds of these clips are tested on.
      fit: not used, since the SVM is trained on the clips of the other folds.
      test_folds: folds to test on; None: the folds of `tested`, or each in turn (ESC-50).
      penalties: values of C to choose from; a single value is used without choosing.
      seed: seed of the cross-validation within a single fold.
      items_expected: clips of the test folds; None: the clips given.

    Returns:
      accuracy (mean over test folds); fold_accuracy, fold_penalty (the C chosen) and fold_clips, by fold;
      not_converged (folds whose SVM ran out of steps); baselines: chance (1 / classes), majority (the training clips'
      most frequent class; mean over test folds), untrained (accuracy of the untrained network's features; None without
      them); classes, windows_per_clip (least and most), penalties, seed, items (test clips), items_expected.

    Raises:
      ValueError: arrays that are missing or wrong, clips without windows or without exactly one class, or folds that
        leave no clips to train on or to choose C on.
    """
    optional = [name for name in OPTIONAL[:1] if name in test]
    features, clip, *untrained = array_checks.arrays(
        "sound_classification", test, ("audio_features", "clip", *optional)
    )
    labels, fold = array_checks.arrays("sound_classification", test, ("labels", "fold"))
    _, classes = single_label.classes("sound_classification", labels, "only")
    tested = _tested(test, fold) if test_folds is None else list(test_folds)
    _check(clip, fold, tested, penalties)
    values = sorted(penalties)
    network, *others = (
        [_score_fold(Windows(each, clip, classes, labels.shape[1]), fold, one, values, seed) for one in tested]
        for each in (features, *untrained)
    )
    items, windows = int(np.isin(fold, tested).sum()), np.bincount(clip)
    return {
        "accuracy": float(np.mean([each["accuracy"] for each in network])),
        "fold_accuracy": {str(one): each["accuracy"] for one, each in zip(tested, network, strict=True)},
        "fold_penalty": {str(one): each["penalty"] for one, each in zip(tested, network, strict=True)},
        "fold_clips": {str(one): int((fold == one).sum()) for one in tested},
        "not_converged": [str(one) for one, each in zip(tested, network, strict=True) if not each["converged"]],
        "baselines": {
            "chance": 1 / labels.shape[1],
            "majority": float(np.mean([majority(classes[fold != one], classes[fold == one]) for one in tested])),
            "untrained": float(np.mean([each["accuracy"] for each in others[0]])) if others else None,
        },
        "protocol": f"one-vs-all linear SVM on z-scored windows, scores averaged; {len(tested)} test folds",
        "classes": labels.shape[1],
        "windows_per_clip": [int(windows.min()), int(windows.max())],
        "penalties": values,
        "seed": seed,
        "items": items,
        "items_expected": array_checks.expected(items, items_expected),
    }


def choose_penalty(
    windows: Windows,
    trained: Bool[np.ndarray, " clips"],
    fold: Int[np.ndarray, " clips"],
    penalties: Sequence[float],
    seed: int,
) -> float:
    """Choose the C with the best mean accuracy in cross-validation on the training clips; the smallest C wins a tie.

    The parts are the training clips' folds (ESC-50's folds keep recordings of one source together). Clips of a single
    fold are divided into `INNER_FOLDS` stratified parts, or fewer if the rarest class has fewer clips.

    Raises:
      ValueError: a class has only one training clip, so that a single fold cannot be divided.
    """
    if len(penalties) == 1:
        return penalties[0]
    part = np.where(trained, fold, -1)
    if len(np.unique(fold[trained])) == 1:
        clips = np.flatnonzero(trained)
        counts = np.bincount(windows.classes[clips])
        fewest = int(counts[counts > 0].min())
        if fewest < 2:
            raise ValueError(
                f"sound_classification: labels has a class with {fewest} row among {len(clips)} training clips; two "
                "are needed to choose C by cross-validation. Give one value of penalties, or more clips"
            )
        splitter = StratifiedKFold(min(INNER_FOLDS, fewest), shuffle=True, random_state=seed)
        for number, (_, held_out) in enumerate(splitter.split(clips, windows.classes[clips])):
            part[clips[held_out]] = number
    parts = np.unique(part[trained])
    found = [accuracies(windows, trained & (part != one), trained & (part == one), penalties)[0] for one in parts]
    return penalties[int(np.mean(found, axis=0).argmax())]


def accuracies(
    windows: Windows,
    trained: Bool[np.ndarray, " clips"],
    tested: Bool[np.ndarray, " clips"],
    penalties: Sequence[float],
) -> tuple[list[float], bool]:
    """Compute the accuracy on the tested clips for each C, in ascending order, and whether every SVM converged.

    The scaling is fitted on the windows of the training clips.
    """
    kind = np.result_type(windows.features.dtype, np.float32)
    scaler = StandardScaler(copy=False)
    train = scaler.fit_transform(windows.features[trained[windows.clip]].astype(kind))
    test = scaler.transform(windows.features[tested[windows.clip]].astype(kind))
    classes = windows.classes[windows.clip[trained[windows.clip]]]
    clip = (np.cumsum(tested) - 1)[windows.clip[tested[windows.clip]]]  # numbered from 0 among the tested clips
    found, converged, weights = [], True, None
    for penalty in penalties:
        weights, ended = linear_svm.fit(train, classes, count=windows.count, penalty=penalty, start=weights)
        scores = clip_scores(linear_svm.scores(test, weights), clip)
        found.append(float((scores.argmax(axis=1) == windows.classes[tested]).mean()))
        converged = converged and ended
    return found, converged


def clip_scores(
    scores: Float[np.ndarray, "windows classes"], clip: Int[np.ndarray, " windows"]
) -> Float[np.ndarray, "clips classes"]:
    """Compute mean scores over the windows of each clip; clips are numbered from 0, and each has a window."""
    sums = [np.bincount(clip, weights=class_scores) for class_scores in scores.T]
    return np.stack(sums, axis=1) / np.bincount(clip)[:, None]


def majority(trained: Int[np.ndarray, " n"], tested: Int[np.ndarray, " m"]) -> float:
    """Compute the accuracy of predicting the training clips' most frequent class; the first class wins a tie."""
    return float((tested == np.bincount(trained).argmax()).mean())


def _score_fold(
    windows: Windows, fold: Int[np.ndarray, " clips"], one: int, penalties: Sequence[float], seed: int
) -> dict[str, Any]:
    penalty = choose_penalty(windows, fold != one, fold, penalties, seed)
    found, converged = accuracies(windows, fold != one, fold == one, [penalty])
    return {"accuracy": found[0], "penalty": penalty, "converged": converged}


def _tested(test: Mapping[str, np.ndarray], fold: Int[np.ndarray, " clips"]) -> list[int]:
    """Return the folds to test on: the folds of the clips marked as tested, or all."""
    if "tested" not in test:
        return np.unique(fold).tolist()
    marked = array_checks.arrays("sound_classification", test, ("fold", "tested"))[1]
    return np.unique(fold[marked]).tolist()


def check_options(*, windows: int, **_: Any) -> None:
    """Check the options of the config.

    Raises:
      ValueError: less than 1 window.
    """
    if windows < 1:
        raise ValueError(
            f"sound_classification: windows = {windows}; "
            "--config.evaluation.sound_classification.windows must be at least 1"
        )


def _check(
    clip: Int[np.ndarray, " windows"],
    fold: Int[np.ndarray, " clips"],
    tested: Sequence[int],
    penalties: Sequence[float],
) -> None:
    clips = len(fold)
    outside = (clip < 0) | (clip >= clips)
    if outside.any():
        raise ValueError(
            f"sound_classification: clip is outside 0 to {clips - 1} {array_checks.in_rows(outside)}; it is the row "
            f"of labels and fold, which have {clips}"
        )
    without = clips - len(np.unique(clip))
    if without:
        raise ValueError(f"sound_classification: {without} of {clips} rows of labels have no window in clip")
    for one in tested:
        rows = int((fold == one).sum())
        if rows in (0, clips):
            raise ValueError(
                f"sound_classification: fold is {one} in {rows} of {clips} rows; a test fold needs clips, and other "
                f"folds need clips to train on. Folds given: {np.unique(fold).tolist()}"
            )
    if not tested:
        raise ValueError("sound_classification: test_folds is empty; None tests on each fold in turn")
    if not penalties or min(penalties) <= 0:
        raise ValueError(f"sound_classification: penalties = {tuple(penalties)}; at least one, each above 0")
