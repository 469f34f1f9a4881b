"""Writes the scalars and images of a training run to metrics.jsonl, TensorBoard and Weights & Biases."""

import datetime
import json
import logging
import pathlib
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np

from avlearn import storage
from avlearn.logs.tensorboard_log import TensorboardLog
from avlearn.logs.wandb_log import WandbLog

LOG = logging.getLogger("avlearn")


def read_rows(path: pathlib.Path) -> list[dict]:
    """Read the rows of a `metrics.jsonl`, oldest first; skip a last line that a killed process left incomplete."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            LOG.warning("%s: skipping a truncated line: %r", path, line[:80])
    return rows


class MetricsLog:
    """The log of one run; only the first process writes.

    Args:
      workdir: directory of the run.
      first_step: number of steps already done, 0 for a new run; rows of later steps are removed.
      wandb: the run in Weights & Biases; None: nothing is sent.
    """

    def __init__(self, workdir: pathlib.Path, first_step: int, wandb: WandbLog | None = None):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        path = workdir / "metrics.jsonl"
        kept = [row for row in read_rows(path) if row["step"] <= first_step]
        storage.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a")
        self._tensorboard = TensorboardLog(workdir / "tensorboard", first_step)
        self._wandb = wandb

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add one row; names are `train/...` and `validation/...`."""
        if not self._writes:
            return
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()
        self._tensorboard.write(step, scalars)
        if self._wandb is not None:
            self._wandb.write(step, scalars)

    def show(self, step: int, draw: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Add images `[height, width, 3]` uint8; only the process that writes calls `draw`."""
        if not self._writes:
            return
        images = draw()
        self._tensorboard.show(step, images)
        if self._wandb is not None:
            self._wandb.show(step, images)

    def close(self) -> None:
        """Close all files."""
        if not self._writes:
            return
        self._file.close()
        self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.close()


class Clock:
    """Measures pairs per second, the share of time spent waiting for input, and the time left.

    Args:
      pairs_per_step: workers x batch_per_worker.
      steps_left: steps until the end of the run.
    """

    def __init__(self, pairs_per_step: int, steps_left: int):
        self._pairs_per_step = pairs_per_step
        self._steps_left = steps_left
        self.restart()

    def restart(self) -> None:
        """Begin a lap; earlier time, such as that of a validation, does not count."""
        self._steps = 0
        self._waiting_seconds = 0.0
        self._since = time.perf_counter()

    def step(self, waiting_seconds: float) -> None:
        """Count one step, and the time spent waiting for its batch."""
        self._steps += 1
        self._steps_left -= 1
        self._waiting_seconds += waiting_seconds

    def lap(self) -> dict[str, float]:
        """Return the rates since the last lap: pairs/s, waiting share (0 to 1), seconds left."""
        seconds = time.perf_counter() - self._since
        rates = {
            "train/pairs_per_second": self._steps * self._pairs_per_step / seconds,
            "train/waiting_share": self._waiting_seconds / seconds,
            "train/seconds_left": self._steps_left * seconds / self._steps,
        }
        self.restart()
        return rates


def progress_line(step: int, steps: int, scalars: Mapping[str, float]) -> str:
    """Format a line for the terminal: step, loss, accuracy, speed, waiting, time left."""
    left = datetime.timedelta(seconds=round(scalars["train/seconds_left"]))
    return (
        f"step {step:>{len(str(steps))}}/{steps}  loss {scalars['train/loss']:.3f}"
        f"  accuracy {scalars['train/accuracy']:.3f}  positives {scalars['train/predicted_positive']:.2f}"
        f"  {scalars['train/pairs_per_second']:.0f} pairs/s  waiting {scalars['train/waiting_share']:.0%}"
        f"  left {left}"
    )
