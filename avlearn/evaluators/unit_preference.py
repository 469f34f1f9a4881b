"""Unit preference: do single units respond to single classes? (Look, Listen and Learn 3.5, table 4).

A unit is a channel of conv4_2, and its activation the maximum over all positions (pool4). It has a high preference for
a class if at least 4 (or 3) of the 5 clips that activate it most are of that class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from avlearn.evaluators.numerics import array_checks
from avlearn.types import TableRow

NEEDS = ("image_pool4", "audio_pool4", "labels")
OPTIONAL = ("untrained_image_pool4", "untrained_audio_pool4")
PAIRING = "all_positive"
TOP = 5  # clips of highest activation
TABLE = tuple(
    TableRow(f"{mode}/{level}/classes", f"Classes with {level} clips of {unit}", "random", "random ranking", decimals=1)
    for mode, unit in (("image", "an image unit"), ("audio", "a sound unit"))
    for level in ("4 of 5", "3 of 5")
)


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    modalities: Sequence[str] = ("image", "audio"),
    top: int = TOP,
    agree: Sequence[int] = (4, 3),
    random_draws: int = 100,
    seed: int = 0,
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Count the units with a high preference and the classes that they prefer, for each mode.

    A clip with several classes counts for each of them, and a unit counts once. Clips of equal activation are ranked in
    a random order, the same for all units; otherwise a dataset sorted by class would create preferences. A dead unit
    (equal activation on all clips) has no preference.

    Args:
      test: labels, and `<mode>_pool4` for each mode (see `numerics/array_checks.py`); optionally
        `untrained_<mode>_pool4`, for the baseline.
      fit: not used.
      modalities: modes to score, `image` and `audio`.
      top: number of clips of highest activation that count.
      agree: how many of them must be of one class; one result for each.
      random_draws: draws of the random baseline.
      seed: seed of the order among equal activations, and of the draws.
      items_expected: clips of the split; None: the items given.

    Returns:
      image and audio, each `"4 of 5"`, ... to units and classes (that at least one such unit prefers); baselines:
      random (expectation for the same number of units that rank the clips at random) and untrained (None without such
      features) in the same form; units and dead_units, by mode; classes (that occur), random_draws, seed, items,
      items_expected.

    Raises:
      ValueError: arrays that are missing or wrong, fewer clips than `top`, or an option out of range.
    """
    array_checks.modalities("unit_preference", modalities)
    names = [f"{mode}_pool4" for mode in modalities]
    optional = [name for name in (f"untrained_{each}" for each in names) if name in test]
    labels, *arrays = array_checks.arrays("unit_preference", test, ("labels", *names, *optional))
    _check_options(len(labels), top, agree, random_draws)
    given = dict(zip((*names, *optional), arrays, strict=True))
    order = np.random.default_rng(seed).permutation(len(labels))
    found = {name: counts(preferred(array, labels, order, top, agree)) for name, array in given.items()}
    by_mode = dict(zip(modalities, names, strict=True))
    return {mode: _named(found[name], top, agree) for mode, name in by_mode.items()} | {
        "baselines": {
            "random": {
                mode: _named(at_random(given[name].shape[1], labels, top, agree, random_draws, seed), top, agree)
                for mode, name in by_mode.items()
            },
            "untrained": {
                mode: _named(found[f"untrained_{name}"], top, agree) if f"untrained_{name}" in found else None
                for mode, name in by_mode.items()
            },
        },
        "protocol": f"maximum over positions of conv4_2; classes among the {top} clips of highest activation",
        "units": {mode: given[name].shape[1] for mode, name in by_mode.items()},
        "dead_units": {mode: int((~alive(given[name])).sum()) for mode, name in by_mode.items()},
        "classes": int(labels.any(axis=0).sum()),
        "random_draws": random_draws,
        "seed": seed,
        "items": len(labels),
        "items_expected": array_checks.expected(len(labels), items_expected),
    }


def preferred(
    activation: Float[np.ndarray, "n units"],
    labels: Bool[np.ndarray, "n classes"],
    order: Int[np.ndarray, " n"],
    top: int,
    agree: Sequence[int],
) -> Bool[np.ndarray, "levels units classes"]:
    """Return whether each unit has a high preference for each class, for each level of agreement.

    Args:
      activation: activation of each unit on each clip.
      labels: classes of each clip.
      order: clips, in the order in which they rank at equal activation.
      top: number of clips of highest activation that count.
      agree: levels: how many of them must be of one class.
    """
    strongest = order[np.argsort(-activation[order], axis=0, kind="stable")[:top]]
    return _levels(labels[strongest.T], agree) & alive(activation)[None, :, None]


def alive(activation: Float[np.ndarray, "n units"]) -> Bool[np.ndarray, " units"]:
    """Return whether a unit's activation varies over the clips."""
    return activation.max(axis=0) > activation.min(axis=0)


def counts(preference: Bool[np.ndarray, "levels units classes"]) -> Float[np.ndarray, "levels 2"]:
    """Count the units that prefer a class, and the classes that a unit prefers."""
    units, classes = preference.any(axis=2).sum(axis=1), preference.any(axis=1).sum(axis=1)
    return 1.0 * np.stack([units, classes], axis=1)


def at_random(
    units: int, labels: Bool[np.ndarray, "n classes"], top: int, agree: Sequence[int], draws: int, seed: int
) -> Float[np.ndarray, "levels 2"]:
    """Compute the mean of `counts` over draws of units that rank the clips in independent random orders."""
    rng = np.random.default_rng(seed)
    total = np.zeros((len(agree), 2))
    for _ in range(draws):
        clips = rng.integers(len(labels), size=(units, top))
        while (again := _repeats(clips)).any():
            clips[again] = rng.integers(len(labels), size=(int(again.sum()), top))
        total += counts(_levels(labels[clips], agree))
    return total / draws


def _repeats(clips: Int[np.ndarray, "units top"]) -> Bool[np.ndarray, " units"]:
    return (np.diff(np.sort(clips, axis=1), axis=1) == 0).any(axis=1)


def _levels(
    labels: Bool[np.ndarray, "units top classes"], agree: Sequence[int]
) -> Bool[np.ndarray, "levels units classes"]:
    together = labels.sum(axis=1)
    return np.stack([together >= level for level in agree])


def _named(found: Float[np.ndarray, "levels 2"], top: int, agree: Sequence[int]) -> dict[str, dict[str, float]]:
    return {
        f"{level} of {top}": {"units": float(units), "classes": float(classes)}
        for level, (units, classes) in zip(agree, found, strict=True)
    }


def check_clips(clips: int, _: int = 0, *, top: int = TOP) -> None:
    """Check that there are as many clips as count for a unit.

    Raises:
      ValueError: there are fewer.
    """
    if clips < top:
        raise ValueError(f"unit_preference: {clips} rows in labels; the top {top} need at least as many")


def _check_options(items: int, top: int, agree: Sequence[int], random_draws: int) -> None:
    if not agree or min(agree) < 1 or max(agree) > top:
        raise ValueError(f"unit_preference: agree = {tuple(agree)}; each is from 1 to top = {top}")
    check_clips(items, top=top)
    if random_draws < 1:
        raise ValueError(f"unit_preference: random_draws = {random_draws}; at least 1")
