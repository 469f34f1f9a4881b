"""Puts an experiment together: the only reader of the config, returning one object of ready callables."""

import dataclasses
import functools
import importlib
import inspect
import logging
import pathlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
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
from avlearn.evaluators import ciou, ndcg
from avlearn.evaluators.parts import pixel_maps
from avlearn.losses import avc
from avlearn.ontology import Ontology
from avlearn.step import TrainState
from avlearn.types import Batch, InputSpec, Outputs

LOG = logging.getLogger("avlearn")
SCORES = {"avc": steps.score_pairs, "all_pairs": steps.score_all_pairs, "contrast": steps.score_contrast}
# What the records say of each pair, for the evaluators.
ANNOTATIONS = {"corresponds", "labels", "boxes", "box_label", "box_sounding", "box_annotator"}
ANNOTATIONS |= {"image_item", "audio_item", "clip_id"}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as the config describes it, without data.

    Attributes:
      name: of its file in avlearn/models.
      inputs: what it eats.
      training: the model in training mode; its parameters are those of step 0.
      evaluation: the same in evaluation mode.
      loss: its loss, with its settings: on log-odds, or for a network that trains by `contrast`, on that. None
        where the network is not trained here (VGG16).
    """

    name: str
    inputs: InputSpec
    training: nnx.Module
    evaluation: nnx.Module
    loss: Callable | None

    @property
    def pairings(self) -> tuple[str, ...]:
        """Pairings of `config.data` that it can be trained with; none where it has no loss."""
        if self.loss is None:
            return ()
        return ("contrast",) if hasattr(self.training, "contrast") else ("avc", "all_pairs")

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
    collect: Callable[..., evaluate.Arrays]
    contrast_loss: Callable[[TrainState], float] | None

    def start(self) -> TrainState:
        """The latest checkpoint, or the state of step 0 where there is none."""
        state = self.initial_state()
        if self.checkpoints.latest_step() is None:
            return state
        state = self.checkpoints.restore_state(state, parallel.replicated(self.mesh))
        LOG.info("Goes on from step %d of %s.", int(state.step), self.checkpoints.directory)
        return state

    def validate(self, state: TrainState) -> dict[str, float]:
        """Loss, accuracy and rate of predicted positives on balanced pairs of the validation split.

        Of a network that trains by `contrast`, the loss is that of training, on batches of `config.evaluation.batch`.
        """
        arrays = self.collect(state, "validation", "avc")
        corresponds = jnp.asarray(arrays["corresponds"])
        loss, metrics = avc.logistic(
            jnp.asarray(arrays["logit"]), corresponds, jnp.ones(corresponds.shape, jnp.float32)
        )
        if self.contrast_loss is not None:
            loss = self.contrast_loss(state)
        return {f"validation/{name}": float(value) for name, value in {"loss": loss, **metrics}.items()}

    def collect_fit(self, state: TrainState) -> evaluate.Arrays:
        """What evaluators are fitted on: the first `config.evaluation.fit_clips` training clips of the first epoch."""
        clips = len(self.splits["train"])
        first = read.epoch_order(clips, self.config.seed, 0)[: self.config.evaluation.fit_clips]
        LOG.info("Collects %d of %d training clips to fit evaluators on.", len(first), clips)
        arrays = self.collect(state, "train", "all_positive", sorted(first.tolist()))
        needed = {name for evaluator in self.evaluators for name in evaluator.fit_needs}
        return {name: arrays[name] for name in sorted(needed | {"image_item"})}

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
        if any(evaluator.fit_needs for evaluator in self.evaluators):
            arrays[evaluate.FIT] = self.collect_fit(state)
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
                train = {"split": self.splits["train"].name, "clips_of_split": len(self.splits["train"])}
                results[evaluator.name]["fit"] |= train | {"rule": "the first clips of the first epoch's order"}
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
        contrast_loss=validation_loss(config, network, mesh, splits) if "contrast" in network.pairings else None,
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
    values = {f"train.{name}": config.train[name] for name in counts}
    values |= {f"evaluation.{name}": config.evaluation[name] for name in ("batch", "fit_clips", "cca_components")}
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
    if not hasattr(module, "loss"):
        return Network(config.model.name, inputs, training, evaluation, None)
    taken = inspect.signature(module.loss).parameters
    loss = functools.partial(module.loss, **{key: value for key, value in config.loss.items() if key in taken})
    return Network(config.model.name, inputs, training, evaluation, loss)


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
    """The compiled step for the config's pairing; of a network without a loss, one that refuses when it is called.

    Raises:
      ValueError: the network cannot be trained with it.
    """
    if network.loss is None:
        return functools.partial(refuse_training, network.name)
    pairing = build_sampling(config).pairing
    if pairing not in network.pairings:
        raise ValueError(
            f"{network.name} cannot be trained with pairing {pairing!r}; use --config.data.pairing="
            f"{' or '.join(network.pairings)}."
        )
    score = functools.partial(SCORES[pairing], loss=network.loss)
    return steps.jit_train_step(model=network.training, score=score, optimizer=adam, mesh=mesh)


def refuse_training(name: str, *_) -> None:
    """Stands for the step of a network without a loss.

    Raises:
      ValueError: always.
    """
    raise ValueError(
        f"{name} is not trained here; import its weights (python -m avlearn.import_weights --network={name} ...) and "
        "use --mode=evaluate."
    )


def build_evaluators(config: ConfigDict, relevance: np.ndarray | None) -> tuple[evaluate.Evaluator, ...]:
    """The evaluators that the config names; `relevance` between classes may be None where only needs are asked."""
    settings = config.evaluation
    choices = {"gain": ndcg.GAINS, "ciou_protocol": ciou.PROTOCOLS, "ciou_ground_truth": pixel_maps.GROUND_TRUTHS}
    for key, allowed in choices.items():
        if settings[key] not in allowed:
            use = f"use --config.evaluation.{key}={' or '.join(allowed)}"
            raise ValueError(f"{key} {settings[key]!r} is unknown; {use}.")
    retrieval = {"k": settings.k, "gain": settings.gain, "class_relevance": relevance}
    alignment = {name: settings[f"cca_{name}"] for name in ("components", "curve", "regularisation")}
    options = {
        "ndcg": retrieval,
        "cca": retrieval | alignment,
        "ciou": {"protocol": settings.ciou_protocol, "ground_truth": settings.ciou_ground_truth},
    }
    evaluators = []
    for name in settings.evaluators:
        module = by_name(avlearn.evaluators, name, "config.evaluation.evaluators")
        fit_needs = getattr(module, "FIT_NEEDS", ())
        evaluators.append(
            evaluate.Evaluator(
                name, module.NEEDS, module.PAIRING, module.evaluate, options.get(name, {}), fit_needs=fit_needs
            )
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
    """Forward pass over a split: (state, role of the split, pairing, clips or None for all of them) to arrays."""
    compiled = jax.jit(functools.partial(steps.predict, model=network.evaluation))
    batches_of = evaluation_batches_of(config, mesh)
    pixels = config.evaluation.frame_pixels
    evaluated = network.inputs if pixels == 0 else dataclasses.replace(network.inputs, frame_pixels=pixels)
    inputs = {"validation": network.inputs, "evaluation": evaluated, "train": evaluated}

    def collect(state: TrainState, role: str, pairing: str, items: Sequence[int] | None = None) -> evaluate.Arrays:
        batches = batches_of(splits[role], inputs[role], pairing=pairing, items=items)
        return evaluate.collect(lambda batch: compiled(state, parallel.whole_to_devices(mesh, batch)), batches)

    return collect


def validation_loss(config: ConfigDict, network: Network, mesh: Mesh, splits: dict[str, read.Split]) -> Callable:
    """Training's loss over the validation split, the mean over its clips, as a function of the state."""
    score = functools.partial(steps.score_contrast, loss=network.loss)
    compiled = jax.jit(functools.partial(steps.evaluation_loss, model=network.evaluation, score=score))
    batches_of = evaluation_batches_of(config, mesh)

    def mean_loss(state: TrainState) -> float:
        losses, clips = [], []
        for batch, _ in batches_of(splits["validation"], network.inputs, pairing="all_positive"):
            losses.append(float(compiled(state, parallel.whole_to_devices(mesh, batch))))
            clips.append(float(batch.weight.sum()))
        return float(np.average(losses, weights=clips))

    return mean_loss


def evaluation_batches_of(config: ConfigDict, mesh: Mesh) -> Callable:
    """`pipeline.evaluation_batches` with the settings of the config; the devices divide a batch."""
    return functools.partial(
        pipeline.evaluation_batches,
        sampling=build_sampling(config),
        batch_size=-(-config.evaluation.batch // mesh.size) * mesh.size,
        seed=config.seed,
    )


def empty_batch(inputs: InputSpec, leading: tuple[int, ...]) -> Batch:
    """Shapes and types of a batch."""
    return Batch(
        frames=jax.ShapeDtypeStruct((*leading, *inputs.frame_shape), jnp.uint8),
        log_spectrogram=jax.ShapeDtypeStruct((*leading, *inputs.spectrogram_shape), jnp.float32),
        corresponds=jax.ShapeDtypeStruct(leading, jnp.bool_),
        video=jax.ShapeDtypeStruct(leading, jnp.int32),
        weight=jax.ShapeDtypeStruct(leading, jnp.float32),
    )
