"""launch/grid_search.py with a fake training that writes the files of a run and exits with its codes."""

import csv
import importlib.util
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from avlearn.runs import non_finite
from tests.helpers.paths import ROOT

SPEC = importlib.util.spec_from_file_location("grid_search", ROOT / "launch" / "grid_search.py")
grid_search = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = grid_search
SPEC.loader.exec_module(grid_search)

# Losses by learning rate at steps 1 and 2. Rate 1 diverges; 0.5 is preempted until the file `fixed` exists.
TRAINING = """
    import json, pathlib, sys
    flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:])
    workdir, rate = pathlib.Path(flags["workdir"]), flags["config.train.learning_rate"]
    assert flags["config"] == "c.py" and flags["config.evaluation.after_training"] == "False"
    (workdir / "checkpoints").mkdir(parents=True, exist_ok=True)
    (workdir.parent / "started").open("a").write(workdir.name + "\\n")
    (workdir / "config.json").write_text(json.dumps({"train": {"steps": 2}}))
    losses = {"0.01": (0.6, 0.7), "0.1": (0.9, 0.5), "1": (0.8,), "0.5": (0.4,)}[rate]
    if (workdir.parent / "fixed").exists():
        losses = (*losses, 0.65)[:2]
    with (workdir / "metrics.jsonl").open("w") as file:
        for step, loss in enumerate(losses, 1):
            file.write(json.dumps({"step": step, "train/loss": 1.0}) + "\\n")
            file.write(json.dumps({"step": step, "validation/loss": loss, "validation/accuracy": 0.75}) + "\\n")
    if rate == "1":
        print("error: the loss of step 2 is nan, its gradient norm inf. Nothing was saved after it", file=sys.stderr)
        sys.exit(65)
    if len(losses) < 2:
        sys.exit(75)
    (workdir / "checkpoints" / "2").mkdir()
"""


@pytest.fixture
def search(tmp_path, monkeypatch, capsys):
    """Return a function that runs the search and returns its output and exit status."""
    (tmp_path / "training.py").write_text(textwrap.dedent(TRAINING))
    monkeypatch.setattr(grid_search, "COMMAND", (sys.executable, str(tmp_path / "training.py")))
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> tuple[str, int]:
        monkeypatch.setattr(sys, "argv", ["grid_search.py", f"--output={tmp_path / 'grid'}", *arguments])
        try:
            grid_search.main()
            status = 0
        except SystemExit as end:
            status = end.code
        return capsys.readouterr().out, status

    yield run
    signal.signal(signal.SIGTERM, handler)


def started(directory: pathlib.Path) -> list[str]:
    return sorted((directory / "grid" / "started").read_text().split())


def table(directory: pathlib.Path) -> list[dict[str, str]]:
    with (directory / "grid" / "grid.csv").open() as file:
        return list(csv.DictReader(file))


FLAGS = ["--", "--config=c.py"]


@pytest.mark.parametrize("at_once", [1, 2])
def test_picks_the_least_validation_loss_of_all_steps(search, tmp_path, at_once):
    printed, status = search("--grid=train.learning_rate=0.01,0.1", f"--at_once={at_once}", *FLAGS)
    assert status == 0
    assert [tuple(row.values()) for row in table(tmp_path)] == [
        ("0.01", "0.600000", "1", "0.7500", "finished"),
        ("0.1", "0.500000", "2", "0.7500", "best"),
    ]
    assert "Least validation loss: learning_rate=0.1." in printed
    assert f"--workdir={tmp_path / 'grid' / 'learning_rate=0.1'} --config.train.learning_rate=0.1" in printed
    assert "| 0.1 | 0.500000 | 2 | 0.7500 | best |" in (tmp_path / "grid" / "grid.md").read_text()


def test_a_diverged_run_is_listed_but_not_picked_nor_repeated(search, tmp_path):
    printed, _ = search("--grid=train.learning_rate=0.01,1", *FLAGS)
    assert "  error: the loss of step 2 is nan" in printed
    _, status = search("--grid=train.learning_rate=0.01,1", *FLAGS)
    assert status == 0
    assert [row["state"] for row in table(tmp_path)] == ["best", "diverged"]
    assert table(tmp_path)[1]["validation loss"] == "0.800000"
    assert started(tmp_path) == ["learning_rate=0.01", "learning_rate=1"]
    assert "diverged" in (tmp_path / "grid" / "grid.svg").read_text()
    assert (tmp_path / "grid" / "learning_rate=1.exit").read_text() == f"{non_finite.EXIT_CODE}\n"


def test_a_run_diverged_by_its_exit_code_not_by_its_log(tmp_path):
    """As launch/slurm_gpu.sbatch leaves it."""
    (point,) = grid_search.points(["seed=1"], tmp_path, ["--config=c.py"])
    point.log.write_text("error: the loss of step 3 is nan")
    assert grid_search.outcome(point).state == "unfinished"
    for code, state in ((1, "unfinished"), (75, "unfinished"), (65, "diverged")):
        point.exit_file.write_text(f"{code}\n")
        assert grid_search.outcome(point).state == state


def test_resumes_unfinished_points(search, tmp_path):
    printed, status = search("--grid=train.learning_rate=0.5,0.01", *FLAGS)
    assert status == 1
    assert "1 of 2 points are unfinished (learning_rate=0.5): run the same command again." in printed
    # Its loss is the least so far, but the run is unfinished.
    assert [row["state"] for row in table(tmp_path)] == ["unfinished", "best"]
    (tmp_path / "grid" / "fixed").touch()
    _, status = search("--grid=train.learning_rate=0.5,0.01", *FLAGS)
    assert status == 0
    assert [row["state"] for row in table(tmp_path)] == ["best", "finished"]
    assert started(tmp_path) == ["learning_rate=0.01", "learning_rate=0.5", "learning_rate=0.5"]


def test_crosses_several_keys(search, tmp_path):
    search("--grid=train.learning_rate=0.01,0.1", "--grid=loss.objective=released,paper", *FLAGS)
    rows = [(row["train.learning_rate"], row["loss.objective"]) for row in table(tmp_path)]
    assert rows == [("0.01", "released"), ("0.01", "paper"), ("0.1", "released"), ("0.1", "paper")]
    assert (tmp_path / "grid" / "learning_rate=0.1,objective=paper" / "metrics.jsonl").exists()
    plot = (tmp_path / "grid" / "grid.svg").read_text()
    assert "objective=released" in plot
    assert "objective=paper" in plot


def test_submits_unfinished_points_as_an_array(search, tmp_path, monkeypatch):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(sbatch.parent), prepend=os.pathsep)
    (tmp_path / "grid").mkdir()
    grid = "--grid=train.learning_rate=0.5,0.01,0.1"
    search("--grid=train.learning_rate=0.01", *FLAGS)
    search(grid, "--slurm", "--sbatch=--nodes=2", *FLAGS, "--config.seed=3")
    points = tmp_path / "grid" / "points"
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["--array=0,2", "--nodes=2", "launch/slurm_gpu.sbatch", str(points)]
    assert (points / "2").read_text().split("\0")[:-1] == [
        "--config=c.py",
        "--config.seed=3",
        "--config.evaluation.after_training=False",
        f"--workdir={tmp_path / 'grid' / 'learning_rate=0.1'}",
        "--config.train.learning_rate=0.1",
    ]
    _, status = search(grid, "--summarise", *FLAGS)
    assert status == 1
    assert [row["state"] for row in table(tmp_path)] == ["unfinished", "best", "unfinished"]
    assert started(tmp_path) == ["learning_rate=0.01"]
    sbatch.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ValueError, match="sbatch refused the array"):
        search(grid, "--slurm", *FLAGS)


def test_missing_slurm_is_an_error(search, monkeypatch):
    monkeypatch.setattr(grid_search, "SLURM", ("no_such_sbatch", "launch/slurm_gpu.sbatch"))
    with pytest.raises(ValueError, match="no_such_sbatch is not installed here"):
        search("--grid=train.learning_rate=0.01", "--slurm", *FLAGS)


def test_flags_of_training_before_the_dashes_are_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["grid_search.py", "--output=a", "--grid=seed=1", "--config=c.py"])
    with pytest.raises(SystemExit):
        grid_search.arguments()
    assert "error: --config=c.py: flags of avlearn.main follow after --" in capsys.readouterr().err


WAITING = "import os, pathlib, time; pathlib.Path({pid!r}).write_text(str(os.getpid())); time.sleep(60)"
SEARCH = """
    import importlib.util, sys
    spec = importlib.util.spec_from_file_location("grid_search", {script!r})
    grid_search = importlib.util.module_from_spec(spec)
    sys.modules["grid_search"] = grid_search
    spec.loader.exec_module(grid_search)
    grid_search.COMMAND = (sys.executable, {training!r})
    grid_search.main()
"""


def test_terminates_its_runs_when_it_is_terminated(tmp_path):
    pid, training, search = tmp_path / "pid", tmp_path / "training.py", tmp_path / "search.py"
    training.write_text(WAITING.format(pid=str(pid)))
    script = str(ROOT / "launch" / "grid_search.py")
    search.write_text(textwrap.dedent(SEARCH).format(script=script, training=str(training)))
    command = [sys.executable, search, f"--output={tmp_path / 'grid'}", "--grid=seed=1", *FLAGS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert not pathlib.Path(f"/proc/{pid.read_text()}").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid=train.learning_rate", *FLAGS], "is not KEY=VALUE,VALUE"),
        (["--grid=train.learning_rate=a/b", *FLAGS], "is not KEY=VALUE,VALUE"),
        (["--grid=seed=1,1", *FLAGS], "a value is repeated"),
        (["--grid=seed=1", "--grid=seed=2", *FLAGS], "seed is repeated"),
        (["--grid=seed=1"], "--config is missing"),
        (["--grid=seed=1", "--at_once=0", *FLAGS], "--at_once=0 is too few"),
    ],
)
def test_refuses_an_invalid_grid(search, arguments, message):
    with pytest.raises(ValueError, match=message):
        search(*arguments)


def test_axis_shows_values_as_they_were_given(tmp_path):
    position, _ = grid_search.axis(["paper", "released", "paper"])
    assert [position("paper"), position("released")] == [0, 1]
    flags = ["--config=c.py"]
    grid = grid_search.points(["train.learning_rate=1e-4,3e-3,nan,7"], tmp_path, flags)[:2]
    losses = {grid[0].workdir.name: 0.5, grid[1].workdir.name: 500.0}
    results = {name: grid_search.Outcome("finished", loss, 1, 0.5) for name, loss in losses.items()}
    grid_search.write_plot(tmp_path, grid, results)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "grid.svg").read_text())
    assert {"1e-4", "3e-3", "1", "10", "100"} <= set(texts)
    assert not any("$" in text for text in texts)
