"""Builds the evaluation of an experiment from its config: a network, evaluators, and the datasets that they read."""

import dataclasses
import functools
import logging
import math
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from avlearn.build import Network, build_network, build_sampling, check_numbers, config_of_run, replicated_state
from avlearn.data import built_dataset
from avlearn.devices import placement
from avlearn.evaluation import array_files, array_sources, collect, features, further_datasets, registry, scoring
from avlearn.evaluation.collect import ArraySource
from avlearn.evaluation.forward_passes import ForwardPasses
from avlearn.evaluation.report_arrays import ReportArrays
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preemption
from avlearn.training.step import TrainState
from avlearn.types import ALSO_ON, Arrays

LOG = logging.getLogger("avlearn")


@dataclasses.dataclass(frozen=True)
class AudioQueries:
    """The network of another run that embeds the audio; made by `build_audio_queries`.

    Attributes:
      name: name of the network.
      passes: its forward passes.
      checkpoints: checkpoints of the run; `config.evaluation.checkpoint` chooses one.
      sources: the evaluation's sources of pairs, with this network's inputs.
    """

    name: str
    passes: ForwardPasses
    checkpoints: Checkpoints
    sources: Mapping[str, ArraySource]

    def embed(self, which: str, arrays: Mapping[str, Arrays]) -> str:
        """Put this network's audio_embedding into the arrays of pairs; return a phrase for the results."""
        step, state = restored(self.passes, self.checkpoints, which)
        for pairing, source in self.sources.items():
            arrays[pairing]["audio_embedding"] = source.collect(state)["audio_embedding"]
        return f"sounds by {self.name}, step {step} of {self.checkpoints.directory}"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Results of `Evaluation.run`.

    Attributes:
      state: restored state of the network.
      results: evaluator to its metrics; under `ALSO_ON`, further dataset to evaluator to metrics.
      arrays: pairing to arrays, and facts about them.
      further_arrays: further dataset to its arrays.
    """

    state: TrainState
    results: dict[str, dict]
    arrays: dict[str, Arrays]
    further_arrays: dict[str, dict[str, Arrays]]


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

    def run(self, checkpoints: Checkpoints, which: str | int) -> Evaluated:
        """Restore a checkpoint (`best`, `latest` or a step), and compute its metrics on every dataset."""
        step, state = restored(self.passes, checkpoints, which)
        arrays = self.collect(step, state)
        results = self.score(arrays)
        further_arrays = {}
        for name, other in self.further.items():
            further_arrays[name] = other.collect(step, state)
            results.setdefault(ALSO_ON, {})[name] = other.score(further_arrays[name])
        return Evaluated(state, results, arrays, further_arrays)

    def collect(self, step: int, state: TrainState) -> dict[str, Arrays]:
        """Collect the arrays that the evaluators read, with facts about them under `array_files.ABOUT`."""
        arrays = {}
        for pairing, source in self.sources.items():
            LOG.info("Step %d: %s, %s of %s, %d clips.", step, pairing, source.split, source.dataset, source.clips)
            arrays[pairing] = source.collect(state, self._network_arrays(pairing))
        network = self.network.name
        if self.audio_queries is not None:
            network += f", {self.audio_queries.embed(self.config.evaluation.checkpoint, arrays)}"
        for pairing in arrays.keys() - collect.PAIRS:
            arrays[pairing] = collect.only(arrays[pairing], self._reads(pairing))
        arrays = collect.split_first_draw(arrays)
        facts = {pairing: source.facts for pairing, source in self.sources.items()}
        about = {
            "network": network,
            "checkpoint_step": step,
            "seed": self.config.seed,
            "sources": {collect.FIRST_DRAW: facts[collect.DRAWS], **facts} if collect.DRAWS in facts else facts,
        }
        return arrays | {array_files.ABOUT: array_files.about_arrays(about, self.class_relevance)}

    def score(self, arrays: Mapping[str, Arrays]) -> dict[str, dict]:
        """Compute the metrics of all evaluators from the arrays of `collect`; evaluators may add arrays."""
        _, about = array_files.read_about(arrays)
        return scoring.results(self.evaluators, arrays, about)

    def _network_arrays(self, pairing: str) -> set[str]:
        """Return the names of the arrays that evaluators read for a pairing and that the network computes."""
        computed = self.passes.outputs | features.available(self.passes.model)
        also_read = self._reads(collect.FIRST_DRAW) if pairing == collect.DRAWS else set()
        return {each for each in self._reads(pairing) | also_read if each.removeprefix(features.UNTRAINED) in computed}

    def _reads(self, source: str) -> set[str]:
        """Return the names of the arrays that evaluators read from a source."""
        return {name for each in self.evaluators for name in each.needs.by_source.get(source, ())}


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
    audio_queries = None
    if config.evaluation.sounds_from:
        audio_queries = build_audio_queries(config, passes, open_split, sources)
    return Evaluation(
        config=FrozenConfigDict(config),
        network=network,
        passes=passes,
        evaluators=registry.build_evaluators(config, class_relevance, passes.mesh),
        sources=sources,
        class_relevance=class_relevance,
        audio_queries=audio_queries,
    )


def build_audio_queries(
    config: ConfigDict, own: ForwardPasses, open_split: Callable, sources: Mapping[str, ArraySource]
) -> AudioQueries:
    """Build the network of the run that `config.evaluation.sounds_from` names, for the pairs among the sources.

    Raises:
      ValueError: the run does not exist, or its network takes no audio.
    """
    directory = pathlib.Path(config.evaluation.sounds_from)
    other = config_of_run(config, directory)
    network = build_network(other)
    passes = build_passes(other, network, own.mesh, own.preemption)
    if "audio_embedding" not in passes.outputs:
        raise ValueError(f"{network.name} of {directory} takes no audio; sounds_from names a run whose network does.")
    passes = dataclasses.replace(passes, outputs=frozenset({"audio_embedding"}))
    paired = sources.keys() & {"all_positive", collect.FIT}
    return AudioQueries(
        name=network.name,
        passes=passes,
        checkpoints=Checkpoints(directory / "checkpoints", network=network.name, keep=1, read_only=True),
        sources={name: array_sources.SOURCES[name](other, passes, open_split) for name in sorted(paired)},
    )


def restored(passes: ForwardPasses, checkpoints: Checkpoints, which: str | int) -> tuple[int, TrainState]:
    """Restore a checkpoint for evaluation; return its step and state."""
    state = passes.initial
    step, params, batch_stats = checkpoints.restore_weights(state, placement.replicated(passes.mesh), which)
    return step, dataclasses.replace(state, params=params, batch_stats=batch_stats)


def score_arrays(config: ConfigDict, path: pathlib.Path) -> tuple[dict[str, dict], dict[str, Arrays]]:
    """Compute the config's metrics from arrays that this or another system saved (docs/metrics/scoring.md).

    Raises:
      ValueError: the file is not an `.npz` of arrays, or an evaluator's options are wrong.
    """
    check_numbers(config)
    arrays = array_files.load_arrays(path)
    class_relevance, about = array_files.read_about(arrays)
    return scoring.results(registry.build_evaluators(config, class_relevance), arrays, about), arrays


def build_passes(config: ConfigDict, network: Network, mesh: Mesh, preemption: Preemption) -> ForwardPasses:
    """Build the forward passes of a network with the settings of the config; the devices share each batch.

    The batch size is the same for every number of devices that divides the number of workers, since a contrastive loss
    depends on it.
    """
    pixels, multiple = config.evaluation.frame_pixels, math.lcm(config.train.num_workers, mesh.size)
    return ForwardPasses(
        model=network.evaluation,
        outputs=frozenset(collect.output_names(network.outputs(2))),
        initial=replicated_state(network, optax.identity(), mesh),
        # Only the loss takes labels.
        inputs=dataclasses.replace(network.inputs, classes=0, frame_pixels=pixels or network.inputs.frame_pixels),
        sampling=build_sampling(config),
        mesh=mesh,
        batch_size=-(-config.evaluation.batch // multiple) * multiple,
        seed=config.seed,
        preemption=preemption,
    )
