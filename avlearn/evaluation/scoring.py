"""Runs evaluators on collected arrays and states what each metric was computed on."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from avlearn.evaluation.collect import FIT
from avlearn.types import Arrays

NOT_STATED = "not stated"
REFUSED = "refused"  # in place of figures: why an evaluator has none


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """One of avlearn/evaluators with its options.

    Attributes:
      name: of its file.
      needs: names of the arrays it reads.
      pairing: rows it is computed on: a key of the sources.
      evaluate: arrays to figures.
      options: keyword arguments of `evaluate`.
      optional: names of the arrays it reads where they are there.
      fit_needs: names of the arrays that it is fitted on; none where nothing is fitted.
      fit_on: which arrays those are: `FIT`, `VALIDATION` or `IMAGES_FIT`.
    """

    name: str
    needs: Sequence[str]
    pairing: str
    evaluate: Callable[..., dict]
    options: Mapping[str, Any]
    optional: Sequence[str] = ()
    fit_needs: Sequence[str] = ()
    fit_on: str = FIT

    @property
    def reads(self) -> dict[str, set[str]]:
        """Key of the arrays that it uses (its pairing, and what it is fitted on) to their names."""
        fit = {self.fit_on: {*self.fit_needs, *self.optional}} if self.fit_needs else {}
        return {self.pairing: {*self.needs, *self.optional}} | fit


def check_needs(evaluators: Iterable[Evaluator], available: set[str], network: str) -> None:
    """Checks before the first step that the network and the records deliver what evaluators read.

    Raises:
      ValueError: names the evaluator and what is missing.
    """
    for evaluator in evaluators:
        missing = [name for name in (*evaluator.needs, *evaluator.fit_needs) if name not in available]
        if missing:
            raise ValueError(
                f"the evaluator {evaluator.name} needs {', '.join(missing)}, which {network} does not deliver "
                f"(it delivers {', '.join(sorted(available))}). Leave it out of config.evaluation.evaluators."
            )


def results(evaluators: Iterable[Evaluator], arrays: Mapping[str, Arrays], about: Mapping) -> dict[str, dict]:
    """Figures, each with what it is of.

    Args:
      evaluators: what to compute.
      arrays: see `run`.
      about: network, checkpoint_step, seed, and sources: key of the arrays to dataset, split and clips (`Source`).
        What is not there is stated as such.

    Returns:
      Evaluator's name to its figures; of one that refuses its arrays, to the reason under `REFUSED`: it must not cost
      the others' figures (`check_refused`).
    """
    sources = about.get("sources", {})
    clips = {name: source.get("clips") for name, source in sources.items()}
    figures = {}
    stated = {name: about.get(name, NOT_STATED) for name in ("network", "checkpoint_step", "seed")}
    for evaluator in evaluators:
        source = sources.get(evaluator.pairing, {})
        try:
            # An evaluator that draws says its own seed.
            found = stated | run((evaluator,), arrays, clips=clips)[evaluator.name]
        except ValueError as error:
            figures[evaluator.name] = {REFUSED: str(error)}
            continue
        figures[evaluator.name] = found | {name: source.get(name, NOT_STATED) for name in ("dataset", "split")}
        if evaluator.fit_needs:
            fit = sources.get(evaluator.fit_on, {})
            names = {"dataset": "dataset", "split": "split", "clips": "clips_of_split", "rule": "rule"}
            found["fit"] |= {title: fit.get(name, NOT_STATED) for name, title in names.items()}
    return figures


def check_refused(results: Mapping[str, Mapping]) -> None:
    """Raises what evaluators had to say against their arrays, once the figures of the others are safe.

    Raises:
      ValueError: an evaluator has refused its arrays.
    """
    reasons = [figures[REFUSED] for figures in results.values() if REFUSED in figures]
    if reasons:
        raise ValueError("\n".join(reasons))


def run(
    evaluators: Iterable[Evaluator], arrays: Mapping[str, Arrays], *, clips: Mapping[str, int | None]
) -> dict[str, dict]:
    """Runs evaluators on collected arrays.

    Args:
      evaluators: what to compute.
      arrays: pairing to arrays; under `fit_on`, what evaluators with `fit_needs` are fitted on. Arrays
        that an evaluator makes, such as positions on a map, are added as `<evaluator>_<name>`.
      clips: pairing to the clips there should be; None: as many as are given.

    Returns:
      Evaluator's name to its figures.

    Raises:
      ValueError: the arrays of a pairing are missing, or an evaluator refuses them.
    """
    results = {}
    for evaluator in evaluators:
        figures = evaluator.evaluate(
            _of_pairing(evaluator, arrays, evaluator.pairing),
            _of_pairing(evaluator, arrays, evaluator.fit_on) if evaluator.fit_needs else None,
            items_expected=clips.get(evaluator.pairing),
            **evaluator.options,
        )
        for name, array in figures.pop("arrays", {}).items():
            arrays[evaluator.pairing][f"{evaluator.name}_{name}"] = array
        results[evaluator.name] = figures
    return results


def _of_pairing(evaluator: Evaluator, arrays: Mapping[str, Arrays], pairing: str) -> Arrays:
    if pairing not in arrays:
        needs = evaluator.needs if pairing == evaluator.pairing else evaluator.fit_needs
        raise ValueError(
            f"{evaluator.name}: no arrays {pairing}/..., 0 rows; there are {', '.join(sorted(arrays)) or 'none'}. They "
            f"should hold {', '.join(needs)} (docs/metrics/scoring.md)"
        )
    return arrays[pairing]
