"""Kills runs repeatedly at random times: `python -m tests.benchmarks.interruption --data_dir=DATA --kills=50`.

The dataset synthetic_av/tiny must exist in DATA. A run of 12 steps, with a checkpoint every 2 and an evaluation, is
restarted and killed until it finishes. Its parameters, optimizer state and metrics are then compared, bit by bit, with
those of an uninterrupted run, and the next run starts, until the number of kills is reached. Half of the kills come at
a random time within a run, the others just after an event that is rarely hit: the start of a checkpoint's write or of
the evaluation.
"""

import argparse
import collections
import pathlib
import random
import tempfile
import time

from tests.helpers.killed_run import EVALUATING, assert_same, checkpoints_of, left, said, send_when, stage, start


def draw_kill_time(rng: random.Random, workdir: pathlib.Path, run_seconds: float):
    """Draw when to kill next; return a function that says whether the time has come."""
    event = rng.choice(("any", "any", "write", "evaluation"))
    wait = rng.uniform(0, {"any": run_seconds, "write": 0.1, "evaluation": 2.0}[event])
    checkpoints, evaluations, since = checkpoints_of(workdir), said(workdir).count(EVALUATING), []
    more = rng.randint(1, 3)
    reached = {
        "any": lambda: True,
        "write": lambda: len(checkpoints_of(workdir) - checkpoints) >= more,
        "evaluation": lambda: said(workdir).count(EVALUATING) > evaluations,
    }[event]

    def due() -> bool:
        if not since and reached():
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] > wait

    return due


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, directory = random.Random(arguments.seed), pathlib.Path(tempfile.mkdtemp(prefix="interruption"))
    for name in ("compiles", "alone"):
        started = time.monotonic()
        assert start(arguments.data_dir, directory / name).wait() == 0, said(directory / name)
        run_seconds = time.monotonic() - started
    expected = left(directory / "alone")
    kills, runs, starts, stages = 0, 0, 0, collections.Counter()
    while kills < arguments.kills:
        runs += 1
        workdir = directory / f"run{runs}"
        finished = False
        while not finished:
            starts += 1
            process = start(arguments.data_dir, workdir)
            due = draw_kill_time(rng, workdir, run_seconds) if kills < arguments.kills else lambda: False
            if send_when(process, due):
                kills += 1
                doing = stage(workdir)
                stages[doing] += 1
                print(f"kill {kills}: run {runs}, {doing}", flush=True)
            else:
                assert process.returncode == 0, said(workdir)
                finished = True
        assert_same(left(workdir), expected)
        print(f"run {runs} finished bit for bit the same", flush=True)
    print(
        f"{kills} kills in {runs} runs ({starts} starts); all finished with the same bits and metrics. Killed during:"
    )
    for name, count in stages.most_common():
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
