"""Evaluation beside training: a process of its own that evaluates every checkpoint of a run as it appears.

It reads the run's checkpoints and writes nothing but `evaluation/` beside them: `results.jsonl`, a row for each step,
and TensorBoard events `evaluation/...`.
"""

import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

from avlearn.evaluation import scoring
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
    """Evaluates checkpoints, the oldest first, until that of the last step of the training is done, or on Ctrl-C.

    Started again, it goes on with those that have no row yet. A checkpoint that training has removed before its turn
    came is named in the log.

    Args:
      evaluation: of the config that is trained; its `train.steps` is the last step.
      checkpoints: of the run.
      output: directory of what is written.
      wait: called when there is no new checkpoint.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / "results.jsonl"
    seen = {row["step"] for row in metrics_log.read_rows(path)}
    last = evaluation.config.train.steps
    tensorboard = TensorboardLog(output / "tensorboard", max(seen, default=0))
    with contextlib.closing(tensorboard), path.open("a") as rows:
        try:
            while last not in seen:
                new = [step for step in present(checkpoints) if step not in seen]
                if not new:
                    wait()
                    continue
                seen.add(new[0])
                try:
                    results = evaluation.run(checkpoints, new[0]).results
                except (ValueError, OSError):
                    if new[0] in present(checkpoints):
                        raise
                    LOG.warning("Step %d was removed before it could be evaluated: keep_checkpoints.", new[0])
                    continue
                tensorboard.write(new[0], {f"evaluation/{name}": float(value) for name, value in scalars(results)})
                rows.write(json.dumps({"step": new[0], "results": results}) + "\n")  # last: it says that all is done
                rows.flush()
                LOG.info("%s", score_table.table({f"step {new[0]}": results}))
                scoring.check_refused(results)
        except KeyboardInterrupt:
            LOG.info("Stopped; the same command goes on with the checkpoints that are not evaluated yet.")


def present(checkpoints: Checkpoints) -> list[int]:
    """Steps that are saved by now; none where one is being removed while they are listed, until the next look."""
    try:
        return checkpoints.steps()
    except FileNotFoundError:
        return []


def scalars(results: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of nested results, by their path: `ndcg/baselines/chance/im-aud`."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
