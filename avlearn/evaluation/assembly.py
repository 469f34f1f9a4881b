"""Builds the evaluation of an experiment from its config: a network, evaluators, and the datasets that they read."""

import dataclasses
import functools
import json
import logging
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from avlearn.build import Network, build_network, check_numbers
from avlearn.data import built_dataset
from avlearn.devices import placement
from avlearn.evaluation import array_files, array_sources, collect, features, further_datasets, registry, scoring
from avlearn.evaluation.audio_queries import AudioQueries, build_audio_queries
from avlearn.evaluation.collect import ArraySource
from avlearn.evaluation.forward_passes import ForwardPasses
from avlearn.evaluation.report_arrays import ReportArrays
from avlearn.evaluation.restoring import build_passes, restored
from avlearn.evaluation.unfinished import Keep, Unfinished, fingerprint, keep_nothing
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preemption
from avlearn.runs.workdir import trained_with
from avlearn.training.step import TrainState
from avlearn.types import ALSO_ON, Arrays

LOG = logging.getLogger("avlearn")


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Results of `Evaluation.run`.

    Attributes:
      state: restored state of the network.
      results: evaluator to its metrics; under `ALSO_ON`, further dataset to evaluator to metrics.
      arrays: pairing to arrays, and facts about them.
      further_arrays: further dataset to its arrays.
      unfinished: what is kept of them in the workdir; None if nothing is.
    """

    state: TrainState
    results: dict[str, dict]
    arrays: dict[str, Arrays]
    further_arrays: dict[str, dict[str, Arrays]]
    unfinished: Unfinished | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A network, evaluators, and the datasets that they read; made by `build_evaluation`.

    Attributes:
      config: the complete config.
      network: network to evaluate.
      passes: its forward passes.
      evaluators: evaluators to run.
      sources: pairing, or name of a source to fit on, to the source of its arrays.
      class_relevance: relevance between classes; None if no evaluator takes it.
      audio_queries: another network that embeds the audio; None: this one does.
      report_arrays: collects further arrays for the report; None if the evaluation reads no pairs, or takes the audio
        from another network.
      further: further dataset (`builder/config/split`) to the evaluation on it.
      named: whether the user has named the evaluators; others are left out where they would find no boxes.
    """

    config: FrozenConfigDict
    network: Network
    passes: ForwardPasses
    evaluators: tuple[scoring.Evaluator, ...]
    sources: Mapping[str, ArraySource]
    class_relevance: np.ndarray | None
    audio_queries: AudioQueries | None
    report_arrays: ReportArrays | None = None
    further: Mapping[str, "Evaluation"] = dataclasses.field(default_factory=dict)
    named: bool = True

    def run(self, checkpoints: Checkpoints, which: str | int, workdir: pathlib.Path | None = None) -> Evaluated:
        """Restore a checkpoint (`best`, `latest` or a step), and compute its metrics on every dataset.

        What is computed is kept in the workdir, if there is one, until `Evaluated.unfinished` is removed.
        """
        step, state = restored(self.passes, checkpoints, which)
        unfinished, keep = None, keep_nothing
        if workdir is not None:
            unfinished = Unfinished(workdir, self._fingerprint(checkpoints, step))
            keep = unfinished.keep
        trained = trained_with(pathlib.Path(checkpoints.directory).parent)
        arrays = self.collect(step, state, keep, trained)
        results = self.score(arrays, keep)
        further_arrays = {}
        for name, other in self.further.items():
            keep_further = functools.partial(_keep_of, keep, name)
            further_arrays[name] = other.collect(step, state, keep_further)
            results.setdefault(ALSO_ON, {})[name] = other.score(further_arrays[name], keep_further)
        return Evaluated(state, results, arrays, further_arrays, unfinished)

    def with_named(self, named: bool) -> "Evaluation":
        """Return the evaluation with `named`; entries of `also_on` that name their evaluators have them named."""
        if named:
            return self
        own = further_datasets.with_own_evaluators(self.config)
        further = {name: dataclasses.replace(other, named=name in own) for name, other in self.further.items()}
        return dataclasses.replace(self, named=False, further=further)

    def _fingerprint(self, checkpoints: Checkpoints, step: int) -> str:
        """Return a checksum of all that the results depend on."""
        names = {source.dataset for each in (self, *self.further.values()) for source in each.sources.values()}
        folders = [f"{self.config.data.data_dir}/{name}" for name in sorted(names)]
        folders.append(checkpoints.directory / str(step))
        if self.audio_queries is not None:
            folders.append(self.audio_queries.checkpoints.directory)
        return fingerprint(self.config.to_json(), folders)

    def collect(
        self, step: int, state: TrainState, keep: Keep = keep_nothing, trained: Mapping | None = None
    ) -> dict[str, Arrays]:
        """Collect the arrays that the evaluators read, with facts about them under `array_files.ABOUT`."""
        arrays = {}
        for pairing, source in self.sources.items():
            LOG.info("Step %d: %s, %s of %s, %d clips.", step, pairing, source.split, source.dataset, source.clips)
            arrays[pairing] = keep(
                f"arrays of {pairing}",
                functools.partial(source.collect, state, self._network_arrays(pairing)),
            )
        network = self.network.name
        if self.audio_queries is not None:
            network += f", {self.audio_queries.embed(self.config.evaluation.checkpoint, arrays, keep)}"
        for pairing in arrays.keys() - collect.PAIRS:
            arrays[pairing] = collect.only(arrays[pairing], self._reads(pairing))
        arrays = collect.split_first_draw(arrays)
        facts = {pairing: source.facts for pairing, source in self.sources.items()}
        about = {
            "network": network,
            "checkpoint_step": step,
            "seed": self.config.seed,
            "trained": trained,
            "sources": {collect.FIRST_DRAW: facts[collect.DRAWS], **facts} if collect.DRAWS in facts else facts,
        }
        return arrays | {array_files.ABOUT: array_files.about_arrays(about, self.class_relevance)}

    def score(self, arrays: Mapping[str, Arrays], keep: Keep = keep_nothing) -> dict[str, dict]:
        """Compute the metrics of the evaluators from the arrays of `collect`; evaluators may add arrays."""
        _, about = array_files.read_about(arrays)
        results = {}
        for evaluator in self._with_boxes(arrays):
            rows = arrays.get(evaluator.needs.pairing, {})
            compute = functools.partial(_results_and_arrays, evaluator, arrays, about, set(rows))
            found = dict(keep(f"results of {evaluator.needs.evaluator}", compute))
            results |= json.loads(str(found.pop("results")))
            rows.update(found)
        return results

    def _with_boxes(self, arrays: Mapping[str, Arrays]) -> list[scoring.Evaluator]:
        """Return the evaluators, without those that would find no boxes and that nobody named."""

        def finds_none(needs: scoring.Needs) -> bool:
            boxes = arrays.get(needs.pairing, {}).get("boxes", np.zeros(0))
            return "boxes" in needs.arrays and not np.isfinite(boxes).any()

        left_out = [] if self.named else [each.needs.evaluator for each in self.evaluators if finds_none(each.needs)]
        if left_out:
            evaluated = self.config.evaluation.dataset or self.config.data.dataset
            split = self.config.evaluation.split
            LOG.info("Left out: %s. The split %s of %s has no boxes.", ", ".join(left_out), split, evaluated)
        return [each for each in self.evaluators if each.needs.evaluator not in left_out]

    def _network_arrays(self, pairing: str) -> set[str]:
        """Return the names of the arrays that evaluators read for a pairing and that the network computes."""
        computed = self.passes.outputs | features.available(self.passes.model)
        also_read = self._reads(collect.FIRST_DRAW) if pairing == collect.DRAWS else set()
        return {each for each in self._reads(pairing) | also_read if each.removeprefix(features.UNTRAINED) in computed}

    def _reads(self, source: str) -> set[str]:
        """Return the names of the arrays that evaluators read from a source."""
        return {name for each in self.evaluators for name in each.needs.by_source.get(source, ())}


def _results_and_arrays(
    evaluator: scoring.Evaluator, arrays: Mapping[str, Arrays], about: Mapping, before: set[str]
) -> Arrays:
    """Return the results of an evaluator, as JSON, and the arrays that it adds to its rows."""
    found = scoring.results((evaluator,), arrays, about)
    rows = arrays.get(evaluator.needs.pairing, {})
    return {"results": np.array(json.dumps(found)), **{name: rows[name] for name in rows.keys() - before}}


def _keep_of(keep: Keep, dataset: str, name: str, compute: Callable[[], Arrays]) -> Arrays:
    return keep(f"{name} on {dataset}", compute)


def build_evaluation(
    config: ConfigDict,
    network: Network | None = None,
    mesh: Mesh | None = None,
    preemption: Preemption | None = None,
) -> Evaluation:
    """Open the datasets that the config's evaluators read, and check that the network computes their arrays.

    Args:
      config: the complete config.
      network: network of the config, if it is built already.
      mesh: devices to run on; None: all devices.
      preemption: listener for SIGTERM; None: nothing listens.

    Raises:
      ValueError: a setting of the config is unknown or does not fit; the message names what is allowed.
    """
    check_numbers(config)
    network = build_network(config) if network is None else network
    # Evaluation has no workers: all devices share the rows of a batch.
    mesh = placement.make_mesh(jax.device_count()) if mesh is None else mesh
    further = further_datasets.configs(config)
    for each in (config, *further.values()):
        scoring.check_needs(registry.needs(each), registry.available(each, network), network.name)
    passes = build_passes(config, network, mesh, Preemption() if preemption is None else preemption)
    open_split = functools.cache(functools.partial(built_dataset.open_split, data_dir=config.data.data_dir))
    evaluation = evaluation_on(config, network, passes, open_split)
    report_arrays = None
    if not (collect.PAIRS.isdisjoint(evaluation.sources) or config.evaluation.sounds_from):
        split = array_sources.evaluation_split(config, open_split)
        report_arrays = ReportArrays(passes, split, config.evaluation.films)
    return dataclasses.replace(
        evaluation,
        report_arrays=report_arrays,
        further={name: evaluation_on(each, network, passes, open_split) for name, each in further.items()},
    )


def evaluation_on(config: ConfigDict, network: Network, passes: ForwardPasses, open_split: Callable) -> Evaluation:
    """Build the evaluation on `config.evaluation.dataset`, without the further datasets."""
    wanted = {name for each in registry.needs(config) for name in each.by_source}
    if collect.DRAWS in wanted:  # its first draw is FIRST_DRAW
        wanted.discard(collect.FIRST_DRAW)
    sources = {name: array_sources.SOURCES[name](config, passes, open_split) for name in sorted(wanted)}
    clips = {name: source.clips for name, source in sources.items()}
    if collect.FIT in clips:
        clips[collect.FIT] = min(clips[collect.FIT], config.evaluation.fit_clips)
    registry.check_clips(config, clips)
    class_relevance = None
    if registry.needs_class_relevance(config):
        split = array_sources.evaluation_split(config, open_split)
        class_relevance = registry.class_relevance(split, config.evaluation.max_relevance)
    queries = None
    if config.evaluation.sounds_from:
        queries = build_audio_queries(config, passes, open_split, sources)
    return Evaluation(
        config=FrozenConfigDict(config),
        network=network,
        passes=passes,
        evaluators=registry.build_evaluators(config, class_relevance, passes.mesh),
        sources=sources,
        class_relevance=class_relevance,
        audio_queries=queries,
    )


def score_arrays(config: ConfigDict, path: pathlib.Path) -> tuple[dict[str, dict], dict[str, Arrays]]:
    """Compute the config's metrics from arrays that this or another system saved (docs/metrics/scoring.md).

    Raises:
      ValueError: the file is not an `.npz` of arrays, or an evaluator's options are wrong.
    """
    check_numbers(config)
    arrays, unreadable = array_files.read_arrays(path)
    if reason := unreadable.get(f"{array_files.ABOUT}/facts"):
        raise ValueError(f"{path}: {reason}; see docs/metrics/scoring.md")
    class_relevance, about = array_files.read_about(arrays)
    evaluators = registry.build_evaluators(config, class_relevance)
    return scoring.results(evaluators, arrays, about, unreadable), arrays
