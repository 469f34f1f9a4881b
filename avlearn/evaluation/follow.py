"""Follows a training run from a separate process, and evaluates every checkpoint as it appears.

It reads the run's checkpoints and writes only to `evaluation/`: `results.jsonl`, with a row for each step, and
TensorBoard events `evaluation/...`.
"""

import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

from avlearn.evaluation import registry, scoring
from avlearn.evaluation.assembly import Evaluation
from avlearn.logs import metrics_log
from avlearn.logs.tensorboard_log import TensorboardLog
from avlearn.runs.checkpoint import Checkpoints
from avlearn.visuals import score_table

LOG = logging.getLogger("avlearn")
POLL_SECONDS = 10


def follow(
    evaluation: Evaluation,
    checkpoints: Checkpoints,
    output: pathlib.Path,
    wait: Callable[[], None] = lambda: time.sleep(POLL_SECONDS),
) -> None:
    """Evaluate checkpoints, the oldest first, until the last training step is evaluated.

    A restart continues with the checkpoints that have no row yet. The log warns of checkpoints that training removed
    before they could be evaluated.

    Args:
      evaluation: evaluation of the training's config; `train.steps` is the last step.
      checkpoints: checkpoints of the run.
      output: directory to write to.
      wait: called each time that it has to wait for a checkpoint.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / "results.jsonl"
    evaluated = {row["step"] for row in metrics_log.read_rows(path)}
    last = evaluation.config.train.steps
    tensorboard = TensorboardLog(output / "tensorboard", max(evaluated, default=0))
    with contextlib.closing(tensorboard), path.open("a") as rows:
        while last not in evaluated:
            new = [step for step in present(checkpoints) if step not in evaluated]
            if not new:
                wait()
                continue
            evaluated.add(new[0])
            try:
                results = evaluation.run(checkpoints, new[0]).results
            except (ValueError, OSError):
                if new[0] in present(checkpoints):
                    raise
                LOG.warning(
                    "Step %d was removed before it could be evaluated; --config.train.keep_checkpoints keeps more.",
                    new[0],
                )
                continue
            tensorboard.write(new[0], {f"evaluation/{name}": float(value) for name, value in scalars(results)})
            # Written last, because a row marks its step as done.
            rows.write(json.dumps({"step": new[0], "results": results}) + "\n")
            rows.flush()
            by_run = {f"step {new[0]}": results}
            LOG.info("%s", score_table.table(by_run, registry.table_rows(by_run)))
            scoring.check_refused(results)


def present(checkpoints: Checkpoints) -> list[int]:
    """Return the saved steps; none if one is removed while they are listed."""
    try:
        return checkpoints.steps()
    except FileNotFoundError:
        return []


def scalars(results: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of nested results by path, such as `ndcg/baselines/chance/im-aud`."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
