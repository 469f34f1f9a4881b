"""Checkpoints in Orbax's format: the latest ones, and the one with the least validation loss.

A checkpoint has three items: `weights` (parameters and running statistics, all that evaluation needs), `optimizer` (its
state and the step) and `network` (name, parameter shapes and a checksum of every array, as JSON). The checksums detect
flipped bits in an array, which the storage format does not.
"""

import contextlib
import functools
import json
import logging
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Sharding
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from avlearn.config import one_of
from avlearn.runs import structure
from avlearn.runs.damage import (
    Damaged,
    check_seal,
    checksums,
    damage_explained,
    is_full_disk,
    read_metrics,
    sealed,
    set_unreadable_metrics_aside,
)
from avlearn.training.step import TrainState

LOG = logging.getLogger("avlearn")
WHICH = ("best", "latest")
ASIDE = "damaged_checkpoints"  # next to the run's `checkpoints`


class Checkpoints:
    """The checkpoints of one run; the first method call opens the directory, and creates it if it is absent.

    Args:
      directory: directory with one folder for each step.
      network: name of the network; it is stored in each checkpoint and compared when one is restored.
      keep: number of latest checkpoints to keep in addition to the best.
      read_only: whether to leave the directory untouched: it is another run's, or another process saves into it.
    """

    def __init__(self, directory: str | pathlib.Path, *, network: str, keep: int, read_only: bool = False):
        # Orbax needs absolute local paths; cloud paths (gs://...) are used unchanged.
        self.directory = epath.Path(directory) if "://" in str(directory) else epath.Path(directory).absolute()
        self.network = network
        self._keep = keep
        self._read_only = read_only

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        handlers = {
            "weights": ocp.StandardCheckpointHandler(),
            "optimizer": ocp.StandardCheckpointHandler(),
            "network": ocp.JsonCheckpointHandler(),
        }
        if self._read_only:
            # Nothing is called that writes (Orbax's own `read_only` warns of each directory). Orbax fails on damaged
            # metrics, so `lightweight` leaves them to `_metrics`.
            options = {"create": False, "lightweight_initialize": True}
        else:
            set_unreadable_metrics_aside(self.directory)
            best = checkpoint_managers.BestN(
                get_metric_fn=_validation_loss, n=1, reverse=True, keep_checkpoints_without_metrics=False
            )
            preserved = [checkpoint_managers.LatestN(self._keep), best]
            options = {
                "preservation_policy": checkpoint_managers.AnyPreservationPolicy(preserved),
                "best_fn": _validation_loss,
                "best_mode": "min",
                "enable_async_checkpointing": True,
            }
        return ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(**options), item_handlers=handlers
        )

    def save(self, state: TrainState, *, metrics: Mapping[str, float] | None) -> None:
        """Save in the background.

        Args:
          state: the state to save. A saved step is written again only to add metrics to it.
          metrics: contains `validation/loss`. None if the state was not validated: such a checkpoint is never the best,
            and is removed when later ones are saved.

        Raises:
          ValueError: no space is left for this checkpoint or the one before.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            if metrics is None or self.is_validated(step):
                return
            self._manager.delete(step)
        sums = {}
        if jax.process_index() == 0:  # only this process writes the JSON
            sums = {"weights": checksums(_weights(state)), "optimizer": checksums(_optimizer(state))}
        description = {"name": self.network, "parameters": structure.parameter_shapes(state.params), "checksums": sums}
        description["metrics"] = None if metrics is None else dict(metrics)
        items = ocp.args.Composite(
            weights=ocp.args.StandardSave(_weights(state)),
            optimizer=ocp.args.StandardSave(_optimizer(state)),
            network=ocp.args.JsonSave(sealed(description)),
        )
        with self._space_explained():
            self._manager.save(step, args=items, metrics=None if metrics is None else dict(metrics))

    def steps(self) -> list[int]:
        """Return the steps that this or another process has saved so far, oldest first."""
        if self._read_only:
            return sorted(ocp.utils.checkpoint_steps(self.directory)) if self.directory.exists() else []
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """Return the newest step saved, or None."""
        return self._manager.latest_step()

    def is_validated(self, step: int) -> bool:
        """Return whether the checkpoint of this step has a validation loss."""
        return self._metrics(step) is not None

    def restore_state(self, like: TrainState, sharding: Sharding) -> TrainState:
        """Restore the latest intact checkpoint to resume training; `like` provides structure and shapes.

        Later checkpoints that are damaged are moved to `damaged_checkpoints`, next to the directory of the checkpoints;
        training repeats their steps.

        Raises:
          ValueError: the directory has no checkpoints, all are damaged, or it holds another network or optimizer.
        """
        like = {"weights": _weights(like), "optimizer": _optimizer(like)}
        _, restored, damaged = self._restore_first_intact("latest", like, sharding)
        if damaged:
            self._move_aside(damaged)
        return TrainState(**restored["weights"], **restored["optimizer"])

    def restore_weights(self, like: TrainState, sharding: Sharding, which: str | int) -> tuple[int, PyTree, PyTree]:
        """Restore the `best` or `latest` intact checkpoint, or a given step: its step, parameters and statistics.

        Raises:
          ValueError: the directory has no checkpoints, all are damaged, or it holds another network.
        """
        step, restored, _ = self._restore_first_intact(which, {"weights": _weights(like)}, sharding)
        return step, restored["weights"]["params"], restored["weights"]["batch_stats"]

    def read_weights(self, sharding: Sharding, which: str) -> tuple[str, int, dict[str, np.ndarray]]:
        """Read a checkpoint of any network: the network's name, the step, and parameters and statistics by path.

        Raises:
          ValueError: the directory has no checkpoints, or all are damaged.
        """
        step, restored, _ = self._restore_first_intact(which, None, sharding)
        arrays = {}
        for tree in restored["weights"].values():
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                arrays[jax.tree_util.keystr(path, simple=True, separator=".")] = np.asarray(leaf)
        return self._description(step)["name"], step, arrays

    def check_present(self, which: str) -> None:
        """Check that there is a checkpoint; reads none.

        Raises:
          ValueError: there is none.
        """
        if not self.steps():
            raise self._absent(which)

    def wait(self) -> None:
        """Wait until everything saved is on disk.

        Raises:
          ValueError: no space is left.
        """
        with self._space_explained():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish writing and close the directory."""
        self.wait()
        self._manager.close()

    def _candidates(self, which: str | int) -> list[int]:
        """Return the steps to try, in order."""
        if isinstance(which, int):
            if which not in self.steps():
                raise ValueError(f"no checkpoint of step {which} in {self.directory}; it has {self.steps()}.")
            return [which]
        check_which(which)
        steps = sorted(self._manager.all_steps(), reverse=True)
        if which == "latest":
            return steps
        found = {step: self._metrics(step) for step in steps}
        losses = {step: _validation_loss(metrics) for step, metrics in found.items() if metrics is not None}
        if unusable := [step for step, loss in losses.items() if math.isnan(loss)]:
            LOG.warning("The validation loss of steps %s in %s is NaN; they come last.", unusable, self.directory)
        return sorted(losses, key=lambda step: (math.isnan(losses[step]), losses[step]))

    def _metrics(self, step: int) -> dict[str, float] | None:
        """Return the metrics of a step; None if it was saved without them, or if they cannot be read."""
        try:
            return read_metrics(self.directory / str(step) / "metrics" / "metrics")
        except Damaged:
            LOG.warning("The validation loss of the checkpoint %s cannot be read.", self.directory / str(step))
            return None

    def _restore_first_intact(
        self, which: str | int, like: Mapping[str, PyTree] | None, sharding: Sharding
    ) -> tuple[int, Mapping[str, PyTree], list[int]]:
        """Restore the first intact candidate; return its step, its items, and the steps of damaged ones before it."""
        damaged = {}
        for step in self._candidates(which):
            try:
                restored = self._restore(step, like, sharding)
            except Damaged as error:
                damaged[step] = str(error)
                continue
            for other, why in damaged.items():
                LOG.warning(
                    "The checkpoint %s is damaged (%s); step %d is used instead.",
                    self.directory / str(other),
                    why,
                    step,
                )
            return step, restored, list(damaged)
        if damaged:
            raise ValueError(
                f"all checkpoints in {self.directory} are damaged:"
                + "".join(f"\n  step {step}: {why}" for step, why in damaged.items())
                + "\nRestore them from a copy, or start again with another --workdir."
            )
        raise self._absent(which)

    def _absent(self, which: str | int) -> ValueError:
        validated = " with a validation loss" if which == "best" and self._manager.all_steps() else ""
        return ValueError(
            f"no checkpoint{validated} in {self.directory}. Train first (--mode=train with the same --workdir), or "
            "name the directory of another run's checkpoints with --checkpoint=RUN/checkpoints."
        )

    def _description(self, step: int) -> dict:
        return self._manager.restore(step, args=ocp.args.Composite(network=ocp.args.JsonRestore()))["network"]

    def _restore(self, step: int, like: Mapping[str, PyTree] | None, sharding: Sharding) -> Mapping[str, PyTree]:
        """Read items of a checkpoint and verify their checksums; if `like` is None, read the weights of any network.

        Raises:
          Damaged: it cannot be read, or differs from what was written.
          ValueError: it holds another network or optimizer.
        """
        with damage_explained():
            read = self._description(step)
            check_seal(read)
            stored = {"name": read["name"], "parameters": read["parameters"], "checksums": read.get("checksums", {})}
        metrics = self._metrics(step)
        if metrics is not None and json.dumps(read.get("metrics", metrics)) != json.dumps(metrics):
            raise Damaged("its validation loss is not the one that was saved")
        if like is None:
            with damage_explained():
                like = {"weights": self._manager.item_metadata(step)["weights"]}
        else:
            path = self.directory / str(step)
            structure.check_network(path, stored, self.network, like["weights"]["params"])
            if "optimizer" in like:
                structure.check_optimizer(path, stored["checksums"].get("optimizer"), like["optimizer"])

        def abstract(x):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        items = {name: ocp.args.StandardRestore(jax.tree.map(abstract, tree)) for name, tree in like.items()}
        with damage_explained():
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        for name in items:
            written, now = stored["checksums"].get(name), checksums(restored[name])
            # Checkpoints of early versions have no checksums.
            if written is not None and written != now:
                wrong = [path for path in now if written.get(path) != now[path]]
                raise Damaged(f"{len(wrong)} checksums are wrong, the first that of {name}/{wrong[0]}")
        return restored

    def _move_aside(self, damaged: Sequence[int]) -> None:
        if jax.process_index() == 0:
            aside = self.directory.parent / ASIDE
            aside.mkdir(parents=True, exist_ok=True)
            for step in damaged:
                earlier = len(list(aside.glob(f"{step}.*")))
                (self.directory / str(step)).rename(aside / f"{step}.{earlier}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints moved aside")
        self._manager.reload()

    @contextlib.contextmanager
    def _space_explained(self) -> Iterator[None]:
        """Turn a full disk into a ValueError; the next start removes the incomplete checkpoint."""
        try:
            yield
        except Exception as error:
            if not is_full_disk(error):
                raise
            self._manager.reload()
            raise ValueError(
                f"no space is left for a checkpoint in {self.directory}; the last complete one is of step "
                f"{self.latest_step()}. Free some space and start the same command again "
                "(--config.train.keep_checkpoints sets how many are kept)."
            ) from error


def check_which(which: str) -> None:
    """Check the choice of a checkpoint, `best` or `latest`.

    Raises:
      ValueError: it is neither; the message names both.
    """
    one_of(which, WHICH, "evaluation.checkpoint")


def _validation_loss(metrics: Mapping[str, float]) -> float:
    return metrics["validation/loss"]


def _weights(state: TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _optimizer(state: TrainState) -> dict:
    return {"step": state.step, "opt_state": state.opt_state}
