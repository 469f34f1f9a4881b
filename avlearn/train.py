"""The training loop. It goes on from the latest checkpoint of its directory, if there is one."""

import collections
import functools
import logging
import math
import time

import jax
import numpy as np

from avlearn import metrics_log, wandb_log
from avlearn.experiment import Experiment
from avlearn.step import TrainState

LOG = logging.getLogger("avlearn")

# So many steps are in flight at most: enough to hide the host, few enough to notice a bad loss soon. On a CPU none:
# steps that wait for others hold its threads, and ten in flight run ten times slower than one.
STEPS_IN_FLIGHT = {"cpu": 0, "gpu": 8, "tpu": 8}


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient is NaN or infinite."""


def train(experiment: Experiment) -> TrainState:
    """Trains to the last step; validates and saves every `checkpoint_every_steps`, and at the end.

    Returns:
      The state after the last step.

    Raises:
      NonFiniteLoss: names the step; nothing is saved after it.
    """
    config = experiment.config.train
    state = experiment.start()
    first_step = int(state.step)
    if first_step >= config.steps:
        LOG.info("Already trained: %d of %d steps.", first_step, config.steps)
        return state
    wandb = wandb_log.start(experiment.workdir, config.wandb_project, experiment.config.to_dict())
    log = metrics_log.MetricsLog(experiment.workdir, first_step, wandb)
    clock = metrics_log.Clock(config.num_workers * config.batch_per_worker, config.steps - first_step)
    in_flight, finished, allowed = collections.deque(), [], STEPS_IN_FLIGHT[jax.default_backend()]
    batches = experiment.training_batches(first_step)
    for step in range(first_step + 1, config.steps + 1):
        asked = time.perf_counter()
        batch = next(batches)
        clock.step(time.perf_counter() - asked)
        state, metrics = experiment.train_step(state, batch)
        in_flight.append((step, metrics))
        pause = step % config.log_every_steps == 0 or step % config.checkpoint_every_steps == 0 or step == config.steps
        while in_flight and (pause or len(in_flight) > allowed):
            finished.append(_checked(experiment, *in_flight.popleft()))
        if pause:
            scalars = _means(finished) | clock.lap() | {"train/learning_rate": float(experiment.schedule(step - 1))}
            finished = []
            log.write(step, scalars)
            LOG.info("%s", metrics_log.progress_line(step, config.steps, scalars))
        if step % config.checkpoint_every_steps == 0 or step == config.steps:
            _validate_and_save(experiment, state, log)
            clock.restart()
    experiment.checkpoints.wait()
    log.close()
    return state


def _checked(experiment: Experiment, step: int, metrics) -> dict[str, float]:
    """The metrics of a step as floats, once it is done."""
    scalars = {name: float(value) for name, value in metrics.items()}
    if not (math.isfinite(scalars["loss"]) and math.isfinite(scalars["gradient_norm"])):
        what = f"the loss of step {step} is {scalars['loss']}, its gradient norm {scalars['gradient_norm']}"
        raise _non_finite(experiment, what)
    return scalars


def _non_finite(experiment: Experiment, what: str) -> NonFiniteLoss:
    return NonFiniteLoss(
        f"{what}. Nothing was saved after it; the last checkpoint is that of step "
        f"{experiment.checkpoints.latest_step()}. A lower --config.train.learning_rate is the usual cure."
    )


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {f"train/{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _validate_and_save(experiment: Experiment, state: TrainState, log: metrics_log.MetricsLog) -> None:
    scalars, pairs = experiment.validate(state)
    if not math.isfinite(scalars["validation/loss"]):
        raise _non_finite(experiment, f"the validation loss after step {state.step} is {scalars['validation/loss']}")
    log.write(int(state.step), scalars)
    validations = -(-int(state.step) // experiment.config.train.checkpoint_every_steps)
    every = experiment.config.train.pictures_every
    if every and validations % every == 0:
        log.show(int(state.step), functools.partial(experiment.pictures, pairs))
    experiment.checkpoints.save(state, metrics=scalars)
    LOG.info(
        "validation  loss %.3f  accuracy %.3f  positives %.2f",
        *(scalars[f"validation/{name}"] for name in ("loss", "accuracy", "predicted_positive")),
    )
