"""launch/slurm_gpu.sbatch with a fake srun and scontrol: what is started, and what follows each way that it can end."""

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
    """A batch job in a directory that looks like a checkout."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        for folder in ("avlearn", ".venv/bin", "bin"):
            (directory / folder).mkdir(parents=True)
        (directory / "avlearn" / "main.py").touch()
        (directory / "launch").symlink_to(SCRIPT.parent)
        self.fake(".venv/bin/python", "")
        self.fake("bin/scontrol", "")
        shutil.copy(SCRIPT, directory / "spooled")  # Slurm runs a copy from elsewhere

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


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (75, True), (143, False)])
def test_is_queued_again_only_where_it_was_told_to_end_and_saved(job, status, requeued):
    job.fake("bin/srun", f"exit {status}")
    process = job.start("--config=configs/avenet.py", "--workdir=runs/a b")
    process.communicate()
    assert process.returncode == status
    started = [*STARTED, *PROGRAM, "--config=configs/avenet.py", "--workdir=runs/a b"]
    assert job.calls() == [started] + [["scontrol", "requeue", "41"]] * requeued


def test_outlives_the_signal_that_ends_its_processes(job):
    """TERM may go to the whole job: the script waits until its processes have saved, then queues again."""
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


def test_a_task_of_an_array_takes_its_flags_from_its_file(job):
    job.fake("bin/srun", "exit 75")
    (job.directory / "points").mkdir()
    (job.directory / "points" / "3").write_text("--config=configs/avenet.py\n--workdir=grid/a b\n--config.seed=1\n")
    job.start("points", SLURM_ARRAY_TASK_ID="3", SLURM_ARRAY_JOB_ID="40").communicate()
    flags = ["--config=configs/avenet.py", "--workdir=grid/a b", "--config.seed=1"]
    started = [*STARTED, "--output=grid/a b.log", "--open-mode=append", *PROGRAM, *flags]
    assert job.calls() == [started, ["scontrol", "requeue", "40_3"]]


def test_does_not_go_on_with_the_cpu_unless_told_so(job):
    job.fake("bin/srun", 'echo "on $JAX_PLATFORMS"')
    for environment, platforms in (({"JAX_PLATFORMS": ""}, "cuda,cpu"), ({"JAX_PLATFORMS": "cpu"}, "cpu")):
        output, _ = job.start("--config=configs/avenet.py", **environment).communicate()
        assert output == f"on {platforms}\n"


def test_refuses_a_directory_that_is_no_checkout(job):
    shutil.rmtree(job.directory / ".venv")
    output, _ = (process := job.start("--config=configs/avenet.py")).communicate()
    assert process.returncode == 2
    assert "is no checkout of avlearn with its .venv; run there: source launch/install.sh cuda" in output
    assert job.calls() == []


def test_asks_slurm_for_what_the_script_relies_on():
    lines = SCRIPT.read_text().splitlines()
    directives = [line.split()[1].partition("=") for line in lines if line.startswith("#SBATCH")]
    options = {name: value for name, _, value in directives}
    assert options["--ntasks-per-node"] == options["--gpus-per-node"]
    assert options["--signal"] == "TERM@120"  # to the processes; B: would send it to the script alone
    assert {"--requeue", "--open-mode"} <= options.keys()
    # Slurm reads directives only before the first command.
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(n for n, line in enumerate(lines) if line.startswith("#SBATCH")) < first_command
