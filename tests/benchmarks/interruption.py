"""Kills a run again and again at random moments: `python -m tests.benchmarks.interruption --data_dir=DATA --kills=50`.

Builds nothing: the dataset synthetic_av/tiny has to be in DATA. A run of 12 steps with a checkpoint every 2, and its
evaluation, is started and killed until it ends by itself; its parameters, optimizer state and figures are compared, bit
by bit, with those of a run left alone; then the next one begins, until there were so many kills. Half of the kills come
at a moment drawn over the time of a whole run, the others just after a moment that is rarely hit: the beginning of a
checkpoint's write, or of the evaluation.
"""

import argparse
import collections
import pathlib
import random
import tempfile
import time

from tests.helpers.killed_run import EVALUATING, assert_same, checkpoints_of, left, said, send_when, stage, start


def moment(rng: random.Random, workdir: pathlib.Path, whole_seconds: float):
    """When to kill next: a condition."""
    what = rng.choice(("any", "any", "write", "evaluation"))
    wait = rng.uniform(0, {"any": whole_seconds, "write": 0.1, "evaluation": 2.0}[what])
    checkpoints, evaluations, since = checkpoints_of(workdir), said(workdir).count(EVALUATING), []
    more = rng.randint(1, 3)
    reached = {
        "any": lambda: True,
        "write": lambda: len(checkpoints_of(workdir) - checkpoints) >= more,
        "evaluation": lambda: said(workdir).count(EVALUATING) > evaluations,
    }[what]

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
        begun = time.monotonic()
        assert start(arguments.data_dir, directory / name).wait() == 0, said(directory / name)
        whole_seconds = time.monotonic() - begun
    expected = left(directory / "alone")
    kills, runs, starts, stages = 0, 0, 0, collections.Counter()
    while kills < arguments.kills:
        runs += 1
        workdir = directory / f"run{runs}"
        finished = False
        while not finished:
            starts += 1
            process = start(arguments.data_dir, workdir)
            due = moment(rng, workdir, whole_seconds) if kills < arguments.kills else lambda: False
            if send_when(process, due):
                kills += 1
                doing = stage(workdir)
                stages[doing] += 1
                print(f"kill {kills}: run {runs}, {doing}", flush=True)
            else:
                assert process.returncode == 0, said(workdir)
                finished = True
        assert_same(left(workdir), expected)
        print(f"run {runs} ended with the same bits", flush=True)
    print(
        f"{kills} kills in {runs} runs ({starts} starts), each run ended with the same bits and figures. Killed while:"
    )
    for name, count in stages.most_common():
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
