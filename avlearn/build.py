"""Build the network, loss, optimizer and training step of a config; refuse settings that do not fit."""

import dataclasses
import functools
import importlib
import inspect
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
from avlearn import storage
from avlearn.config import one_of
from avlearn.data import augment
from avlearn.data.sample import Sampling
from avlearn.devices import placement
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
    """A network built from its config, without data.

    Attributes:
      name: name of its file in avlearn/models.
      inputs: inputs that it takes.
      training: the model in training mode, with the parameters of step 0.
      evaluation: the same model in evaluation mode.
      loss: its loss with the settings of the config, which the `score_*` functions of `avlearn.training.step` call;
        None for a network that is not trained here (VGG16).
    """

    name: str
    inputs: InputSpec
    training: nnx.Module
    evaluation: nnx.Module
    loss: Callable | None

    @property
    def pairings(self) -> tuple[str, ...]:
        """Return the values of `config.data.pairing` that can train the network; none if it has no loss."""
        if self.loss is None:
            return ()
        if self.inputs.classes:
            return ("labelled",)
        if hasattr(self.training, "contrast"):
            return ("contrast",)
        return ("avc", "all_pairs", "shifted")

    def outputs(self, batch: int) -> Outputs:
        """Return the shapes of its outputs for a batch of this size."""
        return jax.eval_shape(self.evaluation, empty_batch(self.inputs, (batch,)))


def check_numbers(config: ConfigDict) -> None:
    """Check the counts and the choice of checkpoint early; otherwise an error would appear in the middle of a run.

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
    evaluated = ("batch", "fit_clips")
    values |= {f"evaluation.{name}": config.evaluation[name] for name in evaluated}
    for key, value in values.items():
        if value < 1:
            raise ValueError(f"{key} is {value}; --config.{key} must be at least 1.")
    if config.evaluation.films < 0:
        raise ValueError(f"evaluation.films is {config.evaluation.films}; --config.evaluation.films must be 0 or more.")
    check_which(config.evaluation.checkpoint)


def build_network(config: ConfigDict) -> Network:
    """Build the network of the config with the parameters of step 0, without data.

    Raises:
      ValueError: a setting of the network or its loss, or a frozen path, is not allowed.
    """
    return network_of(config, build_model(config))


def build_model(config: ConfigDict) -> nnx.Module:
    """Build the model of the config with its initial weights."""
    module = by_name(avlearn.models, config.model.name, "model.name")
    return module.Model(config.model, InputSpec(**config.inputs), rngs=nnx.Rngs(config.seed))


def network_of(config: ConfigDict, model: nnx.Module) -> Network:
    """Wrap a model from `build_model` in a `Network`; the model may hold shapes instead of arrays."""
    model.train()
    freeze(model, config.train.frozen)
    evaluation = nnx.clone(model)
    evaluation.eval()
    module = by_name(avlearn.models, config.model.name, "model.name")
    if not hasattr(module, "loss"):
        return Network(config.model.name, model.inputs, model, evaluation, None)
    # Earlier versions wrote the settings of every loss to config.json.
    accepted = inspect.signature(module.loss).parameters
    settings = {key: value for key, value in config.loss.items() if key in accepted}
    if hasattr(module, "check_loss"):
        module.check_loss(**settings)
    return Network(config.model.name, model.inputs, model, evaluation, functools.partial(module.loss, **settings))


def freeze(model: nnx.Module, paths: Sequence[str]) -> None:
    """Set the modules below these paths to evaluation mode.

    A frozen trunk then computes the same function in training as in evaluation. Normalising by the batch would make the
    features of a frame depend on the other frames of the batch.

    Raises:
      ValueError: the network has no parameter below a path.
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
    """Return the config with the network and the inputs of another run.

    Raises:
      ValueError: the directory does not hold a run.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; --config.evaluation.sounds_from names the directory of a run.")
    written = storage.read_json(path, "Restore it from a copy.")
    other = config.copy_and_resolve_references()
    with other.unlocked():
        other.update({section: written[section] for section in ("model", "loss", "inputs") if section in written})
        other.data.spectrogram_scaling = written["data"]["spectrogram_scaling"]
    return other


def build_schedule(config: ConfigDict, steps_per_epoch: float) -> optax.Schedule:
    """Build the learning rate as a function of the step."""
    train = config.train
    one_of(train.schedule, optimizer.SCHEDULES, "train.schedule")
    if train.schedule == "staircase":
        return optimizer.staircase(
            train.learning_rate,
            steps_per_epoch=steps_per_epoch,
            decay_factor=train.decay_factor,
            decay_epochs=train.decay_epochs,
        )
    return optimizer.warmup_cosine(train.learning_rate, warmup_steps=train.warmup_steps, steps=train.steps)


def build_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Build the config's Adam for the parameters that are not frozen."""
    adam = optimizer.adam(
        schedule, weight_decay=config.train.weight_decay, weight_decay_kind=config.train.weight_decay_kind
    )
    frozen = tuple(config.train.frozen)
    return optimizer.freeze(adam, functools.partial(steps.below, frozen)) if frozen else adam


def build_train_step(
    config: ConfigDict, network: Network, adam: optax.GradientTransformation, mesh: Mesh, **options: Callable
) -> steps.TrainStep:
    """Build the training step for the config's pairing; `options` are those of `TrainStep`.

    Raises:
      ValueError: the network has no loss or cannot be trained with the pairing, or another setting is not allowed.
    """
    one_of(config.train.rematerialise, steps.REMATERIALISATIONS, "train.rematerialise")
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
    """Build the function that computes loss and metrics from a network and a batch, for the config's pairing.

    Raises:
      ValueError: the network has no loss, or cannot be trained with the pairing.
    """
    if network.loss is None:
        raise ValueError(
            f"{network.name} is not trained here; import its weights (avlearn import --network={network.name} ...) and "
            "use --mode=evaluate."
        )
    pairing = build_sampling(config).pairing
    if pairing not in network.pairings:
        raise ValueError(
            f"{network.name} cannot be trained with pairing {pairing!r}; use --config.data.pairing="
            f"{' or '.join(network.pairings)}."
        )
    return functools.partial(SCORES[pairing], loss=network.loss)


def replicated_state(network: Network, adam: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Return the state of step 0, replicated on every device."""
    state = steps.initial_state(network.training, adam)
    # A copy, because the step donates its state and the network keeps its own arrays.
    return jax.device_put(jax.tree.map(jnp.copy, state), placement.replicated(mesh))


def build_sampling(config: ConfigDict) -> Sampling:
    """Build the settings for drawing and augmenting pairs."""
    fields = {field.name for field in dataclasses.fields(Sampling)}
    return Sampling(**{name: value for name, value in config.data.items() if name in fields})


def by_name(package: ModuleType, name: str, key: str) -> ModuleType:
    """Import the module of this name from a package.

    Args:
      package: package whose files are the allowed names.
      name: name of the file.
      key: dotted key of the config that holds the name, for the error.

    Raises:
      ValueError: the package has no such module.
    """
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    one_of(name, names, key)
    return importlib.import_module(f"{package.__name__}.{name}")


def build_augmentation(config: ConfigDict) -> Callable[[augment.RawBatch], Batch]:
    """Build the function that turns a raw batch of the input pipeline into a training batch."""
    return functools.partial(augment.augment_batch, scaling=config.data.spectrogram_scaling)


def empty_batch(inputs: InputSpec, leading: tuple[int, ...]) -> Batch:
    """Return the shapes and types of a batch with these leading axes; the scaling of the audio does not matter."""
    return jax.eval_shape(
        functools.partial(augment.augment_batch, scaling="ln_12"), augment.raw_batch_shapes(inputs, leading)
    )
