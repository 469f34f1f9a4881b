"""Runs evaluators on collected arrays and states the data behind each metric."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from avlearn.evaluation.collect import FIT
from avlearn.types import Arrays, per_evaluator

LOG = logging.getLogger("avlearn")
NOT_STATED = "not stated"
REFUSED = "refused"  # key of the reason that replaces the metrics if an evaluator refuses its arrays


@dataclasses.dataclass(frozen=True)
class Needs:
    """Arrays that an evaluator needs; `registry.needs` reads them from its module.

    Attributes:
      evaluator: name of the evaluator's file.
      arrays: names of the arrays that it reads.
      pairing: key of the source of its rows.
      optional: names of arrays that it reads if they are present.
      fit_needs: names of the arrays that it is fitted on; empty if nothing is fitted.
      fit_on: key of the source of these arrays: `FIT`, `VALIDATION` or `IMAGES_FIT`.
    """

    evaluator: str
    arrays: Sequence[str]
    pairing: str
    optional: Sequence[str] = ()
    fit_needs: Sequence[str] = ()
    fit_on: str = FIT

    @property
    def by_source(self) -> dict[str, set[str]]:
        """Key of each source that the evaluator reads (its pairing, and `fit_on`) to the names of the arrays."""
        fit = {self.fit_on: {*self.fit_needs, *self.optional}} if self.fit_needs else {}
        return {self.pairing: {*self.arrays, *self.optional}} | fit


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """An evaluator of avlearn/evaluators with its options.

    Attributes:
      needs: arrays that it needs.
      evaluate: function from arrays to metrics.
      options: keyword arguments of `evaluate`.
    """

    needs: Needs
    evaluate: Callable[..., dict]
    options: Mapping[str, Any]


def check_needs(needs: Iterable[Needs], available: set[str], network: str) -> None:
    """Check, before the first step, that the network and the records provide the arrays that evaluators read.

    Raises:
      ValueError: names the evaluator and the missing arrays.
    """
    for each in needs:
        missing = [name for name in (*each.arrays, *each.fit_needs) if name not in available]
        if missing:
            raise ValueError(
                f"the evaluator {each.evaluator} needs {', '.join(missing)}, which {network} does not provide "
                f"(it provides {', '.join(sorted(available))}). Leave it out of --config.evaluation.evaluators."
            )


def results(
    evaluators: Iterable[Evaluator],
    arrays: Mapping[str, Arrays],
    about: Mapping,
    unreadable: Mapping[str, str] | None = None,
) -> dict[str, dict]:
    """Compute the metrics of evaluators, each with the network and the data behind it.

    Args:
      evaluators: evaluators to run.
      arrays: see `run`.
      about: network, checkpoint_step, seed, and sources: key of the arrays to dataset, split, clips and rule
        (`ArraySource.facts`). Missing facts are stated as `NOT_STATED`.
      unreadable: `pairing/name` of arrays that cannot be read to the reason.

    Returns:
      Name of the evaluator to its metrics, or, if it refuses its arrays or fails, to the reason under `REFUSED`, so
      that the metrics of the others are not lost (`check_refused`).
    """
    sources = about.get("sources", {})
    clips = {name: source.get("clips") for name, source in sources.items()}
    stated = {name: about.get(name, NOT_STATED) for name in ("network", "checkpoint_step", "seed")}
    found = {}
    for evaluator in evaluators:
        needs = evaluator.needs
        source = sources.get(needs.pairing, {})
        try:
            _check_readable(evaluator, unreadable or {})
            # An evaluator that draws random numbers states its own seed.
            metrics = stated | run((evaluator,), arrays, clips=clips)[needs.evaluator]
        except ValueError as error:
            named = str(error).startswith(needs.evaluator)  # those of libraries do not name it
            found[needs.evaluator] = {REFUSED: str(error) if named else f"{needs.evaluator}: {error}"}
            continue
        except Exception as error:  # a fault of the evaluator, which must not cost the others' metrics
            LOG.exception("The evaluator %s failed:", needs.evaluator)
            found[needs.evaluator] = {REFUSED: f"{needs.evaluator} failed: {error!r}"}
            continue
        if needs.fit_needs:
            fit = sources.get(needs.fit_on, {})
            names = {"dataset": "dataset", "split": "split", "clips": "clips_of_split", "rule": "rule"}
            metrics["fit"] |= {title: fit.get(name, NOT_STATED) for name, title in names.items()}
        if "note" in source:
            metrics["protocol"] += f"; {source['note']}"
        found[needs.evaluator] = metrics | {name: source.get(name, NOT_STATED) for name in ("dataset", "split")}
    return found


def _check_readable(evaluator: Evaluator, unreadable: Mapping[str, str]) -> None:
    """Check that the arrays that an evaluator reads could be read.

    Raises:
      ValueError: names the first that could not, and the reason.
    """
    needs = evaluator.needs
    read = [f"{source}/{name}" for source, names in needs.by_source.items() for name in sorted(names)]
    read += [f"about/{name}" for name in evaluator.options if name == "class_relevance"]
    for key in read:
        if key in unreadable:
            raise ValueError(f"{needs.evaluator}: {unreadable[key]}; see docs/metrics/scoring.md")


def check_refused(results: Mapping[str, Mapping]) -> None:
    """Raise the reasons of evaluators that refused their arrays; call it after the results are saved.

    Raises:
      ValueError: an evaluator has refused its arrays, or failed.
    """
    reasons = [found[REFUSED] for _, found in per_evaluator(results) if REFUSED in found]
    if reasons:
        raise ValueError("\n".join(reasons))


def run(
    evaluators: Iterable[Evaluator], arrays: Mapping[str, Arrays], *, clips: Mapping[str, int | None]
) -> dict[str, dict]:
    """Run evaluators on collected arrays.

    Args:
      evaluators: evaluators to run.
      arrays: pairing to arrays; under `fit_on`, the arrays that evaluators with `fit_needs` are fitted on. Arrays that
        an evaluator returns, such as positions on a map, are added as `<evaluator>_<name>`.
      clips: pairing to the expected number of clips; None: the clips given.

    Returns:
      Name of the evaluator to its metrics.

    Raises:
      ValueError: the arrays of a pairing are missing, or an evaluator refuses them.
    """
    found = {}
    for evaluator in evaluators:
        needs = evaluator.needs
        metrics = evaluator.evaluate(
            _arrays_of(needs, needs.arrays, arrays, needs.pairing),
            _arrays_of(needs, needs.fit_needs, arrays, needs.fit_on) if needs.fit_needs else None,
            items_expected=clips.get(needs.pairing),
            **evaluator.options,
        )
        for name, array in metrics.pop("arrays", {}).items():
            arrays[needs.pairing][f"{needs.evaluator}_{name}"] = array
        found[needs.evaluator] = metrics
    return found


def _arrays_of(needs: Needs, names: Sequence[str], arrays: Mapping[str, Arrays], source: str) -> Arrays:
    if source not in arrays:
        raise ValueError(
            f"{needs.evaluator}: the arrays {source}/... are missing; given: {', '.join(sorted(arrays)) or 'none'}. It "
            f"needs {', '.join(names)} (docs/metrics/scoring.md)"
        )
    return arrays[source]
