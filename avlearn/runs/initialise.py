"""Initialises a network with the weights of another one, such as L3-Net with supervised trunks (L3 3.2)."""

import logging
from collections.abc import Iterable, Sequence

import jax
from etils import epath
from jax.sharding import Sharding

from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.structure import parameter_shapes
from avlearn.training import step as steps
from avlearn.training.step import TrainState

LOG = logging.getLogger("avlearn")


def initialised(state: TrainState, directory: str, frozen: Sequence[str], sharding: Sharding) -> TrainState:
    """Replace all parameters and running statistics that another network's checkpoint has under the same names.

    The log lists the arrays that are replaced and those that stay random.

    Args:
      state: state of step 0.
      directory: directory of a run's checkpoints, RUN/checkpoints; the best one is read.
      frozen: paths that will not be trained (`step.below`); everything below them must be in the checkpoint.
      sharding: sharding of the state.

    Raises:
      ValueError: the directory does not exist, no name matches, a shape differs, or a frozen parameter is missing.
    """
    source = f"--config.train.initialise_from={directory}"
    if not epath.Path(directory).is_dir():
        raise ValueError(f"{source} is not a directory; name the checkpoints of a run: RUN/checkpoints.")
    checkpoints = Checkpoints(directory, network="", keep=1, read_only=True)
    name, step, found = checkpoints.read_weights(sharding, "best")
    checkpoints.close()
    shapes = parameter_shapes(state.params) | parameter_shapes(state.batch_stats)
    taken = {path: array for path, array in found.items() if path in shapes}
    stays = dict.fromkeys(sorted(shapes.keys() - taken.keys()))
    if not taken:
        raise ValueError(f"{source}: {name} has none of this network's parameters ({', '.join(list(stays)[:3])} ...).")
    wrong = [
        f"{path} is {list(array.shape)} there, {shapes[path]} here"
        for path, array in taken.items()
        if list(array.shape) != shapes[path]
    ]
    wrong += [f"{path} is frozen here but absent there" for path in stays if steps.is_below(path, frozen)]
    if wrong:
        raise ValueError(f"{source}: {name} does not fit:" + "".join(f"\n  {line}" for line in wrong))
    LOG.info("Initialised %d arrays from %s, step %d of %s: %s.", len(taken), name, step, directory, _layers(taken))
    LOG.info("%d arrays stay random: %s.", len(stays), _layers(stays))
    return jax.device_put(steps.with_arrays(state, taken), sharding)


def _layers(paths: Iterable[str]) -> str:
    return ", ".join(sorted({path.rpartition(".")[0] for path in paths})) or "none"
