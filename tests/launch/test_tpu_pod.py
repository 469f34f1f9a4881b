"""launch/tpu_pod.sh: its exact commands, compared with a golden text and recorded by a fake gcloud."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

from tests.helpers.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "tpu_pod.txt"
TPU = ["--name=avenet", "--zone=us-central2-b"]
RUN = [*TPU, "--bucket=gs://my-bucket/", "--", "--config=configs/avenet.py"]


class Launcher:
    """A copy of the script with programs on its PATH that record their arguments."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        (directory / "launch").mkdir()
        (directory / "bin").mkdir()
        shutil.copy(ROOT / "launch" / "tpu_pod.sh", directory / "launch")
        for program in ("gcloud", "git", "sudo"):
            self.fake(program, f'printf "%s\\0" {program} "$@" "" >> "{directory}/calls"')

    def fake(self, program: str, script: str) -> None:
        path = self.directory / "bin" / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AVLEARN_")}
        path = f"{self.directory / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            [self.directory / "launch" / "tpu_pod.sh", *arguments],
            env=clean | {"PATH": path, "TMPDIR": "/tmp"} | environment,
            capture_output=True,
            text=True,
        )

    def calls(self) -> list[list[str]]:
        """Return the arguments of each call since the last time, except checks of the last commit."""
        path = self.directory / "calls"
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        calls = [call.split("\0") for call in text.split("\0\0") if call]
        return [call for call in calls if call[:2] != ["git", "cat-file"]]


@pytest.fixture
def launcher(tmp_path) -> Launcher:
    return Launcher(tmp_path)


def allocator_settings() -> list[str]:
    """Return the variables that launch/allocator.sh sets in an empty environment, as options of a service."""
    script = "source launch/allocator.sh; env | grep -E '^(LD_PRELOAD|MALLOC|TCMALLOC)'"
    found = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    settings = found.stdout.split()
    assert len(settings) == 3
    return [f"--setenv={setting}" for setting in settings]


def printed(launcher: Launcher) -> str:
    commands = [
        ["create", "--print", *TPU, "--type=v4-32", "--spot=yes", "--project=my-project"],
        ["create", "--print", *TPU, "--type=v6e-16"],
        ["run", "--print", *RUN, "--config.train.learning_rate=5e-5"],
        ["resume", "--print", *RUN, "--workdir=/shared/runs/a b"],
        ["logs", "--print", *TPU, "--worker=3"],
        ["delete", "--print", *TPU],
    ]
    texts = []
    for command in commands:
        result = launcher(*command)
        assert result.returncode == 0, result.stderr
        texts.append(f"$ launch/tpu_pod.sh {shlex.join(command)}\n{result.stdout}")
    return "\n".join(texts)


def test_printed_commands_match_the_golden_text_and_are_not_executed(launcher):
    assert printed(launcher) == GOLDEN.read_text(), "if this is meant, run: python -m tests.launch.test_tpu_pod"
    assert launcher.calls() == []
    assert not (launcher.directory / "runs").exists()


@pytest.mark.parametrize("action", ["create", "run", "logs", "delete"])
def test_executes_what_it_prints(launcher, action):
    arguments = {"create": [*TPU, "--type=v5p-32"], "run": RUN}.get(action, TPU)
    shown = [shlex.split(line) for line in launcher(action, "--print", *arguments).stdout.splitlines()]
    if action == "create":
        assert shown.pop()[:5] == ["gcloud", "compute", "tpus", "queued-resources", "describe"]
    assert launcher(action, *arguments).returncode == 0
    executed = [call for call in launcher.calls() if call[:2] not in (["git", "status"], ["git", "rev-parse"])]
    assert executed == shown


def test_resume_repeats_the_last_run(launcher):
    missing = launcher("resume", *TPU)
    assert missing.returncode == 2
    assert "runs/tpu_pod/avenet is missing" in missing.stderr
    launcher("run", *RUN, "--config.seed=1", "--config.x=two\nlines\n")
    first = launcher.calls()
    assert "needs --bucket" in launcher("resume", *TPU).stderr  # its directories are in the bucket
    assert launcher("resume", *TPU, "--bucket=gs://my-bucket/").returncode == 0
    assert launcher.calls() == first


def test_flags_reach_the_program_through_two_shells(launcher):
    """Execute the command for the workers here, and look at the arguments of the service."""
    odd = ["--config.data.data_dir=/mnt/my clips/it's &", "--workdir=/shared/*"]
    sent = shlex.split(launcher("run", "--print", *RUN, *odd).stdout.splitlines()[-1])[-1].removeprefix("--command=")
    home = launcher.directory / "home"
    (home / "avlearn" / "code").mkdir(parents=True)
    (home / "avlearn" / "code" / "launch").symlink_to(ROOT / "launch")
    environment = {"HOME": str(home), "PATH": f"{launcher.directory / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", sent], cwd=home, env=environment, check=True)
    [service] = launcher.calls()
    program = service.index(f"{home}/avlearn/venv/bin/python")
    assert service[program:] == [service[program], "-m", "avlearn.main", "--config=configs/avenet.py", *odd]
    assert service[:2] == ["sudo", "systemd-run"]
    assert [word for word in service if word.startswith("--setenv=")][2:] == allocator_settings()
    assert f"--working-directory={home}/avlearn/code" in service
    assert f"--property=StandardOutput=append:{home}/avlearn/run.log" in service


def test_commands_for_the_workers_are_valid_shell(launcher):
    for line in launcher("run", "--print", *RUN).stdout.splitlines():
        sent = shlex.split(line)[-1].removeprefix("--command=")
        if "ssh" in line:
            subprocess.run(["bash", "-n", "-c", sent], check=True)
    assert " my-bucket /mnt/avlearn; fi" in launcher("run", "--print", *RUN).stdout


def test_flags_override_settings_of_the_environment(launcher):
    shown = launcher("logs", "--print", "--name=b", AVLEARN_TPU_NAME="a", AVLEARN_TPU_ZONE="z", AVLEARN_TPU_WORKER="2")
    assert shown.stdout.startswith("gcloud compute tpus tpu-vm ssh b --zone=z --worker=2 ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "an action is missing: create, run, logs, resume or delete"),
        (["stop"], "stop is unknown; use create, run"),
        (["create", "--zone=z", "--type=v4-8"], "create needs --name=... or AVLEARN_TPU_NAME"),
        (["create", "--name=a", "--zone=z"], "create needs --type=... or AVLEARN_TPU_TYPE"),
        (["create", "--name=a", "--zone=z", "--type=gpu-8"], "the runtime for --type=gpu-8 is unknown"),
        (["create", "--name=a", "--zone=z", "--type=v4-8", "--spot=1"], "--spot=1 is unknown; use --spot=yes"),
        (["run", "--name=../../x", "--zone=z"], "--name=../../x is not the name of a TPU: lower-case letters, digits"),
        (["resume", "--name=a/b", "--zone=z"], "--name=a/b is not the name of a TPU"),
        (["logs", "--name=a"], "logs needs --zone=... or AVLEARN_TPU_ZONE"),
        (["run", "--name=a", "--zone=z"], "--config is missing"),
        (["run", "--name=a", "--zone=z", "--", "--config=c.py"], "the run needs --bucket=gs://..."),
        (["run", *TPU, "--", "--config", "c.py"], "--config is not of the form --NAME=VALUE"),
        (["run", *RUN, "--workdir", "/shared"], "--workdir is not of the form --NAME=VALUE"),
        (["run", *RUN, "--workdir=gs://b/runs"], "--workdir=gs://b/runs is not a directory"),
        (["run", *TPU, "--bucket=gs://b/folder", "--", "--config=c.py"], "--bucket=gs://b/folder is not a bucket"),
        (["logs", *TPU, "--worker=first"], "--worker=first is unknown; use a number from 0 on, or all"),
        (["delete", *TPU, "--", "--config=c.py"], "delete takes no flags of avlearn.main"),
        (["run", "--name=a", "--config=c.py"], "--config=c.py is not a setting of run; flags of avlearn.main follow"),
    ],
)
def test_an_error_names_what_is_missing_and_nothing_runs(launcher, arguments, message):
    result = launcher(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert launcher.calls() == []


def test_an_uncommitted_config_does_not_start(launcher):
    launcher.fake("git", '[ "$*" = "cat-file -e HEAD:configs/avenet.py" ]')
    assert launcher("run", "--print", *RUN).returncode == 0
    assert launcher("run", "--print", *RUN[:-1], "--config=configs/avenet.py:miniature").returncode == 0
    result = launcher("run", *RUN[:-1], "--config=configs/mine.py:miniature")
    assert result.returncode == 2
    assert "--config=configs/mine.py is not in the last commit of the checkout" in result.stderr
    assert launcher.calls() == []


def test_help_lists_every_setting(launcher):
    text = launcher("--help").stdout
    for setting in ("name", "zone", "project", "type", "runtime", "spot", "bucket", "worker"):
        assert f"--{setting}=" in text
        assert f"AVLEARN_TPU_{setting.upper()}" in text
    assert "set -euo" not in text


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        GOLDEN.write_text(printed(Launcher(pathlib.Path(directory))))
