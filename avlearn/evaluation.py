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

from avlearn import chosen_evaluators, evaluate, features, parallel, parts
from avlearn.checkpoint import Checkpoints
from avlearn.data import check, images, read
from avlearn.evaluate import Source
from avlearn.films_and_units import FilmsAndUnits
from avlearn.parts import Network
from avlearn.preemption import Preemption
from avlearn.sources import Passes
from avlearn.step import TrainState

LOG = logging.getLogger("avlearn")


@dataclasses.dataclass(frozen=True)
class Hearing:
    """The network of another run, which embeds the sounds; made by `build_hearing`.

    Attributes:
      name: of the network.
      passes: its forward passes.
      checkpoints: of the run; the one that `config.evaluation.checkpoint` says is taken.
      sources: those of the evaluation's whose rows are pairs, passed through this network.
    """

    name: str
    passes: Passes
    checkpoints: Checkpoints
    sources: Mapping[str, Source]

    def embed(self, which: str, arrays: Mapping[str, evaluate.Arrays]) -> str:
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
    arrays: dict[str, evaluate.Arrays]


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
      hearing: another network that embeds the sounds; None where this one does.
      films_and_units: what the report shows besides; None where there is none: it shows pairs of the experiment's own
        dataset as one network sees and hears them.
    """

    config: FrozenConfigDict
    network: Network
    passes: Passes
    evaluators: tuple[evaluate.Evaluator, ...]
    sources: Mapping[str, Source]
    relevance: np.ndarray | None
    hearing: Hearing | None
    films_and_units: FilmsAndUnits | None

    def run(self, checkpoints: Checkpoints, which: str | int) -> Evaluated:
        """Restores a checkpoint (`best`, `latest` or a step) and computes its figures."""
        step, state = restored(self.passes, checkpoints, which)
        arrays = {}
        for pairing, source in self.sources.items():
            LOG.info("Step %d: %s, %s of %s, %d clips.", step, pairing, source.split, source.dataset, source.clips)
            arrays[pairing] = source.collect(state, self._delivered(pairing))
        hears = "" if self.hearing is None else f", {self.hearing.embed(self.config.evaluation.checkpoint, arrays)}"
        for pairing in arrays.keys() - evaluate.PAIRS:
            arrays[pairing] = evaluate.only(arrays[pairing], self._reads(pairing))
        arrays = evaluate.first_draw_apart(arrays)
        facts = {pairing: source.facts for pairing, source in self.sources.items()}
        about = {
            "network": self.network.name + hears,
            "checkpoint_step": step,
            "seed": self.config.seed,
            "sources": {evaluate.FIRST_DRAW: facts[evaluate.DRAWS], **facts} if evaluate.DRAWS in facts else facts,
        }
        arrays[evaluate.ABOUT] = evaluate.about_arrays(about, self.relevance)
        return Evaluated(state, evaluate.results(self.evaluators, arrays, about), arrays)

    def _delivered(self, pairing: str) -> set[str]:
        """Of the arrays that evaluators read of a pairing, the names of those that the network delivers."""
        delivered = self.passes.outputs | features.delivered(self.passes.model)
        read_too = self._reads(evaluate.FIRST_DRAW) if pairing == evaluate.DRAWS else set()
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
    parts.check_numbers(config)
    network = parts.build_network(config) if network is None else network
    # The workers are the training's: evaluation shares the rows of its batches among all devices.
    mesh = parallel.make_mesh(jax.device_count()) if mesh is None else mesh
    unrelated = chosen_evaluators.build_evaluators(config, relevance=None)
    evaluate.check_needs(unrelated, chosen_evaluators.available(config, network), network.name)
    wanted = {name for evaluator in unrelated for name in evaluator.reads}
    if evaluate.DRAWS in wanted:  # it has the first one among them
        wanted.discard(evaluate.FIRST_DRAW)
    preemption = Preemption() if preemption is None else preemption
    passes = build_passes(config, network, mesh, preemption)
    open_split = functools.cache(functools.partial(read.open_split, data_dir=config.data.data_dir))
    sources = {name: SOURCES[name](config, passes, open_split) for name in sorted(wanted)}
    relevance = None
    if chosen_evaluators.retrieves(config):
        split = evaluation_split(config, open_split)
        relevance = chosen_evaluators.class_relevance(split, config.evaluation.max_relevance)
    films_and_units = None
    if not (evaluate.PAIRS.isdisjoint(sources) or config.evaluation.sounds_from):
        films_and_units = FilmsAndUnits(passes, evaluation_split(config, open_split), config.evaluation.films)
    return Evaluation(
        config=FrozenConfigDict(config),
        network=network,
        passes=passes,
        evaluators=chosen_evaluators.build_evaluators(config, relevance, mesh),
        sources=sources,
        relevance=relevance,
        hearing=build_hearing(config, passes, open_split, sources) if config.evaluation.sounds_from else None,
        films_and_units=films_and_units,
    )


def build_hearing(config: ConfigDict, own: Passes, open_split: Callable, sources: Mapping[str, Source]) -> Hearing:
    """The network of the run that `config.evaluation.sounds_from` names, for the pairs among the sources.

    Raises:
      ValueError: there is no such run, or its network does not hear.
    """
    directory = pathlib.Path(config.evaluation.sounds_from)
    other = parts.config_of_run(config, directory)
    network = parts.build_network(other)
    passes = build_passes(other, network, own.mesh, own.preemption)
    if "audio_embedding" not in passes.outputs:
        raise ValueError(f"{network.name} of {directory} does not hear; sounds_from takes a network that does.")
    passes = dataclasses.replace(passes, outputs=frozenset({"audio_embedding"}))
    paired = sources.keys() & {"all_positive", evaluate.FIT}
    return Hearing(
        name=network.name,
        passes=passes,
        checkpoints=Checkpoints(directory / "checkpoints", network=network.name, keep=1, read_only=True),
        sources={name: SOURCES[name](other, passes, open_split) for name in sorted(paired)},
    )


def restored(passes: Passes, checkpoints: Checkpoints, which: str | int) -> tuple[int, TrainState]:
    """Step and state of a checkpoint, to evaluate."""
    state = passes.initial
    step, params, batch_stats = checkpoints.restore_weights(state, parallel.replicated(passes.mesh), which)
    return step, dataclasses.replace(state, params=params, batch_stats=batch_stats)


def score_arrays(config: ConfigDict, path: pathlib.Path) -> tuple[dict[str, dict], dict[str, evaluate.Arrays]]:
    """Figures of the config's evaluators from saved arrays alone, of this or of any other system (docs/scoring.md).

    Raises:
      ValueError: a file that is none, or arrays that an evaluator refuses.
    """
    parts.check_numbers(config)
    arrays = evaluate.load_arrays(path)
    relevance, about = evaluate.read_about(arrays)
    evaluators = chosen_evaluators.build_evaluators(config, relevance)
    return evaluate.results(evaluators, arrays, about), arrays


def evaluation_split(config: ConfigDict, open_split: Callable) -> read.Split:
    """The split of `config.evaluation.dataset`, or of the dataset that is trained on."""
    return open_split(config.evaluation.dataset or config.data.dataset, split=config.evaluation.split)


def pair_source(config: ConfigDict, passes: Passes, open_split: Callable, *, pairing: str) -> Source:
    """Pairs of the evaluation split."""
    split = evaluation_split(config, open_split)
    check.fits(split, passes.inputs)
    collect = functools.partial(passes.pairs, split=split, pairing=pairing)
    if pairing == "avc_draws":
        collect = functools.partial(passes.pairs, split=split, pairing="avc", draws=config.evaluation.pair_draws)
    if pairing == "sources":
        collect = functools.partial(passes.single_sources, split=split)
    return Source(split.dataset, split.name, len(split), collect)


def validation_source(config: ConfigDict, passes: Passes, open_split: Callable) -> Source:
    """Balanced pairs of the validation split."""
    split = open_split(config.data.dataset, split=config.data.validation_split)
    return Source(split.dataset, split.name, len(split), functools.partial(passes.pairs, split=split, pairing="avc"))


def fit_source(config: ConfigDict, passes: Passes, open_split: Callable) -> Source:
    """What evaluators are fitted on: the first `config.evaluation.fit_clips` training clips of the first epoch."""
    split = open_split(config.data.dataset, split=config.data.train_split)
    evaluators = chosen_evaluators.build_evaluators(config, relevance=None)
    chosen_evaluators.check_classes(evaluators, split, evaluation_split(config, open_split))
    first = read.epoch_order(len(split), config.seed, 0)[: config.evaluation.fit_clips]
    options = {"split": split, "pairing": "all_positive", "items": sorted(first.tolist())}
    rule = "the first clips of the first epoch's order"
    return Source(split.dataset, split.name, len(split), functools.partial(passes.pairs, **options), rule)


def window_source(config: ConfigDict, passes: Passes, open_split: Callable) -> Source:
    """Windows of the sound dataset, a fold for each of its splits."""
    dataset = config.evaluation.sound_dataset
    names = read.split_names(dataset, config.data.data_dir)
    tested = chosen_evaluators.tested_splits(config, names)
    splits = {name: open_split(dataset, split=name) for name in names}
    options = {"splits": tuple(splits.values()), "count": config.evaluation.sound_windows, "tested": tested}
    clips = sum(len(splits[name]) for name in tested)
    return Source(dataset, ", ".join(tested), clips, functools.partial(passes.windows, **options))


def image_source(config: ConfigDict, passes: Passes, _: Callable, *, split_key: str) -> Source:
    """Pictures of the classification dataset."""
    settings = config.evaluation
    split = images.open_images(settings.image_dataset, config.data.data_dir, settings[split_key])
    return Source(split.dataset, split.name, len(split), functools.partial(passes.images, split=split))


SOURCES = {
    "all_positive": functools.partial(pair_source, pairing="all_positive"),
    "avc": functools.partial(pair_source, pairing="avc"),
    "avc_draws": functools.partial(pair_source, pairing="avc_draws"),
    "shifted": functools.partial(pair_source, pairing="shifted"),
    "negatives": functools.partial(pair_source, pairing="negatives"),
    "sources": functools.partial(pair_source, pairing="sources"),
    "windows": window_source,
    "images": functools.partial(image_source, split_key="image_split"),
    evaluate.FIT: fit_source,
    evaluate.VALIDATION: validation_source,
    evaluate.IMAGES_FIT: functools.partial(image_source, split_key="image_fit_split"),
}


def build_passes(config: ConfigDict, network: Network, mesh: Mesh, preemption: Preemption) -> Passes:
    """Forward passes of the network with the settings of the config; the devices divide a batch.

    Its size does not depend on how many of them share the workers: the loss of a batch of contrasts depends on it.
    """
    pixels, multiple = config.evaluation.frame_pixels, math.lcm(config.train.num_workers, mesh.size)
    return Passes(
        model=network.evaluation,
        outputs=frozenset(evaluate.output_names(network.outputs(2))),
        initial=parts.replicated_state(network, optax.identity(), mesh),
        # Labels are for the loss alone.
        inputs=dataclasses.replace(network.inputs, classes=0, frame_pixels=pixels or network.inputs.frame_pixels),
        sampling=parts.build_sampling(config),
        mesh=mesh,
        batch_size=-(-config.evaluation.batch // multiple) * multiple,
        seed=config.seed,
        preemption=preemption,
    )
