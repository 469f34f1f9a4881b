"""The evaluators that a config names: what they need, their options, and their rows in the table of scores.

A file of avlearn/evaluators is an evaluator. It defines `evaluate` and

  NEEDS, PAIRING: arrays that it reads, and the rows that it is computed on (`scoring.Needs`)
  OPTIONAL, FIT_NEEDS, FIT_ON: optional, see `scoring.Needs`; `fit_needs(**options)` replaces FIT_NEEDS if it depends
    on options
  TABLE: optional, its rows in the table of scores

Its options are in `config.evaluation.<name>`. `evaluate` takes them as keyword arguments, except for SOURCE_OPTIONS,
which describe the data to collect. Before the first step, `check_options(**options)`, if defined, checks all options,
and `check_clips(clips, fit_clips, **options)` the numbers of clips.
"""

import inspect
import logging
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

import avlearn.evaluators
from avlearn.build import Network, by_name
from avlearn.data import built_dataset
from avlearn.evaluation import collect, features, scoring
from avlearn.evaluators import ndcg
from avlearn.ontology import Ontology
from avlearn.types import TableRow, per_evaluator

LOG = logging.getLogger("avlearn")
# Arrays that the input pipeline provides with each pair.
ANNOTATIONS = {"corresponds", "labels", "boxes", "box_label", "box_sounding", "box_annotator"}
ANNOTATIONS |= {"image_item", "audio_item", "clip_id", "pair_draw", "clip", "fold", "tested", "silent", "source"}


def needs(config: ConfigDict) -> tuple[scoring.Needs, ...]:
    """Return what the evaluators of the config need, and check their options.

    Raises:
      ValueError: an unknown evaluator, or an option that is unknown or out of range.
    """
    return tuple(_needs(name, config) for name in config.evaluation.evaluators)


def _needs(name: str, config: ConfigDict) -> scoring.Needs:
    module, options = _module(name), _options(name, config)
    if hasattr(module, "check_options"):
        module.check_options(**options)
    return scoring.Needs(
        evaluator=name,
        arrays=module.NEEDS,
        pairing=module.PAIRING,
        optional=getattr(module, "OPTIONAL", ()),
        fit_needs=module.fit_needs(**options) if hasattr(module, "fit_needs") else getattr(module, "FIT_NEEDS", ()),
        fit_on=getattr(module, "FIT_ON", collect.FIT),
    )


def check_clips(config: ConfigDict, clips: Mapping[str, int]) -> None:
    """Check that the sources of the arrays have enough clips for the evaluators; say what they will do with fewer.

    Args:
      config: config with its section `evaluation`.
      clips: key of the source to the number of clips that are collected from it.

    Raises:
      ValueError: an evaluator needs more clips; the message names it and what to change.
    """
    for each in needs(config):
        module = _module(each.evaluator)
        if hasattr(module, "check_clips"):
            fit_clips = clips[each.fit_on] if each.fit_needs else 0
            line = module.check_clips(clips[each.pairing], fit_clips, **_options(each.evaluator, config))
            if line:
                LOG.info("%s", line)


def build_evaluators(
    config: ConfigDict, class_relevance: np.ndarray | None, mesh: Mesh | None = None
) -> tuple[scoring.Evaluator, ...]:
    """Build the evaluators of the config.

    Args:
      config: config with its section `evaluation`, and the seed.
      class_relevance: relevance between classes; None: 1 for equal classes, else 0.
      mesh: mesh of the devices that an evaluator may train on; None: all devices.

    Raises:
      ValueError: an unknown evaluator, or an option that is unknown or out of range.
    """
    given = {"class_relevance": class_relevance, "seed": config.seed, "mesh": mesh}
    evaluators = []
    for each in needs(config):
        module = _module(each.evaluator)
        taken = inspect.signature(module.evaluate).parameters
        sources = getattr(module, "SOURCE_OPTIONS", ())
        options = {key: value for key, value in _options(each.evaluator, config).items() if key not in sources}
        if unknown := options.keys() - taken:
            names = ", ".join(sorted(unknown))
            raise TypeError(
                f"config.evaluation.{each.evaluator} has {names}; evaluate() of {module.__name__} does not take it"
            )
        options |= {key: value for key, value in given.items() if key in taken}
        evaluators.append(scoring.Evaluator(each, module.evaluate, options))
    return tuple(evaluators)


def _module(name: str) -> ModuleType:
    return by_name(avlearn.evaluators, name, "evaluation.evaluators")


def _options(name: str, config: ConfigDict) -> dict[str, Any]:
    return dict(config.evaluation.get(name, {}))


def table_rows(results_by_run: Mapping[str, Mapping]) -> dict[str, Sequence[TableRow]]:
    """Return the table rows of every evaluator in the runs' results; an evaluator that no longer exists has none.

    Args:
      results_by_run: name of the run to the content of its `results.json`.
    """
    present = {module.name for module in pkgutil.iter_modules(avlearn.evaluators.__path__)}
    names = {name for results in results_by_run.values() for name, _ in per_evaluator(results)}
    return {name: getattr(_module(name), "TABLE", ()) for name in sorted(names & present)}


def available(config: ConfigDict, network: Network) -> set[str]:
    """Return the names of the arrays that a network and the records provide for evaluators."""
    other_network = {"audio_embedding"} if config.evaluation.sounds_from else set()
    own = collect.output_names(network.outputs(2)) | features.available(network.evaluation)
    return other_network | own | ANNOTATIONS


def needs_class_relevance(config: ConfigDict) -> bool:
    """Return whether an evaluator of the config takes the relevance between classes."""
    modules = [_module(name) for name in config.evaluation.evaluators]
    return any("class_relevance" in inspect.signature(module.evaluate).parameters for module in modules)


def class_relevance(split: built_dataset.Split, max_relevance: int) -> np.ndarray:
    """Compute the relevance between classes by the dataset's ontology; without one, 1 for equal classes, else 0.

    Raises:
      ValueError: `max_relevance` is out of range.
    """
    if not 1 <= max_relevance <= ndcg.LARGEST_RELEVANCE:
        raise ValueError(
            f"evaluation.max_relevance is {max_relevance}; --config.evaluation.max_relevance takes 1 to "
            f"{ndcg.LARGEST_RELEVANCE}."
        )
    if not split.ontology:
        return np.eye(len(split.class_ids), dtype=int)
    return Ontology.from_nodes(split.ontology).class_relevance(split.class_ids, max_relevance=max_relevance)


def check_classes(needs: Iterable[scoring.Needs], train: built_dataset.Split, evaluation: built_dataset.Split) -> None:
    """Refuse evaluators that are fitted on the classes of one dataset and tested on other classes.

    Raises:
      ValueError: names the evaluators, the datasets and the number of shared classes.
    """
    fitted = [each.evaluator for each in needs if each.fit_on == collect.FIT and "labels" in each.fit_needs]
    if fitted and train.class_ids != evaluation.class_ids:
        shared = len(set(train.class_ids) & set(evaluation.class_ids))
        raise ValueError(
            f"{', '.join(fitted)} would be fitted on the {len(train.class_ids)} classes of {train.dataset} and tested "
            f"on the {len(evaluation.class_ids)} of {evaluation.dataset}; the lists must be equal, but only {shared} "
            "classes are in both. Leave it out of --config.evaluation.evaluators, or evaluate on data.dataset "
            "(--config.evaluation.dataset=)."
        )
