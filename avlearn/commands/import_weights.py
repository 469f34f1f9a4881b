"""Creates a run from published weights, to evaluate it or to train it further.

    avlearn import --network=vgg16 --from=vgg16-397923af.pth --to=runs/vgg16

Reads PyTorch state dicts (.pth), safetensors, and Keras files (.h5); docs/running/weights.md lists them.
Writes checkpoints/ and config.json in the run's directory, and prints the command that evaluates the run.
"""

import argparse
import pathlib
import shlex
from collections.abc import Mapping

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from avlearn import config as configs
from avlearn.build import build_network, build_optimizer, build_schedule
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.structure import parameter_shapes
from avlearn.training import step as steps
from avlearn.training.step import TrainState
from avlearn.weights import files, layouts, published
from avlearn.weights.published import WeightLayout

VARIANTS = ("", "miniature")  # variants of the networks' configs
NO_VALIDATION = {"validation/loss": float("inf")}  # so that any later checkpoint is better


def imported(
    found: Mapping[str, np.ndarray], config: ConfigDict, file_format: str, positive_class: int
) -> tuple[TrainState, WeightLayout]:
    """Return the state of step 0 with the arrays of a file instead of random ones, and the file's layout.

    Args:
      found: name in the file to array.
      config: config of the network; updated in place with the settings that the weights were trained with.
      file_format: name of a layout, or `auto`.
      positive_class: index of the replication's output, 0 or 1, that means that frame and audio correspond.

    Raises:
      ValueError: the file's entries are not those of the network; the message lists all differences.
    """
    state = initial_state(config)
    shapes = weight_shapes(state)
    source = published.choose(config.model.name, file_format, found, shapes, positive_class)
    config.update_from_flattened_dict(dict(source.settings))
    entries = source.entries(shapes)
    lines = layouts.mismatches(found, entries, shapes, source.is_unused)
    if lines:
        raise ValueError(
            f"the file does not hold the {source.name} weights of {config.model.name}; {len(lines)} entries differ:"
            + "".join(f"\n  {line}" for line in lines)
        )
    arrays = layouts.convert_entries(found, entries, shapes) | dict(source.constants)
    source.check(arrays)
    return steps.with_arrays(state, arrays), source


def initial_state(config: ConfigDict, *, abstract: bool = False) -> TrainState:
    """Return the state of step 0, or only its shapes."""
    network = build_network(config)
    # A network that is not trained here has no optimizer state.
    optimizer = optax.identity()
    if network.loss is not None:
        optimizer = build_optimizer(config, build_schedule(config, steps_per_epoch=1.0))
    if abstract:
        return jax.eval_shape(lambda: steps.initial_state(network.training, optimizer))
    return steps.initial_state(network.training, optimizer)


def weight_shapes(state: TrainState) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters and running statistics by path."""
    shapes = parameter_shapes(state.params) | parameter_shapes(state.batch_stats)
    return {path: tuple(shape) for path, shape in shapes.items()}


def write_run(workdir: pathlib.Path, state: TrainState, config: ConfigDict) -> None:
    """Write the state as the first checkpoint of a run.

    Raises:
      ValueError: the directory cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(config.to_json(indent=2) + "\n")
    except OSError as error:
        raise ValueError(f"--to={workdir} cannot be written ({error.strerror}).") from error
    checkpoints = Checkpoints(workdir / "checkpoints", network=config.model.name, keep=config.train.keep_checkpoints)
    checkpoints.save(state, metrics=NO_VALIDATION)
    checkpoints.close()


def run(arguments: argparse.Namespace) -> str:
    """Import a file; return lines for the terminal.

    Raises:
      ValueError: the file does not fit the network, or the directory holds a run already or cannot be written.
    """
    if (arguments.to / "checkpoints").exists():
        raise ValueError(f"--to={arguments.to} already holds a run; name another directory.")
    found, metadata = files.read(arguments.source)
    exported = files.config_of(arguments.source, metadata)
    if exported is not None:
        config = ConfigDict(exported)
    elif arguments.network is not None:
        config = configs.load(arguments.network)
    else:
        raise ValueError("--network is missing; only files written by `avlearn export` name their network.")
    if arguments.network not in (None, config.model.name):
        raise ValueError(f"{arguments.source} holds {config.model.name}, not --network={arguments.network}.")
    try:
        state, source = imported(found, config, arguments.format, arguments.positive_class)
    except (AttributeError, KeyError, TypeError) as error:
        if exported is None:
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--from={arguments.source}: its config is not one of avlearn ({reason}).") from error
    write_run(arguments.to, state, config)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    lines = [f"Wrote {config.model.name} ({count:,} parameters) from {source.name} weights: {arguments.to}"]
    lines += [*source.remarks, "Evaluate them with:", f"  {command(config, arguments.to)}"]
    return "\n".join(lines)


def command(config: ConfigDict, workdir: pathlib.Path) -> str:
    """Return the command that evaluates a run: its config's closest variant, and flags for the differences."""
    name = config.model.name
    changes = {}
    for variant in VARIANTS:
        there = configs.load(name, variant)
        both = configs.flat(there).keys() & configs.flat(config).keys()  # files of earlier versions have other keys
        differing = configs.difference(there, config).items()
        changes[variant] = [f"--config.{key}={value}" for key, (_, value) in differing if key in both]
    closest = min(changes, key=lambda variant: len(changes[variant]))
    file = f"configs/{name}.py" + (f":{closest}" if closest else "")
    start = ["python", "-m", "avlearn.main", f"--config={file}", "--mode=evaluate", f"--workdir={workdir}"]
    return shlex.join([*start, *changes[closest]])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `avlearn import`."""
    parser.add_argument(
        "--network", metavar="NAME", help="a file in configs/: avenet, avolnet, l3net, vgg16, lvs, attention10k"
    )
    parser.add_argument(
        "--from", dest="source", metavar="FILE", type=pathlib.Path, required=True, help=".pth, .safetensors or .h5"
    )
    parser.add_argument("--to", metavar="RUN", type=pathlib.Path, required=True, help="directory of the new run")
    parser.add_argument(
        "--format", default="auto", help="auto (the default), replication, torchvision, keras or avlearn"
    )
    parser.add_argument(
        "--positive_class",
        type=int,
        metavar="N",
        default=0,
        help="output of the replication's AVE-Net and L3-Net that means 'frame and audio correspond': 0 in its latest "
        "version (the default), 1 in its first",
    )
