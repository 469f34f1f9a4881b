"""launch/slurm_gpu.sbatch with a fake srun and scontrol: what it starts, and what follows each exit code."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from tests.helpers.paths import ROOT

SCRIPT = ROOT / "launch" / "slurm_gpu.sbatch"
STARTED = ["srun", "--gpu-bind=none", "--kill-on-bad-exit=0", "--wait=600"]
PROGRAM = [".venv/bin/python", "-m", "avlearn.main"]


class Job:
    """A batch job in a fake checkout."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        for folder in ("avlearn", ".venv/bin", "bin"):
            (directory / folder).mkdir(parents=True)
        (directory / "avlearn" / "main.py").touch()
        (directory / "launch").symlink_to(SCRIPT.parent)
        self.fake(".venv/bin/python", "")
        self.fake("bin/scontrol", "")
        shutil.copy(SCRIPT, directory / "spooled")  # Slurm runs a copy from another directory

    def fake(self, path: str, script: str) -> None:
        program = self.directory / path
        write = f'printf "%s\\0" {program.name} "$@" "" >> "{self.directory}/calls"'
        program.write_text(f"#!/bin/bash\n{write}\n{script}\n")
        program.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        slurm = {"SLURM_SUBMIT_DIR": str(self.directory), "SLURM_JOB_ID": "41"}
        path = f"{self.directory / 'bin'}:{os.environ['PATH']}"
        return subprocess.Popen(
            ["bash", self.directory / "spooled", *arguments],
            env=clean | slurm | {"PATH": path} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def calls(self) -> list[list[str]]:
        path = self.directory / "calls"
        return [call.split("\0") for call in path.read_text().split("\0\0") if call] if path.exists() else []


@pytest.fixture
def job(tmp_path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (65, False), (75, True), (143, False)])
def test_requeues_only_if_preempted_and_saved(job, status, requeued):
    job.fake("bin/srun", f"exit {status}")
    process = job.start("--config=configs/avenet.py", "--workdir=runs/a b")
    process.communicate()
    assert process.returncode == status
    started = [*STARTED, *PROGRAM, "--config=configs/avenet.py", "--workdir=runs/a b"]
    assert job.calls() == [started] + [["scontrol", "requeue", "41"]] * requeued


def test_survives_the_signal_to_its_processes(job):
    """TERM may go to the whole job: the script waits until its processes have saved, then requeues."""
    job.fake("bin/srun", "trap 'sleep 0.3; exit 75' TERM\nwhile true; do sleep 0.05; done")
    process = job.start("--config=configs/avenet.py")
    while not job.calls():
        time.sleep(0.02)
    time.sleep(0.3)  # until the trap is set
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
    process.send_signal(signal.SIGTERM)
    for child in children.split():
        os.kill(int(child), signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 75, output
    assert job.calls()[-1] == ["scontrol", "requeue", "41"]


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (65, False), (75, True)])
def test_a_task_of_an_array_takes_its_flags_from_its_file(job, status, requeued):
    job.fake("bin/srun", f"exit {status}")
    (job.directory / "points").mkdir()
    (job.directory / "points" / "3").write_text("--config=configs/avenet.py\0--workdir=grid/a b\0--x=1\n2\0")
    job.start("points", SLURM_ARRAY_TASK_ID="3", SLURM_ARRAY_JOB_ID="40").communicate()
    flags = ["--config=configs/avenet.py", "--workdir=grid/a b", "--x=1\n2"]
    started = [*STARTED, "--output=grid/a b.log", "--open-mode=append", *PROGRAM, *flags]
    assert job.calls() == [started] + [["scontrol", "requeue", "40_3"]] * requeued
    assert (job.directory / "grid" / "a b.exit").read_text() == f"{status}\n"  # for grid_search.py


def test_does_not_fall_back_to_the_cpu_unless_asked(job):
    job.fake("bin/srun", 'echo "on $JAX_PLATFORMS"')
    for environment, platforms in (({"JAX_PLATFORMS": ""}, "cuda,cpu"), ({"JAX_PLATFORMS": "cpu"}, "cpu")):
        output, _ = job.start("--config=configs/avenet.py", **environment).communicate()
        assert output == f"on {platforms}\n"


def test_refuses_a_directory_that_is_not_a_checkout(job):
    shutil.rmtree(job.directory / ".venv")
    output, _ = (process := job.start("--config=configs/avenet.py")).communicate()
    assert process.returncode == 2
    assert "is not a checkout of avlearn with a .venv; run there: source launch/install.sh cuda" in output
    assert job.calls() == []


def test_directives_match_what_the_script_relies_on():
    lines = SCRIPT.read_text().splitlines()
    directives = [line.split()[1].partition("=") for line in lines if line.startswith("#SBATCH")]
    options = {name: value for name, _, value in directives}
    assert options["--ntasks-per-node"] == options["--gpus-per-node"]
    assert options["--signal"] == "TERM@120"  # to the processes; with B: only the script would get it
    assert {"--requeue", "--open-mode"} <= options.keys()
    # Slurm ignores directives after the first command.
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(n for n, line in enumerate(lines) if line.startswith("#SBATCH")) < first_command
