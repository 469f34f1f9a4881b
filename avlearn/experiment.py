"""Puts an experiment together: the only reader of the config, returning one object of ready callables."""

import dataclasses
import functools
import importlib
import logging
import pathlib
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

import avlearn.evaluators
import avlearn.models
from avlearn import evaluate, optimizer, parallel
from avlearn import step as steps
from avlearn.checkpoint import Checkpoints, check_which
from avlearn.data import pipeline, read
from avlearn.evaluators import ndcg
from avlearn.ontology import Ontology
from avlearn.step import TrainState
from avlearn.types import Batch, InputSpec, Outputs

LOG = logging.getLogger("avlearn")
PAIRINGS = {"avc": steps.score_pairs, "all_pairs": steps.score_all_pairs}
# What the records say of each pair, for the evaluators.
ANNOTATIONS = {"corresponds", "labels", "boxes", "box_label", "box_sounding", "image_item", "audio_item", "clip_id"}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as the config describes it, without data.

    Attributes:
      name: of its file in avlearn/models.
      inputs: what it eats.
      training: the model in training mode; its parameters are those of step 0.
      evaluation: the same in evaluation mode.
      loss: its loss on logits.
    """

    name: str
    inputs: InputSpec
    training: nnx.Module
    evaluation: nnx.Module
    loss: Callable

    def outputs(self, batch: int) -> Outputs:
        """Shapes of what it says about so many pairs."""
        return jax.eval_shape(self.evaluation, empty_batch(self.inputs, (batch,)))


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
    collect: Callable[[TrainState, str, str], evaluate.Arrays]

    def start(self) -> TrainState:
        """The latest checkpoint, or the state of step 0 where there is none."""
        state = self.initial_state()
        if self.checkpoints.latest_step() is None:
            return state
        state = self.checkpoints.restore_state(state, parallel.replicated(self.mesh))
        LOG.info("Goes on from step %d of %s.", int(state.step), self.checkpoints.directory)
        return state

    def validate(self, state: TrainState) -> dict[str, float]:
        """Loss, accuracy and rate of predicted positives on balanced pairs of the validation split."""
        arrays = self.collect(state, "validation", "avc")
        corresponds = jnp.asarray(arrays["corresponds"])
        loss, metrics = self.network.loss(
            jnp.asarray(arrays["logit"]), corresponds, jnp.ones(corresponds.shape, jnp.float32)
        )
        return {f"validation/{name}": float(value) for name, value in {"loss": loss, **metrics}.items()}

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
        results = evaluate.run(self.evaluators, arrays, clips=len(split))
        facts = {
            "network": self.network.name,
            "dataset": self.config.data.dataset,
            "split": self.config.evaluation.split,
            "checkpoint_step": step,
            "seed": self.config.seed,
        }
        results = {name: figures | facts for name, figures in results.items()}
        evaluate.save(self.workdir, results, arrays)
        return results


def build(config: ConfigDict, workdir: pathlib.Path) -> Experiment:
    """Opens the dataset, builds the network and checks that all parts fit, before step 1.

    Raises:
      ValueError: something in the config is unknown or does not fit; says what is allowed.
    """
    check_numbers(config)
    network = build_network(config)
    mesh = parallel.make_mesh(config.train.num_workers)
    data = config.data
    names = {"train": data.train_split, "validation": data.validation_split, "evaluation": config.evaluation.split}
    splits = {role: read.open_split(data.dataset, data.data_dir, name) for role, name in names.items()}
    pairs_per_step = config.train.num_workers * config.train.batch_per_worker
    schedule = build_schedule(config, len(splits["train"]) * data.samples_per_clip / pairs_per_step)
    adam = build_optimizer(config, schedule)
    evaluators = build_evaluators(config, class_relevance(splits["evaluation"], config.evaluation.max_relevance))
    evaluate.check_needs(evaluators, evaluate.output_names(network.outputs(2)) | ANNOTATIONS, network.name)
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
        train_step=build_train_step(config, network, adam, mesh),
        initial_state=functools.partial(replicated_state, network, adam, mesh),
        training_batches=functools.partial(batches_on_devices, stream, mesh, config.train.num_workers),
        collect=collector(config, network, mesh, splits),
    )


def check_numbers(config: ConfigDict) -> None:
    """Refuses counts below 1 and an unknown choice of checkpoint, which would show only in the middle of a run.

    Raises:
      ValueError: names the key, its value and what is allowed.
    """
    counts = (
        "num_workers",
        "batch_per_worker",
        "steps",
        "log_every_steps",
        "checkpoint_every_steps",
        "keep_checkpoints",
    )
    values = {f"train.{name}": config.train[name] for name in counts} | {"evaluation.batch": config.evaluation.batch}
    for key, value in values.items():
        if value < 1:
            raise ValueError(f"{key} is {value}; --config.{key} is at least 1.")
    check_which(config.evaluation.checkpoint)


def build_network(config: ConfigDict) -> Network:
    """The network of the config with the parameters of step 0, without data."""
    module = by_name(avlearn.models, config.model.name, "config.model.name")
    inputs = InputSpec(**config.inputs)
    training = module.Model(config.model, inputs, rngs=nnx.Rngs(config.seed))
    training.train()
    evaluation = nnx.clone(training)
    evaluation.eval()
    return Network(config.model.name, inputs, training, evaluation, module.loss)


def build_schedule(config: ConfigDict, steps_per_epoch: float) -> optax.Schedule:
    """Learning rate by step."""
    train = config.train
    if train.schedule == "staircase":
        return optimizer.staircase(
            train.learning_rate,
            steps_per_epoch=steps_per_epoch,
            decay_factor=train.decay_factor,
            decay_epochs=train.decay_epochs,
        )
    if train.schedule == "warmup_cosine":
        return optimizer.warmup_cosine(train.learning_rate, warmup_steps=train.warmup_steps, steps=train.steps)
    raise ValueError(
        f"schedule {train.schedule!r} is unknown; use --config.train.schedule={' or '.join(optimizer.SCHEDULES)}."
    )


def build_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam as the config says."""
    return optimizer.adam(
        schedule, weight_decay=config.train.weight_decay, weight_decay_kind=config.train.weight_decay_kind
    )


def build_train_step(config: ConfigDict, network: Network, adam: optax.GradientTransformation, mesh: Mesh) -> Callable:
    """The compiled step for the config's pairing."""
    if config.data.pairing not in PAIRINGS:
        raise ValueError(
            f"pairing {config.data.pairing!r} is unknown; use --config.data.pairing={' or '.join(PAIRINGS)}."
        )
    score = functools.partial(PAIRINGS[config.data.pairing], loss=network.loss)
    return steps.jit_train_step(model=network.training, score=score, optimizer=adam, mesh=mesh)


def build_evaluators(config: ConfigDict, relevance: np.ndarray | None) -> tuple[evaluate.Evaluator, ...]:
    """The evaluators that the config names; `relevance` between classes may be None where only needs are asked."""
    settings = config.evaluation
    if settings.gain not in ndcg.GAINS:
        raise ValueError(f"gain {settings.gain!r} is unknown; use --config.evaluation.gain={' or '.join(ndcg.GAINS)}.")
    options = {"ndcg": {"k": settings.k, "gain": settings.gain, "class_relevance": relevance}}
    evaluators = []
    for name in settings.evaluators:
        module = by_name(avlearn.evaluators, name, "config.evaluation.evaluators")
        evaluators.append(
            evaluate.Evaluator(name, module.NEEDS, module.PAIRING, module.evaluate, options.get(name, {}))
        )
    return tuple(evaluators)


def class_relevance(split: read.Split, max_relevance: int) -> np.ndarray:
    """Relevance between classes: by the dataset's ontology, or 1 for the same class where it has none."""
    if not split.ontology:
        return np.eye(len(split.class_ids), dtype=int)
    return Ontology.from_nodes(split.ontology).class_relevance(split.class_ids, max_relevance=max_relevance)


def by_name(package: ModuleType, name: str, key: str) -> ModuleType:
    """The module of this name in a package whose files are the index."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    if name not in names:
        raise ValueError(f"{key}: {name!r} is unknown; {package.__name__} has {', '.join(names)}.")
    return importlib.import_module(f"{package.__name__}.{name}")


def replicated_state(network: Network, adam: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state of step 0, on every device."""
    state = steps.initial_state(network.training, adam)
    # A copy: the step donates its state, and the network's own arrays stay good.
    return jax.device_put(jax.tree.map(jnp.copy, state), parallel.replicated(mesh))


def build_sampling(config: ConfigDict) -> pipeline.Sampling:
    """How the config draws and changes pairs."""
    fields = {field.name for field in dataclasses.fields(pipeline.Sampling)}
    return pipeline.Sampling(**{name: value for name, value in config.data.items() if name in fields})


def training_stream(config: ConfigDict, network: Network, split: read.Split) -> Callable[..., Iterator[Batch]]:
    """The training batches of given workers from a given step on, as NumPy arrays."""
    return functools.partial(
        pipeline.training_batches,
        split,
        network.inputs,
        build_sampling(config),
        seed=config.seed,
        num_workers=config.train.num_workers,
        batch_per_worker=config.train.batch_per_worker,
    )


def batches_on_devices(stream: Callable, mesh: Mesh, num_workers: int, first_step: int) -> Iterator[Batch]:
    """This process's share of each batch, laid over the mesh."""
    workers = parallel.local_workers(mesh, num_workers)
    for batch in stream(workers=workers, first_step=first_step):
        yield parallel.to_devices(mesh, batch)


def collector(config: ConfigDict, network: Network, mesh: Mesh, splits: dict[str, read.Split]) -> Callable:
    """Forward pass over a split: (state, role of the split, pairing) to arrays."""
    compiled = jax.jit(functools.partial(steps.predict, model=network.evaluation))
    pixels = config.evaluation.frame_pixels
    evaluated = network.inputs if pixels == 0 else dataclasses.replace(network.inputs, frame_pixels=pixels)
    inputs = {"validation": network.inputs, "evaluation": evaluated}
    batches_of = functools.partial(
        pipeline.evaluation_batches,
        sampling=build_sampling(config),
        batch_size=-(-config.evaluation.batch // mesh.size) * mesh.size,
        seed=config.seed,
    )

    def collect(state: TrainState, role: str, pairing: str) -> evaluate.Arrays:
        batches = batches_of(splits[role], inputs[role], pairing=pairing)
        return evaluate.collect(lambda batch: compiled(state, parallel.whole_to_devices(mesh, batch)), batches)

    return collect


def empty_batch(inputs: InputSpec, leading: tuple[int, ...]) -> Batch:
    """Shapes and types of a batch."""
    return Batch(
        frames=jax.ShapeDtypeStruct((*leading, *inputs.frame_shape), jnp.uint8),
        log_spectrogram=jax.ShapeDtypeStruct((*leading, *inputs.spectrogram_shape), jnp.float32),
        corresponds=jax.ShapeDtypeStruct(leading, jnp.bool_),
        video=jax.ShapeDtypeStruct(leading, jnp.int32),
        weight=jax.ShapeDtypeStruct(leading, jnp.float32),
    )
