"""A loss or a gradient that is NaN or infinite: stops the run, and says where it came from."""

import json
from collections.abc import Mapping

import jax
import numpy as np

from avlearn import parallel
from avlearn.data import pipeline
from avlearn.experiment import Experiment

FILE = "non_finite.json"
CURE = "A lower --config.train.learning_rate is the usual cure."


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient is NaN or infinite."""


def is_finite(metrics: Mapping[str, float]) -> bool:
    """Whether loss and gradient of a step are; those of one worker that are not make the mean so."""
    return bool(np.isfinite(metrics["loss"]) and np.isfinite(metrics["gradient_norm"]))


def of_step(experiment: Experiment, step: int, metrics: Mapping[str, jax.Array]) -> NonFiniteLoss:
    """The error for a training step; writes the workers and their clips to `non_finite.json` in the workdir.

    Args:
      experiment: what was trained.
      step: number of the step, from 1.
      metrics: of the step, with those of each worker.
    """
    experiment.checkpoints.wait()  # the one that the message names is to be whole
    loss, norm = parallel.to_host((metrics["worker_loss"], metrics["worker_gradient_norm"]))
    workers = np.flatnonzero(~(np.isfinite(loss) & np.isfinite(norm))).tolist()
    found = {
        "step": step,
        "loss": str(metrics["loss"]),
        "gradient_norm": str(metrics["gradient_norm"]),
        "last_checkpoint": experiment.checkpoints.latest_step(),
        "workers": [
            {
                "worker": worker,
                "loss": str(loss[worker]),
                "gradient_norm": str(norm[worker]),
                "clips": clips_of(experiment, worker, step),
            }
            for worker in workers
        ],
        "config": json.loads(experiment.config.to_json()),
    }
    path = experiment.workdir / FILE
    if jax.process_index() == 0:
        path.write_text(json.dumps(found, indent=2) + "\n")
    return NonFiniteLoss(
        f"the loss of step {step} is {metrics['loss']}, its gradient norm {metrics['gradient_norm']}; "
        f"worker {', '.join(map(str, workers))} of {len(loss)}. {path} holds the ids of the clips. Nothing was saved "
        f"after it: the same command goes on from step {found['last_checkpoint'] or 0} and comes to it again. {CURE}"
    )


def of_validation(experiment: Experiment, step: int, loss: float) -> NonFiniteLoss:
    """The error for a validation after a step."""
    experiment.checkpoints.wait()
    return NonFiniteLoss(
        f"the validation loss after step {step} is {loss}. Nothing was saved after it; the last checkpoint is that of "
        f"step {experiment.checkpoints.latest_step() or 0}. {CURE}"
    )


def clips_of(experiment: Experiment, worker: int, step: int) -> list[str]:
    """Ids of the clips in a worker's batch at a step (from 1), in the batch's order."""
    config, split = experiment.config, experiment.splits["train"]
    numbers = pipeline.training_clips(
        split,
        seed=config.seed,
        num_workers=config.train.num_workers,
        batch_per_worker=config.train.batch_per_worker,
        samples_per_clip=config.data.samples_per_clip,
        pairing=config.data.pairing,
        worker=worker,
        step=step - 1,
    )
    return split.clip_ids(numbers)
