"""Puts an experiment together from its config: one object of ready callables.

Only this, `evaluation` and `parts` read the config.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from avlearn import evaluate, parallel, parts, pretraining
from avlearn import step as steps
from avlearn.checkpoint import Checkpoints
from avlearn.data import augment, evaluation_pairs, pairs, pipeline, read
from avlearn.evaluation import Evaluation, build_evaluation
from avlearn.losses import avc
from avlearn.parts import Network
from avlearn.preemption import Preemption
from avlearn.sources import Passes
from avlearn.step import TrainState
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
    evaluation: Evaluation
    train_step: Callable[[TrainState, augment.Cuts], tuple[TrainState, dict]]
    initial_state: Callable[[], TrainState]
    training_batches: Callable[[int], Iterator[augment.Cuts]]
    validation_pairs: Callable[[TrainState], evaluate.Arrays]
    own_loss: Callable[[TrainState], float] | None
    preemption: Preemption

    def start(self) -> TrainState:
        """The latest checkpoint, or the state of step 0 where there is none.

        Raises:
          ValueError: `config.train.initialise_from` does not fit.
        """
        state = self.initial_state()
        kind = self.mesh.devices.flat[0].device_kind
        devices = f"{self.mesh.size} device(s) ({kind}) of {jax.process_count()} process(es)"
        workers = f"{self.config.train.num_workers} worker(s) on {devices}"
        if self.checkpoints.latest_step() is None:
            LOG.info("Starts from step 0; %s.", workers)
            if not self.config.train.initialise_from:
                return state
            source, frozen = self.config.train.initialise_from, self.config.train.frozen
            return pretraining.initialised(state, source, frozen, parallel.replicated(self.mesh))
        state = self.checkpoints.restore_state(state, parallel.replicated(self.mesh))
        LOG.info("Goes on from step %d of %s; %s.", int(state.step), self.checkpoints.directory, workers)
        return state

    def validate(self, state: TrainState) -> tuple[dict[str, float], evaluate.Arrays]:
        """Loss, accuracy and rate of predicted positives on balanced pairs of the validation split.

        The pairs are those of AVC, or shifted ones where these are what is trained on. Of a network that is not trained
        on pairs, the loss is that of training, on batches of `config.evaluation.batch`.
        """
        arrays = self.validation_pairs(state)
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
        examples = functools.partial(evaluation_pairs.examples, split, self.network.inputs)
        return training_pictures.sheets(pairs, examples, split.class_names)


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
    names = {"train": data.train_split, "validation": data.validation_split}
    splits = {role: read.open_split(data.dataset, data.data_dir, name) for role, name in names.items()}
    if splits["train"].whole_because:
        LOG.info("Of each clip the whole record is read: %s.", splits["train"].whole_because)
    cuts_per_step = config.train.num_workers * config.train.batch_per_worker // pairs.sharing(data.pairing)
    schedule = parts.build_schedule(config, len(splits["train"]) * data.samples_per_clip / cuts_per_step)
    adam = parts.build_optimizer(config, schedule)
    stream = training_stream(config, network, splits["train"])
    evaluation = build_evaluation(config, network, mesh, preemption)
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
        train_step=parts.build_train_step(config, network, adam, mesh, prepare=parts.build_augmentation(config)),
        initial_state=functools.partial(parts.replicated_state, network, adam, mesh),
        training_batches=functools.partial(batches_on_devices, stream, mesh, config.train.num_workers),
        validation_pairs=functools.partial(
            evaluation.passes.pairs, **validated, pairing="shifted" if data.pairing == "shifted" else "avc"
        ),
        own_loss=validation_loss(config, network, evaluation.passes, **validated),
        preemption=preemption,
    )


def training_stream(config: ConfigDict, network: Network, split: read.Split) -> Callable[..., Iterator[augment.Cuts]]:
    """The training batches of given workers from a given step on, as NumPy arrays, not yet augmented."""
    return functools.partial(
        pipeline.training_batches,
        split,
        network.inputs,
        parts.build_sampling(config),
        seed=config.seed,
        num_workers=config.train.num_workers,
        batch_per_worker=config.train.batch_per_worker,
    )


def batches_on_devices(stream: Callable, mesh: Mesh, num_workers: int, first_step: int) -> Iterator[augment.Cuts]:
    """This process's share of each batch, laid over the mesh; the training step augments it."""
    workers = parallel.local_workers(mesh, num_workers)
    for cuts in stream(workers=workers, first_step=first_step):
        yield parallel.to_devices(mesh, cuts)


def validation_loss(
    config: ConfigDict, network: Network, passes: Passes, **validated
) -> Callable[[TrainState], float] | None:
    """Training's loss over a split, the mean over its clips; None where that is the loss on pairs."""
    if network.loss is None or "avc" in network.pairings:
        return None
    score = parts.build_score(config, network)
    compiled = jax.jit(functools.partial(steps.evaluation_loss, model=network.evaluation, score=score))

    def mean_loss(state: TrainState) -> float:
        losses, clips = [], []
        for batch, _ in passes.batches(**validated, pairing="all_positive"):
            losses.append(float(compiled(state, parallel.whole_to_devices(passes.mesh, batch))))
            clips.append(float(batch.weight.sum()))
        return float(np.average(losses, weights=clips))

    return mean_loss
