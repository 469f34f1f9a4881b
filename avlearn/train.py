"""The training loop, which resumes from the latest checkpoint of its directory."""

import collections
import contextlib
import functools
import json
import logging
import math
import time
from collections.abc import Iterator

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from avlearn.devices import compilation
from avlearn.experiment import Experiment
from avlearn.logs import metrics_log, wandb_log
from avlearn.runs import non_finite, workdir
from avlearn.runs.preemption import Preempted
from avlearn.training.step import TrainState

LOG = logging.getLogger("avlearn")

# Steps to dispatch ahead: enough to hide the host's work, few enough to notice a bad loss soon. None on a CPU, where
# concurrent programs compete for threads.
STEPS_IN_FLIGHT = {"cpu": 0, "gpu": 8, "tpu": 8}


def train(experiment: Experiment, *, profile: bool = False) -> TrainState:
    """Train to the last step; validate and save every `checkpoint_every_steps` and at the end.

    Args:
      experiment: the experiment to train.
      profile: whether to write a trace of some steps into the workdir.

    Returns:
      The state after the last step.

    Raises:
      NonFiniteLoss: names the step; nothing is saved after it.
      Preempted: a process received SIGTERM; the state is saved.
      ValueError: the workdir holds the checkpoints of another network.
    """
    with experiment.preemption.deferred():
        return _train(experiment, profile)


def _train(experiment: Experiment, profile: bool) -> TrainState:
    config = experiment.config.train
    state = experiment.start()
    workdir.write_config(experiment.workdir, experiment.config)  # only after every check that may refuse the run
    first_step = int(state.step)
    # SIGTERM may have arrived between the step and its validation.
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
        waiting_since = time.perf_counter()
        batch = next(batches)
        clock.step(time.perf_counter() - waiting_since)
        state, metrics = experiment.train_step(state, batch)
        trace.after(step, metrics)
        in_flight.append((step, metrics, experiment.preemption.poll()))
        pause = step % config.log_every_steps == 0 or _due(config, step)
        rows, preempted = _finish(experiment, in_flight, 0 if pause else allowed)
        finished += rows
        if pause:
            scalars = _means(finished) | clock.lap() | {"train/learning_rate": float(experiment.schedule(step - 1))}
            finished = []
            log.write(step, scalars)
            LOG.info("%s", metrics_log.progress_line(step, config.steps, scalars))
        if preempted:
            _finish(experiment, in_flight, 0)
            raise _preempted(experiment, state)
        if _due(config, step):
            _validate_and_save(experiment, state, log)
            clock.restart()
    experiment.checkpoints.wait()
    log.close()
    return state


def _due(config: FrozenConfigDict, step: int) -> bool:
    """Return whether the state is validated and saved after this step."""
    return step > 0 and (step % config.checkpoint_every_steps == 0 or step == config.steps)


def _finish(experiment: Experiment, in_flight: collections.deque, at_most: int) -> tuple[list[dict[str, float]], bool]:
    """Wait until at most this many steps are in flight; return the metrics of the finished ones and any preemption."""
    rows, preempted = [], False
    while len(in_flight) > at_most:
        step, metrics, sigterm = in_flight.popleft()
        scalars = {name: float(value) for name, value in metrics.items() if value.ndim == 0}
        if not non_finite.is_finite(scalars):
            raise non_finite.step_error(
                step,
                metrics,
                workdir=experiment.workdir,
                checkpoints=experiment.checkpoints,
                config=json.loads(experiment.config.to_json()),
                clip_ids=experiment.clip_ids,
            )
        rows.append(scalars)
        preempted |= bool(sigterm)
    return rows, preempted


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {f"train/{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _validate_and_save(experiment: Experiment, state: TrainState, log: metrics_log.MetricsLog) -> None:
    with _saved_if_this_fails(experiment, state):
        scalars, pairs = experiment.validate(state)
    if not math.isfinite(scalars["validation/loss"]):
        raise non_finite.validation_error(int(state.step), scalars["validation/loss"], experiment.checkpoints)
    log.write(int(state.step), scalars)
    experiment.checkpoints.save(state, metrics=scalars)
    LOG.info(
        "validation  loss %.3f  accuracy %.3f  positives %.2f",
        *(scalars[f"validation/{name}"] for name in ("loss", "accuracy", "predicted_positive")),
    )
    validations = -(-int(state.step) // experiment.config.train.checkpoint_every_steps)
    every = experiment.config.train.pictures_every
    if every and validations % every == 0:
        with _saved_if_this_fails(experiment, state):
            log.show(int(state.step), functools.partial(experiment.images, pairs))


@contextlib.contextmanager
def _saved_if_this_fails(experiment: Experiment, state: TrainState) -> Iterator[None]:
    """Save the state if its validation fails; the next start validates it again.

    Several processes do not, since one of them fails without the others, which all have to take part.
    """
    try:
        yield
    except Preempted:
        raise _preempted(experiment, state) from None
    except Exception:
        if jax.process_count() == 1:
            experiment.checkpoints.save(state, metrics=None)
            experiment.checkpoints.wait()
            LOG.info("Step %d is saved in %s.", int(state.step), experiment.checkpoints.directory)
        raise


def _preempted(experiment: Experiment, state: TrainState) -> Preempted:
    """Save without validating, and return the error; the next start validates if a validation is due."""
    experiment.checkpoints.save(state, metrics=None)
    experiment.checkpoints.wait()
    return experiment.preemption.stopped(f"step {state.step} is saved in {experiment.checkpoints.directory}")
