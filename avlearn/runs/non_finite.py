"""Stops a run whose loss or gradient is NaN or infinite, and reports the workers and clips."""

import json
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np

from avlearn import storage
from avlearn.devices import placement
from avlearn.runs.checkpoint import Checkpoints

FILE = "non_finite.json"
EXIT_CODE = 65  # EX_DATAERR of sysexits.h: repeating the command would fail again
REMEDY = "A lower --config.train.learning_rate usually helps."


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient is NaN or infinite."""


def is_finite(metrics: Mapping[str, float]) -> bool:
    """Return whether the loss and gradient of a step are finite; one worker's NaN makes the mean NaN."""
    return bool(np.isfinite(metrics["loss"]) and np.isfinite(metrics["gradient_norm"]))


def step_error(
    step: int,
    metrics: Mapping[str, jax.Array],
    *,
    workdir: pathlib.Path,
    checkpoints: Checkpoints,
    config: Mapping,
    clip_ids: Callable[[int, int], list[str]],
) -> NonFiniteLoss:
    """Return the error for a training step, and write the workers and their clips to `non_finite.json`.

    Args:
      step: number of the step, from 1.
      metrics: metrics of the step, including those of each worker.
      workdir: directory of the run.
      checkpoints: checkpoints of the run.
      config: config of the run.
      clip_ids: function from worker and step to the ids of the clips in that batch.
    """
    checkpoints.wait()  # the message names the last checkpoint, which must be complete
    loss, norm = placement.to_host((metrics["worker_loss"], metrics["worker_gradient_norm"]))
    workers = np.flatnonzero(~(np.isfinite(loss) & np.isfinite(norm))).tolist()
    found = {
        "step": step,
        "loss": str(metrics["loss"]),
        "gradient_norm": str(metrics["gradient_norm"]),
        "last_checkpoint": checkpoints.latest_step(),
        "workers": [
            {
                "worker": worker,
                "loss": str(loss[worker]),
                "gradient_norm": str(norm[worker]),
                "clips": clip_ids(worker, step),
            }
            for worker in workers
        ],
        "config": config,
    }
    path = workdir / FILE
    if jax.process_index() == 0:
        storage.write_text(path, json.dumps(found, indent=2) + "\n")
    return NonFiniteLoss(
        f"the loss of step {step} is {metrics['loss']}, its gradient norm {metrics['gradient_norm']}; "
        f"worker {', '.join(map(str, workers))} of {len(loss)}. {path} holds the ids of the clips. Nothing was saved "
        f"after it: the same command resumes from step {found['last_checkpoint'] or 0} and reaches it again. {REMEDY}"
    )


def validation_error(step: int, loss: float, checkpoints: Checkpoints) -> NonFiniteLoss:
    """Return the error for the validation after a step."""
    checkpoints.wait()
    return NonFiniteLoss(
        f"the validation loss after step {step} is {loss}. Nothing was saved after it; the last checkpoint is from "
        f"step {checkpoints.latest_step() or 0}. {REMEDY}"
    )
