"""The training loop. It goes on from the latest checkpoint of its directory, if there is one."""

import collections
import functools
import json
import logging
import math
import time

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from avlearn.devices import compilation
from avlearn.experiment import Experiment
from avlearn.logs import metrics_log, wandb_log
from avlearn.runs import non_finite
from avlearn.runs.preemption import REASON, Preempted
from avlearn.training.step import TrainState

LOG = logging.getLogger("avlearn")

# So many steps are in flight at most: enough to hide the host, few enough to notice a bad loss soon. On a CPU none:
# programs that run at once take each other's threads.
STEPS_IN_FLIGHT = {"cpu": 0, "gpu": 8, "tpu": 8}


def train(experiment: Experiment, *, profile: bool = False) -> TrainState:
    """Trains to the last step; validates and saves every `checkpoint_every_steps`, and at the end.

    Args:
      experiment: what to train, and where.
      profile: whether to write a trace of some steps into the workdir.

    Returns:
      The state after the last step.

    Raises:
      NonFiniteLoss: names the step; nothing is saved after it.
      Preempted: a process was told to leave; the state is saved.
    """
    with experiment.preemption.deferred():
        return _train(experiment, profile)


def _train(experiment: Experiment, profile: bool) -> TrainState:
    config = experiment.config.train
    state = experiment.start()
    first_step = int(state.step)
    # A notice to leave may have come between step and validation.
    validated = not _due(config, first_step) or experiment.checkpoints.is_validated(first_step)
    if first_step >= config.steps and validated:
        LOG.info("Already trained: %d of %d steps.", first_step, config.steps)
        return state
    wandb = wandb_log.start(experiment.workdir, config.wandb_project, experiment.config.to_dict())
    log = metrics_log.MetricsLog(experiment.workdir, first_step, wandb)
    if not validated:
        _validate_and_save(experiment, state, log)
    clock = metrics_log.Clock(config.num_workers * config.batch_per_worker, config.steps - first_step)
    in_flight, finished, allowed = collections.deque(), [], STEPS_IN_FLIGHT[jax.default_backend()]
    trace = compilation.Trace(experiment.workdir / "profile" if profile else None, first_step, config.steps)
    batches = experiment.training_batches(first_step)
    for step in range(first_step + 1, config.steps + 1):
        trace.before(step)
        asked = time.perf_counter()
        batch = next(batches)
        clock.step(time.perf_counter() - asked)
        state, metrics = experiment.train_step(state, batch)
        trace.after(step, metrics)
        in_flight.append((step, metrics, experiment.preemption.poll()))
        pause = step % config.log_every_steps == 0 or _due(config, step)
        rows, told_to_leave = _finish(experiment, in_flight, 0 if pause else allowed)
        finished += rows
        if pause:
            scalars = _means(finished) | clock.lap() | {"train/learning_rate": float(experiment.schedule(step - 1))}
            finished = []
            log.write(step, scalars)
            LOG.info("%s", metrics_log.progress_line(step, config.steps, scalars))
        if told_to_leave:
            _finish(experiment, in_flight, 0)
            raise _preempted(experiment, state)
        if _due(config, step):
            _validate_and_save(experiment, state, log)
            clock.restart()
    experiment.checkpoints.wait()
    log.close()
    return state


def _due(config: FrozenConfigDict, step: int) -> bool:
    """Whether it is validated and saved after this step."""
    return step > 0 and (step % config.checkpoint_every_steps == 0 or step == config.steps)


def _finish(experiment: Experiment, in_flight: collections.deque, at_most: int) -> tuple[list[dict[str, float]], bool]:
    """Waits until at most so many steps are in flight: metrics of those that are done, and the notice to leave."""
    rows, told_to_leave = [], False
    while len(in_flight) > at_most:
        step, metrics, told = in_flight.popleft()
        scalars = {name: float(value) for name, value in metrics.items() if value.ndim == 0}
        if not non_finite.is_finite(scalars):
            raise non_finite.of_step(
                step,
                metrics,
                workdir=experiment.workdir,
                checkpoints=experiment.checkpoints,
                config=json.loads(experiment.config.to_json()),
                clip_ids=experiment.clip_ids,
            )
        rows.append(scalars)
        told_to_leave |= bool(told)
    return rows, told_to_leave


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {f"train/{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _validate_and_save(experiment: Experiment, state: TrainState, log: metrics_log.MetricsLog) -> None:
    try:
        scalars, pairs = experiment.validate(state)
    except Preempted:
        raise _preempted(experiment, state) from None
    if not math.isfinite(scalars["validation/loss"]):
        raise non_finite.of_validation(int(state.step), scalars["validation/loss"], experiment.checkpoints)
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


def _preempted(experiment: Experiment, state: TrainState) -> Preempted:
    """Saves at once, without a validation: the next start makes up for one that is due."""
    experiment.checkpoints.save(state, metrics=None)
    experiment.checkpoints.wait()
    return Preempted(f"{REASON}: step {state.step} is saved in {experiment.checkpoints.directory}")
