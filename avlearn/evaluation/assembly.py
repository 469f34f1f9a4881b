"""Puts the evaluation of an experiment together: a network, evaluators, and the datasets that they read.

Beside `experiment`, `parts` and `chosen_evaluators` the only reader of the config.
"""

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
from avlearn.data import built_dataset, images, order, requirements
from avlearn.devices import placement
from avlearn.evaluation import array_files, collect, features, registry, scoring
from avlearn.evaluation.collect import ArraySource
from avlearn.evaluation.forward_passes import ForwardPasses
from avlearn.evaluation.report_arrays import ReportArrays
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preemption
from avlearn.training.step import TrainState
from avlearn.types import Arrays

LOG = logging.getLogger("avlearn")


@dataclasses.dataclass(frozen=True)
class AudioQueries:
    """The network of another run, which embeds the sounds; made by `build_audio_queries`.

    Attributes:
      name: of the network.
      passes: its forward passes.
      checkpoints: of the run; the one that `config.evaluation.checkpoint` says is taken.
      sources: those of the evaluation's whose rows are pairs, passed through this network.
    """

    name: str
    passes: ForwardPasses
    checkpoints: Checkpoints
    sources: Mapping[str, ArraySource]

    def embed(self, which: str, arrays: Mapping[str, Arrays]) -> str:
        """Puts its audio_embedding into the arrays of pairs; returns what results say of it."""
        step, state = restored(self.passes, self.checkpoints, which)
        for pairing, source in self.sources.items():
            heard = source.collect(state)
            arrays[pairing]["audio_embedding"] = heard["audio_embedding"]
        return f"sounds by {self.name}, step {step} of {self.checkpoints.directory}"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What `Evaluation.run` found.

    Attributes:
      state: of the network, as it was restored.
      results: evaluator to its figures.
      arrays: pairing to the arrays that they are from, and what these are of.
    """

    state: TrainState
    results: dict[str, dict]
    arrays: dict[str, Arrays]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A network, evaluators, and the datasets that these read and no others; made by `build_evaluation`.

    Attributes:
      config: the whole of it.
      network: what is evaluated.
      passes: its forward passes.
      evaluators: what is computed.
      sources: pairing, or what is fitted on, to where its arrays come from.
      relevance: between classes; None where no evaluator retrieves.
      audio_queries: another network that embeds the sounds; None where this one does.
      report_arrays: what the report shows besides; None where there is none: it shows pairs of the experiment's own
        dataset as one network sees and hears them.
    """

    config: FrozenConfigDict
    network: Network
    passes: ForwardPasses
    evaluators: tuple[scoring.Evaluator, ...]
    sources: Mapping[str, ArraySource]
    relevance: np.ndarray | None
    audio_queries: AudioQueries | None
    report_arrays: ReportArrays | None

    def run(self, checkpoints: Checkpoints, which: str | int) -> Evaluated:
        """Restores a checkpoint (`best`, `latest` or a step) and computes its figures."""
        step, state = restored(self.passes, checkpoints, which)
        arrays = {}
        for pairing, source in self.sources.items():
            LOG.info("Step %d: %s, %s of %s, %d clips.", step, pairing, source.split, source.dataset, source.clips)
            arrays[pairing] = source.collect(state, self._delivered(pairing))
        hears = (
            ""
            if self.audio_queries is None
            else f", {self.audio_queries.embed(self.config.evaluation.checkpoint, arrays)}"
        )
        for pairing in arrays.keys() - collect.PAIRS:
            arrays[pairing] = collect.only(arrays[pairing], self._reads(pairing))
        arrays = collect.first_draw_apart(arrays)
        facts = {pairing: source.facts for pairing, source in self.sources.items()}
        about = {
            "network": self.network.name + hears,
            "checkpoint_step": step,
            "seed": self.config.seed,
            "sources": {collect.FIRST_DRAW: facts[collect.DRAWS], **facts} if collect.DRAWS in facts else facts,
        }
        arrays[array_files.ABOUT] = array_files.about_arrays(about, self.relevance)
        return Evaluated(state, scoring.results(self.evaluators, arrays, about), arrays)

    def _delivered(self, pairing: str) -> set[str]:
        """Of the arrays that evaluators read of a pairing, the names of those that the network delivers."""
        delivered = self.passes.outputs | features.delivered(self.passes.model)
        read_too = self._reads(collect.FIRST_DRAW) if pairing == collect.DRAWS else set()
        return {each for each in self._reads(pairing) | read_too if each.removeprefix(features.UNTRAINED) in delivered}

    def _reads(self, pairing: str) -> set[str]:
        """Names of the arrays that evaluators read of a pairing, or of what they are fitted on."""
        return {name for each in self.evaluators for name in each.reads.get(pairing, ())}


def build_evaluation(
    config: ConfigDict,
    network: Network | None = None,
    mesh: Mesh | None = None,
    preemption: Preemption | None = None,
) -> Evaluation:
    """Opens what the config's evaluators read, and checks that the network delivers it.

    Args:
      config: all of it.
      network: of the config, where it is built already.
      mesh: where it runs; None: on all devices, however many there are.
      preemption: who listens for the notice to leave; None: nobody does.

    Raises:
      ValueError: something in the config is unknown or does not fit; says what is allowed.
    """
    check_numbers(config)
    network = build_network(config) if network is None else network
    # The workers are the training's: evaluation shares the rows of its batches among all devices.
    mesh = placement.make_mesh(jax.device_count()) if mesh is None else mesh
    unrelated = registry.build_evaluators(config, relevance=None)
    scoring.check_needs(unrelated, registry.available(config, network), network.name)
    wanted = {name for evaluator in unrelated for name in evaluator.reads}
    if collect.DRAWS in wanted:  # it has the first one among them
        wanted.discard(collect.FIRST_DRAW)
    preemption = Preemption() if preemption is None else preemption
    passes = build_passes(config, network, mesh, preemption)
    open_split = functools.cache(functools.partial(built_dataset.open_split, data_dir=config.data.data_dir))
    sources = {name: SOURCES[name](config, passes, open_split) for name in sorted(wanted)}
    relevance = None
    if registry.retrieves(config):
        split = evaluation_split(config, open_split)
        relevance = registry.class_relevance(split, config.evaluation.max_relevance)
    report_arrays = None
    if not (collect.PAIRS.isdisjoint(sources) or config.evaluation.sounds_from):
        report_arrays = ReportArrays(passes, evaluation_split(config, open_split), config.evaluation.films)
    return Evaluation(
        config=FrozenConfigDict(config),
        network=network,
        passes=passes,
        evaluators=registry.build_evaluators(config, relevance, mesh),
        sources=sources,
        relevance=relevance,
        audio_queries=build_audio_queries(config, passes, open_split, sources)
        if config.evaluation.sounds_from
        else None,
        report_arrays=report_arrays,
    )


def build_audio_queries(
    config: ConfigDict, own: ForwardPasses, open_split: Callable, sources: Mapping[str, ArraySource]
) -> AudioQueries:
    """The network of the run that `config.evaluation.sounds_from` names, for the pairs among the sources.

    Raises:
      ValueError: there is no such run, or its network does not hear.
    """
    directory = pathlib.Path(config.evaluation.sounds_from)
    other = config_of_run(config, directory)
    network = build_network(other)
    passes = build_passes(other, network, own.mesh, own.preemption)
    if "audio_embedding" not in passes.outputs:
        raise ValueError(f"{network.name} of {directory} does not hear; sounds_from takes a network that does.")
    passes = dataclasses.replace(passes, outputs=frozenset({"audio_embedding"}))
    paired = sources.keys() & {"all_positive", collect.FIT}
    return AudioQueries(
        name=network.name,
        passes=passes,
        checkpoints=Checkpoints(directory / "checkpoints", network=network.name, keep=1, read_only=True),
        sources={name: SOURCES[name](other, passes, open_split) for name in sorted(paired)},
    )


def restored(passes: ForwardPasses, checkpoints: Checkpoints, which: str | int) -> tuple[int, TrainState]:
    """Step and state of a checkpoint, to evaluate."""
    state = passes.initial
    step, params, batch_stats = checkpoints.restore_weights(state, placement.replicated(passes.mesh), which)
    return step, dataclasses.replace(state, params=params, batch_stats=batch_stats)


def score_arrays(config: ConfigDict, path: pathlib.Path) -> tuple[dict[str, dict], dict[str, Arrays]]:
    """Figures of the config's evaluators from saved arrays alone, of this or of any other system (docs/scoring.md).

    Raises:
      ValueError: a file that is none, or arrays that an evaluator refuses.
    """
    check_numbers(config)
    arrays = array_files.load_arrays(path)
    relevance, about = array_files.read_about(arrays)
    evaluators = registry.build_evaluators(config, relevance)
    return scoring.results(evaluators, arrays, about), arrays


def evaluation_split(config: ConfigDict, open_split: Callable) -> built_dataset.Split:
    """The split of `config.evaluation.dataset`, or of the dataset that is trained on."""
    return open_split(config.evaluation.dataset or config.data.dataset, split=config.evaluation.split)


def pair_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable, *, pairing: str) -> ArraySource:
    """Pairs of the evaluation split."""
    split = evaluation_split(config, open_split)
    requirements.check_split(split, passes.inputs)
    gather = functools.partial(passes.pairs, split=split, pairing=pairing)
    if pairing == "avc_draws":
        gather = functools.partial(passes.pairs, split=split, pairing="avc", draws=config.evaluation.pair_draws)
    if pairing == "sources":
        gather = functools.partial(passes.single_sources, split=split)
    return ArraySource(split.dataset, split.name, len(split), gather)


def validation_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable) -> ArraySource:
    """Balanced pairs of the validation split."""
    split = open_split(config.data.dataset, split=config.data.validation_split)
    return ArraySource(
        split.dataset, split.name, len(split), functools.partial(passes.pairs, split=split, pairing="avc")
    )


def fit_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable) -> ArraySource:
    """What evaluators are fitted on: the first `config.evaluation.fit_clips` training clips of the first epoch."""
    split = open_split(config.data.dataset, split=config.data.train_split)
    evaluators = registry.build_evaluators(config, relevance=None)
    registry.check_classes(evaluators, split, evaluation_split(config, open_split))
    first = order.epoch_order(len(split), config.seed, 0)[: config.evaluation.fit_clips]
    options = {"split": split, "pairing": "all_positive", "items": sorted(first.tolist())}
    rule = "the first clips of the first epoch's order"
    return ArraySource(split.dataset, split.name, len(split), functools.partial(passes.pairs, **options), rule)


def window_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable) -> ArraySource:
    """Windows of the sound dataset, a fold for each of its splits."""
    dataset = config.evaluation.sound_dataset
    names = built_dataset.split_names(dataset, config.data.data_dir)
    tested = registry.tested_splits(config, names)
    splits = {name: open_split(dataset, split=name) for name in names}
    options = {"splits": tuple(splits.values()), "count": config.evaluation.sound_windows, "tested": tested}
    clips = sum(len(splits[name]) for name in tested)
    return ArraySource(dataset, ", ".join(tested), clips, functools.partial(passes.windows, **options))


def image_source(config: ConfigDict, passes: ForwardPasses, _: Callable, *, split_key: str) -> ArraySource:
    """Pictures of the classification dataset."""
    settings = config.evaluation
    split = images.open_images(settings.image_dataset, config.data.data_dir, settings[split_key])
    return ArraySource(split.dataset, split.name, len(split), functools.partial(passes.images, split=split))


SOURCES = {
    "all_positive": functools.partial(pair_source, pairing="all_positive"),
    "avc": functools.partial(pair_source, pairing="avc"),
    "avc_draws": functools.partial(pair_source, pairing="avc_draws"),
    "shifted": functools.partial(pair_source, pairing="shifted"),
    "negatives": functools.partial(pair_source, pairing="negatives"),
    "sources": functools.partial(pair_source, pairing="sources"),
    "windows": window_source,
    "images": functools.partial(image_source, split_key="image_split"),
    collect.FIT: fit_source,
    collect.VALIDATION: validation_source,
    collect.IMAGES_FIT: functools.partial(image_source, split_key="image_fit_split"),
}


def build_passes(config: ConfigDict, network: Network, mesh: Mesh, preemption: Preemption) -> ForwardPasses:
    """Forward passes of the network with the settings of the config; the devices divide a batch.

    Its size does not depend on how many of them share the workers: the loss of a batch of contrasts depends on it.
    """
    pixels, multiple = config.evaluation.frame_pixels, math.lcm(config.train.num_workers, mesh.size)
    return ForwardPasses(
        model=network.evaluation,
        outputs=frozenset(collect.output_names(network.outputs(2))),
        initial=replicated_state(network, optax.identity(), mesh),
        # Labels are for the loss alone.
        inputs=dataclasses.replace(network.inputs, classes=0, frame_pixels=pixels or network.inputs.frame_pixels),
        sampling=build_sampling(config),
        mesh=mesh,
        batch_size=-(-config.evaluation.batch // multiple) * multiple,
        seed=config.seed,
        preemption=preemption,
    )
