"""Puts an experiment together from its config: one object of ready callables. Only this and `parts` read the config."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from avlearn import evaluate, parallel, parts
from avlearn import step as steps
from avlearn.checkpoint import Checkpoints
from avlearn.data import pipeline, read
from avlearn.losses import avc
from avlearn.parts import Network
from avlearn.preemption import Preemption
from avlearn.step import TrainState
from avlearn.types import Batch
from avlearn.visuals import training_pictures

LOG = logging.getLogger("avlearn")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A dataset, a network and how they meet; made by `build`."""

    config: FrozenConfigDict
    workdir: pathlib.Path
    network: Network
    mesh: Mesh
    splits: dict[str, read.Split]
    schedule: optax.Schedule
    checkpoints: Checkpoints
    evaluators: tuple[evaluate.Evaluator, ...]
    train_step: Callable[[TrainState, Batch], tuple[TrainState, dict]]
    initial_state: Callable[[], TrainState]
    training_batches: Callable[[int], Iterator[Batch]]
    collect: Callable[..., evaluate.Arrays]
    own_loss: Callable[[TrainState], float] | None
    preemption: Preemption

    def start(self) -> TrainState:
        """The latest checkpoint, or the state of step 0 where there is none."""
        state = self.initial_state()
        devices = f"{self.mesh.size} device(s) of {jax.process_count()} process(es)"
        workers = f"{self.config.train.num_workers} worker(s) on {devices}"
        if self.checkpoints.latest_step() is None:
            LOG.info("Starts from step 0; %s.", workers)
            return state
        state = self.checkpoints.restore_state(state, parallel.replicated(self.mesh))
        LOG.info("Goes on from step %d of %s; %s.", int(state.step), self.checkpoints.directory, workers)
        return state

    def validate(self, state: TrainState) -> tuple[dict[str, float], evaluate.Arrays]:
        """Loss, accuracy and rate of predicted positives on balanced pairs of the validation split.

        The pairs are those of AVC, or shifted ones where these are what is trained on. Of a network that is not trained
        on pairs, the loss is that of training, on batches of `config.evaluation.batch`.
        """
        pairing = "shifted" if self.config.data.pairing == "shifted" else "avc"
        arrays = self.collect(state, "validation", pairing)
        corresponds = jnp.asarray(arrays["corresponds"])
        loss, metrics = avc.logistic(
            jnp.asarray(arrays["logit"]), corresponds, jnp.ones(corresponds.shape, jnp.float32)
        )
        if self.own_loss is not None:
            loss = self.own_loss(state)
        return {f"validation/{name}": float(value) for name, value in {"loss": loss, **metrics}.items()}, arrays

    def pictures(self, pairs: evaluate.Arrays) -> dict[str, np.ndarray]:
        """Contact sheets of a few validation clips, always the same ones, from the arrays of `validate`."""
        split = self.splits["validation"]
        examples = functools.partial(pipeline.examples, split, self.network.inputs)
        return training_pictures.sheets(pairs, examples, split.class_names)

    def collect_fit(self, state: TrainState, fit_on: str) -> evaluate.Arrays:
        """What evaluators are fitted on.

        Under `evaluate.FIT` the first `config.evaluation.fit_clips` training clips of the first epoch, under
        `evaluate.VALIDATION` balanced pairs of the validation split.
        """
        needed = {name for evaluator in self.evaluators if evaluator.fit_on == fit_on for name in evaluator.fit_needs}
        if fit_on == evaluate.VALIDATION:
            arrays = self.collect(state, "validation", "avc")
            return {name: arrays[name] for name in sorted(needed | {"image_item"})}
        clips = len(self.splits["train"])
        first = read.epoch_order(clips, self.config.seed, 0)[: self.config.evaluation.fit_clips]
        LOG.info("Collects %d of %d training clips to fit evaluators on.", len(first), clips)
        arrays = self.collect(state, "train", "all_positive", sorted(first.tolist()))
        return {name: arrays[name] for name in sorted(needed | {"image_item"})}

    def fit_facts(self, fit_on: str) -> dict:
        """What results say of the clips that an evaluator was fitted on."""
        role, rule = {
            evaluate.FIT: ("train", "the first clips of the first epoch's order"),
            evaluate.VALIDATION: ("validation", "every clip, with its own sound and with another's"),
        }[fit_on]
        return {"split": self.splits[role].name, "clips_of_split": len(self.splits[role]), "rule": rule}

    def evaluate(self, checkpoints: Checkpoints) -> dict[str, dict]:
        """Restores a checkpoint, computes the figures on the evaluation split and writes them to the workdir."""
        state = self.initial_state()
        step, params, batch_stats = checkpoints.restore_weights(
            state, parallel.replicated(self.mesh), self.config.evaluation.checkpoint
        )
        state = dataclasses.replace(state, params=params, batch_stats=batch_stats)
        split = self.splits["evaluation"]
        LOG.info("Evaluates step %d of %s on %d clips.", step, checkpoints.directory, len(split))
        pairings = {evaluator.pairing for evaluator in self.evaluators}
        arrays = {pairing: self.collect(state, "evaluation", pairing) for pairing in sorted(pairings)}
        for fit_on in {evaluator.fit_on for evaluator in self.evaluators if evaluator.fit_needs}:
            arrays[fit_on] = self.collect_fit(state, fit_on)
        results = evaluate.run(self.evaluators, arrays, clips=len(split))
        facts = {
            "network": self.network.name,
            "dataset": self.config.data.dataset,
            "split": self.config.evaluation.split,
            "checkpoint_step": step,
            "seed": self.config.seed,
        }
        for evaluator in self.evaluators:
            if evaluator.fit_needs:
                results[evaluator.name]["fit"] |= self.fit_facts(evaluator.fit_on)
        results = {name: figures | facts for name, figures in results.items()}
        evaluate.save(self.workdir, results, arrays)
        return results


def build(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    preemption: Preemption | None = None,
    devices: list[jax.Device] | None = None,
) -> Experiment:
    """Opens the dataset, builds the network and checks that all parts fit, before step 1.

    Args:
      config: what to build.
      workdir: the run's directory.
      preemption: who listens for the notice to leave; None: nobody does.
      devices: where it runs; None: on all there are.

    Raises:
      ValueError: something in the config is unknown or does not fit; says what is allowed.
    """
    parts.check_numbers(config)
    network = parts.build_network(config)
    mesh = parallel.make_mesh(config.train.num_workers, devices)
    preemption = Preemption() if preemption is None else preemption
    data = config.data
    names = {"train": data.train_split, "validation": data.validation_split, "evaluation": config.evaluation.split}
    splits = {role: read.open_split(data.dataset, data.data_dir, name) for role, name in names.items()}
    pairs_per_step = config.train.num_workers * config.train.batch_per_worker
    schedule = parts.build_schedule(config, len(splits["train"]) * data.samples_per_clip / pairs_per_step)
    adam = parts.build_optimizer(config, schedule)
    evaluators = parts.build_evaluators(
        config, parts.class_relevance(splits["evaluation"], config.evaluation.max_relevance)
    )
    evaluate.check_needs(evaluators, evaluate.output_names(network.outputs(2)) | parts.ANNOTATIONS, network.name)
    stream = training_stream(config, network, splits["train"])
    return Experiment(
        config=FrozenConfigDict(config),
        workdir=workdir,
        network=network,
        mesh=mesh,
        splits=splits,
        schedule=schedule,
        checkpoints=Checkpoints(workdir / "checkpoints", network=network.name, keep=config.train.keep_checkpoints),
        evaluators=evaluators,
        train_step=parts.build_train_step(config, network, adam, mesh),
        initial_state=functools.partial(replicated_state, network, adam, mesh),
        training_batches=functools.partial(batches_on_devices, stream, mesh, config.train.num_workers),
        collect=collector(config, network, mesh, splits, preemption),
        own_loss=validation_loss(config, network, mesh, splits, preemption),
        preemption=preemption,
    )


def replicated_state(network: Network, adam: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state of step 0, on every device."""
    state = steps.initial_state(network.training, adam)
    # A copy: the step donates its state, and the network's own arrays stay good.
    return jax.device_put(jax.tree.map(jnp.copy, state), parallel.replicated(mesh))


def training_stream(config: ConfigDict, network: Network, split: read.Split) -> Callable[..., Iterator[Batch]]:
    """The training batches of given workers from a given step on, as NumPy arrays."""
    return functools.partial(
        pipeline.training_batches,
        split,
        network.inputs,
        parts.build_sampling(config),
        seed=config.seed,
        num_workers=config.train.num_workers,
        batch_per_worker=config.train.batch_per_worker,
    )


def batches_on_devices(stream: Callable, mesh: Mesh, num_workers: int, first_step: int) -> Iterator[Batch]:
    """This process's share of each batch, laid over the mesh."""
    workers = parallel.local_workers(mesh, num_workers)
    for batch in stream(workers=workers, first_step=first_step):
        yield parallel.to_devices(mesh, batch)


def collector(
    config: ConfigDict, network: Network, mesh: Mesh, splits: dict[str, read.Split], preemption: Preemption
) -> Callable:
    """Forward pass over a split: (state, role of the split, pairing, clips or None for all of them) to arrays.

    It raises `Preempted` where a process is told to leave.
    """
    compiled = jax.jit(functools.partial(steps.predict, model=network.evaluation))
    batches_of = evaluation_batches_of(config)
    pixels = config.evaluation.frame_pixels
    evaluated = network.inputs if pixels == 0 else dataclasses.replace(network.inputs, frame_pixels=pixels)
    inputs = {"validation": network.inputs, "evaluation": evaluated, "train": evaluated}

    def collect(state: TrainState, role: str, pairing: str, items: Sequence[int] | None = None) -> evaluate.Arrays:
        batches = preemption.checked(batches_of(splits[role], inputs[role], pairing=pairing, items=items))
        return evaluate.collect(lambda batch: compiled(state, parallel.whole_to_devices(mesh, batch)), batches)

    return collect


def validation_loss(
    config: ConfigDict, network: Network, mesh: Mesh, splits: dict[str, read.Split], preemption: Preemption
) -> Callable[[TrainState], float] | None:
    """Training's loss over the validation split, the mean over its clips; None where that is the loss on pairs."""
    if not set(network.pairings) - {"avc", "all_pairs"}:
        return None
    score = parts.build_score(config, network)
    compiled = jax.jit(functools.partial(steps.evaluation_loss, model=network.evaluation, score=score))
    batches_of = evaluation_batches_of(config)

    def mean_loss(state: TrainState) -> float:
        losses, clips = [], []
        batches = batches_of(splits["validation"], network.inputs, pairing="all_positive")
        for batch, _ in preemption.checked(batches):
            losses.append(float(compiled(state, parallel.whole_to_devices(mesh, batch))))
            clips.append(float(batch.weight.sum()))
        return float(np.average(losses, weights=clips))

    return mean_loss


def evaluation_batches_of(config: ConfigDict) -> Callable:
    """`pipeline.evaluation_batches` with the settings of the config; any devices that share the workers divide a batch.

    Its size must not depend on how many there are: the loss of a batch of contrasts depends on its size.
    """
    workers = config.train.num_workers
    return functools.partial(
        pipeline.evaluation_batches,
        sampling=parts.build_sampling(config),
        batch_size=-(-config.evaluation.batch // workers) * workers,
        seed=config.seed,
    )
