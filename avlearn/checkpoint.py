"""Checkpoints in Orbax: the latest few and the best by validation loss, each with the name of its network.

A checkpoint has three items: `weights` (parameters and running statistics, all that evaluation needs), `optimizer` (its
state and the step) and `network` (name and parameter shapes, as JSON).
"""

import pathlib
from collections.abc import Mapping

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Sharding
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from avlearn.step import TrainState

WHICH = ("best", "latest")


def parameter_shapes(params: PyTree) -> dict[str, list[int]]:
    """Shape of each parameter by its path, such as `vision.conv1_1.kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): list(leaf.shape) for path, leaf in leaves}


class Checkpoints:
    """The checkpoints of one run.

    Args:
      directory: where they lie, a step each.
      network: name of the network; it is stored in each checkpoint and compared at restoring.
      keep: how many of the latest are kept, besides the best.
    """

    def __init__(self, directory: str | pathlib.Path, *, network: str, keep: int):
        # Cloud paths (gs://...) stay as they are; Orbax wants local ones absolute.
        self.directory = epath.Path(directory) if "://" in str(directory) else epath.Path(directory).absolute()
        self.network = network
        preserved = [
            checkpoint_managers.LatestN(keep),
            checkpoint_managers.BestN(get_metric_fn=_validation_loss, n=1, reverse=True),
        ]
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(preserved),
                best_fn=_validation_loss,
                best_mode="min",
                enable_async_checkpointing=True,
            ),
            item_handlers={
                "weights": ocp.StandardCheckpointHandler(),
                "optimizer": ocp.StandardCheckpointHandler(),
                "network": ocp.JsonCheckpointHandler(),
            },
        )

    def save(self, state: TrainState, *, metrics: Mapping[str, float]) -> None:
        """Saves in the background; `metrics` must hold `validation/loss`."""
        description = {"name": self.network, "parameters": parameter_shapes(state.params)}
        items = ocp.args.Composite(
            weights=ocp.args.StandardSave(_weights(state)),
            optimizer=ocp.args.StandardSave(_optimizer(state)),
            network=ocp.args.JsonSave(description),
        )
        self._manager.save(int(state.step), args=items, metrics=dict(metrics))

    def latest_step(self) -> int | None:
        """The newest step saved, or None."""
        return self._manager.latest_step()

    def restore_state(self, like: TrainState, sharding: Sharding) -> TrainState:
        """The latest checkpoint, whole, to go on training; `like` gives structure and shapes.

        Raises:
          ValueError: there is none, or it holds another network.
        """
        step = self._step("latest")
        self._check_network(step, like.params)
        restored = self._restore(step, sharding, weights=_weights(like), optimizer=_optimizer(like))
        return TrainState(**restored["weights"], **restored["optimizer"])

    def restore_weights(self, like: TrainState, sharding: Sharding, which: str) -> tuple[int, PyTree, PyTree]:
        """Step, parameters and running statistics of the `best` or the `latest` checkpoint, to evaluate.

        Raises:
          ValueError: there is none, or it holds another network.
        """
        step = self._step(which)
        self._check_network(step, like.params)
        weights = self._restore(step, sharding, weights=_weights(like))["weights"]
        return step, weights["params"], weights["batch_stats"]

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes writing and lets go of the directory."""
        self.wait()
        self._manager.close()

    def _step(self, which: str) -> int:
        check_which(which)
        step = self._manager.best_step() if which == "best" else self._manager.latest_step()
        if step is None:
            raise ValueError(
                f"no checkpoint in {self.directory}. Train first (--mode=train with the same --workdir), or name the "
                f"directory of another run's checkpoints with --checkpoint=RUN/checkpoints."
            )
        return step

    def _check_network(self, step: int, params: PyTree) -> None:
        stored = self._manager.restore(step, args=ocp.args.Composite(network=ocp.args.JsonRestore()))["network"]
        expected = parameter_shapes(params)
        if stored["name"] == self.network and stored["parameters"] == expected:
            return
        names = sorted(stored["parameters"].keys() | expected.keys())
        differing = [
            f"{name}: {stored['parameters'].get(name, 'absent')} in the checkpoint, {expected.get(name, 'absent')} here"
            for name in names
            if stored["parameters"].get(name) != expected.get(name)
        ]
        raise ValueError(
            f"the checkpoint {self.directory / str(step)} holds the network {stored['name']!r}, the config builds "
            f"{self.network!r}; {len(differing)} of {len(names)} parameters differ"
            + "".join(f"\n  {line}" for line in differing[:5])
            + "\nUse the config it was trained with (config.json beside its checkpoints), or another --workdir."
        )

    def _restore(self, step: int, sharding: Sharding, **like) -> ocp.args.Composite:
        def abstract(x):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        items = {name: ocp.args.StandardRestore(jax.tree.map(abstract, tree)) for name, tree in like.items()}
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def check_which(which: str) -> None:
    """Refuses a choice of checkpoint that there is not.

    Raises:
      ValueError: names the choices.
    """
    if which not in WHICH:
        raise ValueError(f"checkpoint {which!r} is unknown; use --config.evaluation.checkpoint={' or '.join(WHICH)}.")


def _validation_loss(metrics: Mapping[str, float]) -> float:
    return metrics["validation/loss"]


def _weights(state: TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _optimizer(state: TrainState) -> dict:
    return {"step": state.step, "opt_state": state.opt_state}
