"""Grid search over config keys; picks the run with the least validation loss.

    python launch/grid_search.py --output=runs/grid --grid=train.learning_rate=1e-4,3e-4,1e-3 \\
        -- --config=configs/avenet.py:miniature
    python launch/grid_search.py ... --at_once=2     # two runs at a time on this machine
    python launch/grid_search.py ... --slurm         # an array of Slurm jobs; afterwards, ... --summarise

Several --grid options are crossed. Flags of avlearn.main follow after `--`. Each point trains in OUTPUT/KEY=VALUE, with
its log in OUTPUT/KEY=VALUE.log and the exit code of its last start in OUTPUT/KEY=VALUE.exit. The same command resumes
the search: finished and diverged points are kept, the others continue from their checkpoints. OUTPUT/grid.md, grid.csv
and grid.svg hold a table and a plot of each run's least validation loss (by which ATS chooses its model) against the
first key.
"""

import argparse
import contextlib
import csv
import dataclasses
import itertools
import json
import math
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from avlearn.logs import metrics_log
from avlearn.runs import non_finite
from avlearn.visuals import svg_chart

ROOT = pathlib.Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "avlearn.main")
SLURM = ("sbatch", "launch/slurm_gpu.sbatch")
COLUMNS = ("validation loss", "at step", "accuracy there", "state")


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of the grid.

    Attributes:
      values: values of the config keys, as text.
      workdir: directory of its run.
      flags: flags of avlearn.main.
    """

    values: dict[str, str]
    workdir: pathlib.Path
    flags: tuple[str, ...]

    @property
    def log(self) -> pathlib.Path:
        """Output of all starts of the run."""
        return self.workdir.with_name(self.workdir.name + ".log")

    @property
    def exit_file(self) -> pathlib.Path:
        """Exit code of the last start of the run; launch/slurm_gpu.sbatch writes it too."""
        return self.workdir.with_name(self.workdir.name + ".exit")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """State and best validation of a point.

    Attributes:
      state: finished | diverged | unfinished.
      loss: least validation loss so far; NaN before the first validation.
      step: step of that loss.
      accuracy: AVC accuracy on the validation split at that step.
    """

    state: str
    loss: float = math.nan
    step: int = 0
    accuracy: float = math.nan


def points(grid: Sequence[str], output: pathlib.Path, flags: Sequence[str]) -> list[Point]:
    """Return the points of a grid, first key outermost.

    Raises:
      ValueError: a key has no values, a value cannot be part of a file name, or a key or value is repeated.
    """
    axes = {}
    for text in grid:
        key, _, listed = text.partition("=")
        values = listed.split(",")
        if not all(re.fullmatch(r"[\w.+-]+", value) for value in [key, *values]):
            raise ValueError(f"--grid={text} is not KEY=VALUE,VALUE,... such as --grid=train.learning_rate=1e-4,1e-3.")
        if key in axes or len(set(values)) < len(values):
            raise ValueError(f"--grid={text}: {key if key in axes else 'a value'} is repeated; name each once.")
        axes[key] = values
    if not any(flag.startswith("--config=") for flag in flags):
        raise ValueError(
            "--config is missing; flags of avlearn.main follow after --: ... -- --config=configs/avenet.py."
        )
    found = []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        workdir = output / ",".join(f"{key.split('.')[-1]}={value}" for key, value in values.items())
        settings = [f"--config.{key}={value}" for key, value in values.items()]
        # The evaluation split must not influence the choice, so it is not evaluated.
        own = ["--config.evaluation.after_training=False", f"--workdir={workdir}", *settings]
        found.append(Point(values, workdir, (*flags, *own)))
    return found


def outcome(point: Point) -> Outcome:
    """Read the outcome of a point from its directory and exit code."""
    rows = [row for row in metrics_log.read_rows(point.workdir / "metrics.jsonl") if "validation/loss" in row]
    best = min(rows, key=lambda row: row["validation/loss"], default=None)
    config = point.workdir / "config.json"
    steps = json.loads(config.read_text())["train"]["steps"] if config.exists() else None
    if rows and rows[-1]["step"] == steps and (point.workdir / "checkpoints" / str(steps)).is_dir():
        state = "finished"
    elif point.exit_file.exists() and point.exit_file.read_text().strip() == str(non_finite.EXIT_CODE):
        state = "diverged"
    else:
        state = "unfinished"
    if best is None:
        return Outcome(state)
    return Outcome(state, best["validation/loss"], best["step"], best["validation/accuracy"])


def run_here(waiting: Iterable[Point], at_once: int) -> None:
    """Train points, `at_once` at a time; terminate running points when this program is terminated."""
    waiting, running = list(waiting), {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                point = waiting.pop(0)
                point.log.parent.mkdir(parents=True, exist_ok=True)
                with point.log.open("a") as log:
                    running[subprocess.Popen([*COMMAND, *point.flags], cwd=ROOT, stdout=log, stderr=log)] = point
                print(f"{point.workdir.name}: started, log in {point.log}", flush=True)
            for process in [process for process in running if process.poll() is not None]:
                point = running.pop(process)
                point.exit_file.write_text(f"{process.returncode}\n")
                print(f"{point.workdir.name}: {describe(outcome(point))}", flush=True)
                if process.returncode != 0:
                    print("  " + "\n  ".join(last_error(point)), flush=True)
            time.sleep(0.1)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def last_error(point: Point) -> list[str]:
    """Return the last error in a run's log, or else its last lines."""
    lines = point.log.read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith("error: ")][-1:] or lines[-3:]


def submit(waiting: Sequence[Point], all_points: Sequence[Point], output: pathlib.Path, options: Sequence[str]) -> None:
    """Submit an array of Slurm jobs with a task for each waiting point; tasks are numbered by position in the grid."""
    directory = output / "points"
    directory.mkdir(parents=True, exist_ok=True)
    for number, point in enumerate(all_points):
        (directory / str(number)).write_text("".join(f"{flag}\0" for flag in point.flags))
    numbers = ",".join(str(all_points.index(point)) for point in waiting)
    program, script = SLURM
    if shutil.which(program) is None:
        raise ValueError(
            f"{program} is not installed here; submit from a machine of the cluster, or leave out --slurm."
        )
    done = subprocess.run([program, f"--array={numbers}", *options, script, str(directory)], cwd=ROOT)
    if done.returncode:
        raise ValueError(f"{program} refused the array; pass options to it as --sbatch=--partition=NAME.")


def describe(result: Outcome) -> str:
    """Describe an outcome in one line."""
    if math.isnan(result.loss):
        return f"{result.state}, not validated"
    return f"{result.state}, least validation loss {result.loss:.4f} at step {result.step}"


def winner(results: dict[str, Outcome]) -> str | None:
    """Return the name of the finished point with the least validation loss."""
    finished = {name: result.loss for name, result in results.items() if result.state == "finished"}
    return min(finished, key=finished.get, default=None)


def write_table(output: pathlib.Path, grid: Sequence[Point], results: dict[str, Outcome]) -> str:
    """Write grid.csv and grid.md, one row per point; return the text of grid.md."""
    best = winner(results)
    rows = []
    for point in grid:
        result = results[point.workdir.name]
        scores = ["", "", ""]
        if not math.isnan(result.loss):
            scores = [f"{result.loss:.6f}", str(result.step), f"{result.accuracy:.4f}"]
        state = "best" if point.workdir.name == best else result.state
        rows.append([*point.values.values(), *scores, state])
    header = [*grid[0].values, *COLUMNS]
    with (output / "grid.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    lines = [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]]
    text = "\n".join(lines) + "\n"
    (output / "grid.md").write_text(text)
    return text


def write_plot(output: pathlib.Path, grid: Sequence[Point], results: dict[str, Outcome]) -> None:
    """Write grid.svg: least validation loss against the first key, one line for each setting of the other keys."""
    key = next(iter(grid[0].values))
    position, set_scale = axis([point.values[key] for point in grid])
    lines: dict[str, list[Point]] = {}
    for point in grid:
        others = ", ".join(f"{name.split('.')[-1]}={value}" for name, value in point.values.items() if name != key)
        lines.setdefault(others, []).append(point)
    with svg_chart.axes("grid", width=5.0, height=3.4) as axes:
        for number, (label, line) in enumerate(lines.items()):
            colour = svg_chart.colour(number)
            outcomes = sorted((position(point.values[key]), results[point.workdir.name]) for point in line)
            drawn = [(x, r.loss) for x, r in outcomes if r.state != "diverged" and not math.isnan(r.loss)]
            axes.plot(*zip(*drawn, strict=True) if drawn else ([], []), color=colour, marker="o", label=label or None)
            for x, _ in [(x, r) for x, r in outcomes if r.state == "diverged"]:
                axes.axvline(x, color=colour, linestyle=":", linewidth=1)
                axes.text(x, 0.98, "diverged", rotation=90, transform=axes.get_xaxis_transform(), ha="right", va="top")
        set_scale(axes)
        if (losses := [r.loss for r in results.values() if r.loss > 0]) and max(losses) > 10 * min(losses):
            axes.set_yscale("log")  # so that the others stay distinct when one loss is much larger
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes.set_xlabel(key)
        axes.set_ylabel("least validation loss")
        if len(lines) > 1:
            axes.legend(frameon=False)
        axes.figure.savefig(output / "grid.svg", metadata={"Date": None})


def axis(values: Sequence[str]) -> tuple[Callable[[str], float], Callable]:
    """Return functions that place values on the axis and set its scale, which is logarithmic for positive numbers."""
    order = list(dict.fromkeys(values))
    with contextlib.suppress(ValueError):
        numbers = [float(value) for value in order]
        if all(number > 0 for number in numbers):
            return float, lambda axes: (
                axes.set_xscale("log"),
                axes.set_xticks(numbers, order),
                axes.set_xticks([], minor=True),
            )
    return order.index, lambda axes: axes.set_xticks(range(len(order)), order)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="directory of the grid")
    parser.add_argument(
        "--grid", action="append", required=True, metavar="KEY=VALUE,...", help="a key of the config and its values"
    )
    parser.add_argument("--at_once", type=int, default=1, help="runs at a time on this machine")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--slurm", action="store_true", help="submit an array of Slurm jobs and do not wait")
    where.add_argument("--summarise", action="store_true", help="do not train; write the table and the plot")
    parser.add_argument("--sbatch", action="append", default=[], help="an option of sbatch, such as --sbatch=--nodes=2")
    parser.add_argument("flags", nargs="*", help="flags of avlearn.main, after --")
    options, unknown = parser.parse_known_args()
    if unknown:
        parser.error(f"{' '.join(unknown)}: flags of avlearn.main follow after --: ... -- --config=configs/avenet.py")
    return options


def messages(grid: Sequence[Point], results: dict[str, Outcome]) -> Iterator[str]:
    """Yield the closing messages: the winner and how to evaluate it, and the unfinished points."""
    best = winner(results)
    for point in grid:
        if point.workdir.name == best:
            flags = [flag for flag in point.flags if flag != "--config.evaluation.after_training=False"]
            command = shlex.join(["python", *COMMAND[1:], *flags, "--mode=evaluate"])
            yield f"Least validation loss: {best}. To evaluate it:\n  {command}"
    if unfinished := [name for name, result in results.items() if result.state == "unfinished"]:
        names = ", ".join(unfinished)
        yield f"{len(unfinished)} of {len(results)} points are unfinished ({names}): run the same command again."


def main() -> None:
    """Train or submit the unfinished points of the grid, and write its table and plot."""
    options = arguments()
    output = options.output.absolute()
    if options.at_once < 1:
        raise ValueError(f"--at_once={options.at_once} is too few; use 1 or more.")
    grid = points(options.grid, output, options.flags)
    waiting = [point for point in grid if outcome(point).state == "unfinished"]
    if options.slurm:
        if waiting:
            submit(waiting, grid, output, options.sbatch)
        return
    if not options.summarise:
        run_here(waiting, options.at_once)
    output.mkdir(parents=True, exist_ok=True)
    results = {point.workdir.name: outcome(point) for point in grid}
    print(f"\n{write_table(output, grid, results)}")
    write_plot(output, grid, results)
    print("\n".join([*messages(grid, results), f"Table and plot: {output}/grid.md, grid.csv, grid.svg"]))
    if any(result.state == "unfinished" for result in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
