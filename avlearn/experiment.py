"""Builds an experiment from its config: one object that holds everything that training calls.

Only this module, `build`, `evaluation` and `commands` read configs.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from avlearn.build import (
    Network,
    build_augmentation,
    build_network,
    build_optimizer,
    build_sampling,
    build_schedule,
    build_score,
    build_train_step,
    check_numbers,
    replicated_state,
)
from avlearn.data import augment, built_dataset, evaluation_pairs, pairs, pipeline
from avlearn.devices import placement
from avlearn.evaluation.assembly import Evaluation, build_evaluation
from avlearn.evaluation.forward_passes import ForwardPasses
from avlearn.logs import wandb_log
from avlearn.losses import avc
from avlearn.runs import initialise
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preemption
from avlearn.training import step as steps
from avlearn.training.step import TrainState
from avlearn.types import Arrays
from avlearn.visuals import contact_sheets

LOG = logging.getLogger("avlearn")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A dataset, a network and the functions that train one on the other; made by `build`."""

    config: FrozenConfigDict
    workdir: pathlib.Path
    network: Network
    mesh: Mesh
    splits: dict[str, built_dataset.Split]
    schedule: optax.Schedule
    checkpoints: Checkpoints
    evaluation: Evaluation
    train_step: Callable[[TrainState, augment.RawBatch], tuple[TrainState, dict]]
    initial_state: Callable[[], TrainState]
    training_batches: Callable[[int], Iterator[augment.RawBatch]]
    validation_pairs: Callable[[TrainState], Arrays]
    own_loss: Callable[[TrainState], float] | None
    preemption: Preemption

    def start(self) -> TrainState:
        """Return the state of the latest checkpoint, or of step 0 if the run has no checkpoints.

        Raises:
          ValueError: the checkpoints hold another network, or `config.train.initialise_from` does not fit.
        """
        state = self.initial_state()
        kind = self.mesh.devices.flat[0].device_kind
        devices = f"{self.mesh.size} device(s) ({kind}) of {jax.process_count()} process(es)"
        workers = f"{self.config.train.num_workers} worker(s) on {devices}"
        if self.checkpoints.latest_step() is None:
            LOG.info("Starting from step 0; %s.", workers)
            if not self.config.train.initialise_from:
                return state
            source, frozen = self.config.train.initialise_from, self.config.train.frozen
            return initialise.initialised(state, source, frozen, placement.replicated(self.mesh))
        state = self.checkpoints.restore_state(state, placement.replicated(self.mesh))
        LOG.info("Resuming from step %d of %s; %s.", int(state.step), self.checkpoints.directory, workers)
        return state

    def validate(self, state: TrainState) -> tuple[dict[str, float], Arrays]:
        """Return loss, accuracy and rate of predicted positives on the validation split, and the arrays of its pairs.

        Half of the pairs correspond. The others take their audio from another moment of the clip if the pairing is
        `shifted`, else from another video. For a network that does not train on pairs, the loss is its training loss,
        on batches of `config.evaluation.batch` clips.
        """
        arrays = self.validation_pairs(state)
        corresponds = jnp.asarray(arrays["corresponds"])
        loss, metrics = avc.logistic(
            jnp.asarray(arrays["logit"]), corresponds, jnp.ones(corresponds.shape, jnp.float32)
        )
        if self.own_loss is not None:
            loss = self.own_loss(state)
        return {f"validation/{name}": float(value) for name, value in {"loss": loss, **metrics}.items()}, arrays

    def clip_ids(self, worker: int, step: int) -> list[str]:
        """Return the ids of the clips in a worker's batch at a step (from 1), in the batch's order."""
        split, train, data = self.splits["train"], self.config.train, self.config.data
        numbers = pipeline.training_clips(
            split,
            seed=self.config.seed,
            num_workers=train.num_workers,
            batch_per_worker=train.batch_per_worker,
            samples_per_clip=data.samples_per_clip,
            pairing=data.pairing,
            worker=worker,
            step=step - 1,
        )
        return split.clip_ids(numbers)

    def images(self, pairs: Arrays) -> dict[str, np.ndarray]:
        """Draw contact sheets of a few fixed validation clips from the arrays of `validate`."""
        split = self.splits["validation"]
        examples = functools.partial(evaluation_pairs.examples, split, self.network.inputs)
        return contact_sheets.sheets(pairs, examples, split.class_names)


def build(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    preemption: Preemption | None = None,
    devices: list[jax.Device] | None = None,
) -> Experiment:
    """Open the dataset, build the network and check that everything fits; writes nothing.

    Args:
      config: the complete config.
      workdir: directory of the run.
      preemption: listens for SIGTERM; None: SIGTERM is not handled.
      devices: devices of the run; None: all.

    Raises:
      ValueError: names the setting that is not allowed or does not fit.
    """
    check_numbers(config)
    if config.train.wandb_project and jax.process_index() == 0:
        wandb_log.module()
    network = build_network(config)
    mesh = placement.make_mesh(config.train.num_workers, devices)
    preemption = Preemption() if preemption is None else preemption
    data = config.data
    names = {"train": data.train_split, "validation": data.validation_split}
    splits = {role: built_dataset.open_split(data.dataset, data.data_dir, name) for role, name in names.items()}
    if splits["train"].full_records_reason:
        LOG.info("Reading complete records: %s.", splits["train"].full_records_reason)
    cuts_per_step = config.train.num_workers * config.train.batch_per_worker // pairs.rows_per_moment(data.pairing)
    schedule = build_schedule(config, len(splits["train"]) * data.samples_per_clip / cuts_per_step)
    adam = build_optimizer(config, schedule)
    train_step = build_train_step(config, network, adam, mesh, prepare=build_augmentation(config))
    pipeline.check_batches(splits["train"], network.inputs, build_sampling(config), config.train.batch_per_worker)
    stream = training_stream(config, network, splits["train"])
    evaluation = build_evaluation(config, network, mesh, preemption)
    check_validation(splits, data.pairing)
    validated = {"split": splits["validation"], "inputs": network.inputs}
    return Experiment(
        config=FrozenConfigDict(config),
        workdir=workdir,
        network=network,
        mesh=mesh,
        splits=splits,
        schedule=schedule,
        checkpoints=Checkpoints(workdir / "checkpoints", network=network.name, keep=config.train.keep_checkpoints),
        evaluation=evaluation,
        train_step=train_step,
        initial_state=functools.partial(replicated_state, network, adam, mesh),
        training_batches=functools.partial(batches_on_devices, stream, mesh, config.train.num_workers),
        validation_pairs=functools.partial(
            evaluation.passes.pairs, **validated, pairing="shifted" if data.pairing == "shifted" else "avc"
        ),
        own_loss=validation_loss(config, network, evaluation.passes, **validated),
        preemption=preemption,
    )


def check_validation(splits: Mapping[str, built_dataset.Split], pairing: str) -> None:
    """Check that the clips of the validation split can be paired; say so if its negatives or its clips are special.

    Raises:
      ValueError: it has a single clip, which has no negative.
    """
    split = splits["validation"]
    try:
        _, note = (1, "") if pairing == "shifted" else evaluation_pairs.possible_negatives(split)
    except ValueError as error:
        raise ValueError(f"validation: {error}. Name another split with --config.data.validation_split.") from error
    if note:
        LOG.info("Validation: %s (the split %r of %s).", note, split.name, split.dataset)
    shared = splits["train"].shared_with(split)
    if shared:
        LOG.info(
            "%d of the %d clips of validation are trained on, so that the best checkpoint is one of the last: use "
            "--config.evaluation.checkpoint=latest.",
            shared,
            len(split),
        )


def training_stream(
    config: ConfigDict, network: Network, split: built_dataset.Split
) -> Callable[..., Iterator[augment.RawBatch]]:
    """Return the function that yields the training batches of some workers from a step on, in NumPy, not augmented."""
    return functools.partial(
        pipeline.training_batches,
        split,
        network.inputs,
        build_sampling(config),
        seed=config.seed,
        num_workers=config.train.num_workers,
        batch_per_worker=config.train.batch_per_worker,
    )


def batches_on_devices(stream: Callable, mesh: Mesh, num_workers: int, first_step: int) -> Iterator[augment.RawBatch]:
    """Yield this process's share of each batch, sharded over the mesh; the training step augments it."""
    workers = placement.local_workers(mesh, num_workers)
    for cuts in stream(workers=workers, first_step=first_step):
        yield placement.to_devices(mesh, cuts)


def validation_loss(
    config: ConfigDict, network: Network, passes: ForwardPasses, **validated
) -> Callable[[TrainState], float] | None:
    """Return the function that computes the mean training loss over a split's clips; None for losses on pairs."""
    if network.loss is None or "avc" in network.pairings:
        return None
    score = build_score(config, network)
    compiled = jax.jit(functools.partial(steps.evaluation_loss, model=network.evaluation, score=score))

    def mean_loss(state: TrainState) -> float:
        losses, clips = [], []
        for batch, _ in passes.batches(**validated, pairing="all_positive"):
            losses.append(float(compiled(state, placement.global_to_devices(passes.mesh, batch))))
            clips.append(float(batch.weight.sum()))
        return float(np.average(losses, weights=clips))

    return mean_loss
