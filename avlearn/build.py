"""The parts of an experiment, each built from its sections of the config; refuses what does not fit."""

import dataclasses
import functools
import importlib
import inspect
import json
import pathlib
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

import avlearn.models
from avlearn.data import augment
from avlearn.data.sample import Sampling
from avlearn.devices import placement
from avlearn.losses import tri_map
from avlearn.runs.checkpoint import check_which
from avlearn.training import optimizer
from avlearn.training import step as steps
from avlearn.training.step import TrainState
from avlearn.types import Batch, InputSpec, Outputs

SCORES = {
    "avc": steps.score_pairs,
    "shifted": steps.score_pairs,
    "all_pairs": steps.score_all_pairs,
    "contrast": steps.score_contrast,
    "labelled": steps.score_labelled,
}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as the config describes it, without data.

    Attributes:
      name: of its file in avlearn/models.
      inputs: what it eats.
      training: the model in training mode; its parameters are those of step 0.
      evaluation: the same in evaluation mode.
      loss: its loss, with its settings, on what the score of its pairing hands it (`avlearn.training.step`); None for a
        network that is not trained here (VGG16).
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
        if self.inputs.classes:
            return ("labelled",)
        if hasattr(self.training, "contrast"):
            return ("contrast",)
        return ("avc", "all_pairs", "shifted")

    def outputs(self, batch: int) -> Outputs:
        """Shapes of what it says about so many pairs."""
        return jax.eval_shape(self.evaluation, empty_batch(self.inputs, (batch,)))


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
    evaluated = ("batch", "fit_clips", "cca_components", "pair_draws", "sound_windows", "nmi_clusters")
    values |= {f"evaluation.{name}": config.evaluation[name] for name in evaluated}
    for key, value in values.items():
        if value < 1:
            raise ValueError(f"{key} is {value}; --config.{key} is at least 1.")
    if config.evaluation.films < 0:
        raise ValueError(f"evaluation.films is {config.evaluation.films}; --config.evaluation.films is 0 or more.")
    check_which(config.evaluation.checkpoint)


def build_network(config: ConfigDict) -> Network:
    """The network of the config with the parameters of step 0, without data.

    Raises:
      ValueError: a setting of the network, of its loss or of what is frozen is not one of those allowed.
    """
    return network_of(config, build_model(config))


def build_model(config: ConfigDict) -> nnx.Module:
    """The model of the config with its initial weights."""
    module = by_name(avlearn.models, config.model.name, "config.model.name")
    return module.Model(config.model, InputSpec(**config.inputs), rngs=nnx.Rngs(config.seed))


def network_of(config: ConfigDict, model: nnx.Module) -> Network:
    """What `build_network` makes of the model of the config, which may consist of shapes alone."""
    tri_map.check(**config.loss)
    model.train()
    freeze(model, config.train.frozen)
    evaluation = nnx.clone(model)
    evaluation.eval()
    module = by_name(avlearn.models, config.model.name, "config.model.name")
    if not hasattr(module, "loss"):
        return Network(config.model.name, model.inputs, model, evaluation, None)
    taken = inspect.signature(module.loss).parameters
    loss = functools.partial(module.loss, **{key: value for key, value in config.loss.items() if key in taken})
    return Network(config.model.name, model.inputs, model, evaluation, loss)


def freeze(model: nnx.Module, paths: Sequence[str]) -> None:
    """Sets what stands below these paths to evaluation mode.

    A frozen trunk is the same function in training as in evaluation, so that the layers on top of it are trained on
    what they will meet. Normalising by the batch would make a frame's features depend on the others of its batch.

    Raises:
      ValueError: a path below which there is no parameter.
    """
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for path in paths:
        if not any(jax.tree.leaves(steps.below([path], params))):
            raise ValueError(
                f"train.frozen: the network has no parameter {path!r}; use paths such as {', '.join(params)} "
                "(--config.train.frozen=\"('vision', 'audio')\")."
            )
    for path, module in nnx.iter_modules(model):
        if steps.is_below(".".join(map(str, path)), paths):
            module.eval()


def config_of_run(config: ConfigDict, directory: pathlib.Path) -> ConfigDict:
    """The config of another run's network and of what it eats, on the data and for the evaluation of this one.

    Raises:
      ValueError: it is not the directory of a run.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} is not there; --config.evaluation.sounds_from names the directory of a run.")
    written = json.loads(path.read_text())
    other = config.copy_and_resolve_references()
    with other.unlocked():
        other.update({section: written[section] for section in ("model", "inputs")})
        other.data.spectrogram_scaling = written["data"]["spectrogram_scaling"]
    return other


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
    """Adam as the config says, on what is not frozen."""
    adam = optimizer.adam(
        schedule, weight_decay=config.train.weight_decay, weight_decay_kind=config.train.weight_decay_kind
    )
    frozen = tuple(config.train.frozen)
    return optimizer.leaving_alone(adam, functools.partial(steps.below, frozen)) if frozen else adam


def build_train_step(
    config: ConfigDict, network: Network, adam: optax.GradientTransformation, mesh: Mesh, **options: Callable
) -> Callable:
    """The compiled step for the config's pairing; of a network without a loss, one that refuses when it is called.

    `options` are those of `TrainStep`.

    Raises:
      ValueError: the network cannot be trained with it, or `config.train.rematerialise` is unknown.
    """
    if network.loss is None:
        return functools.partial(refuse_training, network.name)
    if config.train.rematerialise not in steps.REMATERIALISATIONS:
        raise ValueError(
            f"rematerialise {config.train.rematerialise!r} is unknown; use --config.train.rematerialise="
            f"{' or '.join(steps.REMATERIALISATIONS)}."
        )
    score = build_score(config, network)
    return steps.TrainStep(
        model=network.training,
        score=score,
        optimizer=adam,
        mesh=mesh,
        frozen=tuple(config.train.frozen),
        rematerialise=config.train.rematerialise,
        **options,
    )


def build_score(config: ConfigDict, network: Network) -> steps.Score:
    """What the config's pairing makes of a network and a batch: the loss and its metrics.

    Raises:
      ValueError: the network cannot be trained with it.
    """
    pairing = build_sampling(config).pairing
    if pairing not in network.pairings:
        raise ValueError(
            f"{network.name} cannot be trained with pairing {pairing!r}; use --config.data.pairing="
            f"{' or '.join(network.pairings)}."
        )
    return functools.partial(SCORES[pairing], loss=network.loss)


def refuse_training(name: str, *_) -> None:
    """Stands for the step of a network without a loss.

    Raises:
      ValueError: always.
    """
    raise ValueError(
        f"{name} is not trained here; import its weights (avlearn import --network={name} ...) and use --mode=evaluate."
    )


def replicated_state(network: Network, adam: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state of step 0, on every device."""
    state = steps.initial_state(network.training, adam)
    # A copy: the step donates its state, and the network's own arrays stay good.
    return jax.device_put(jax.tree.map(jnp.copy, state), placement.replicated(mesh))


def build_sampling(config: ConfigDict) -> Sampling:
    """How the config draws and changes pairs."""
    fields = {field.name for field in dataclasses.fields(Sampling)}
    return Sampling(**{name: value for name, value in config.data.items() if name in fields})


def by_name(package: ModuleType, name: str, key: str) -> ModuleType:
    """The module of this name in a package whose files are the index."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    if name not in names:
        raise ValueError(f"{key}: {name!r} is unknown; {package.__name__} has {', '.join(names)}.")
    return importlib.import_module(f"{package.__name__}.{name}")


def build_augmentation(config: ConfigDict) -> Callable[[augment.RawBatch], Batch]:
    """What makes a network's batch of what the input pipeline yields for training."""
    return functools.partial(augment.augment_batch, scaling=config.data.spectrogram_scaling)


def empty_batch(inputs: InputSpec, leading: tuple[int, ...]) -> Batch:
    """Shapes and types of a batch with these leading axes, with any scaling of its sound."""
    return jax.eval_shape(
        functools.partial(augment.augment_batch, scaling="ln_12"), augment.raw_batch_shapes(inputs, leading)
    )
