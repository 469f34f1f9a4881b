"""The launcher that rehearses a pod: the environment of each process, and a failure that ends all."""

import os
import re
import subprocess
import sys
import time

import psutil
import pytest

from tests.helpers.paths import ROOT


def launch(*options: str, action: str, process: int = 0) -> tuple[subprocess.CompletedProcess, float]:
    command = [sys.executable, "launch/local_multiprocess.py", "--module=tests.helpers.launched_program", *options]
    start = time.monotonic()
    done = subprocess.run(
        [*command, "--", action, str(process)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
    )
    return done, time.monotonic() - start


def test_each_process_has_its_number_and_its_devices():
    done, _ = launch("--processes=3", "--devices=4", action="succeed")
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted(re.findall(r"^\[(\d)\] I am (\d) of 3 at (localhost:\d+)$", done.stdout, re.MULTILINE))
    assert [(prefix, number) for prefix, number, _ in found] == [("0", "0"), ("1", "1"), ("2", "2")]
    assert len({address for *_, address in found}) == 1
    assert done.stdout.count("devices 4 None") == 3


def test_gpus_are_split():
    done, _ = launch("--processes=2", "--devices=2", "--gpus", action="succeed")
    assert "[0] devices None 0,1" in done.stdout
    assert "[1] devices None 2,3" in done.stdout
    assert done.stdout.count("on cuda,cpu") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes=0"], "--processes=0 is too few; use 1 or more"),
        (["--processes=2", "--devices=-1"], "--devices=-1 is too few"),
        (["--processes=2", "--config=c.py"], "--config=c.py: flags of the program follow after --: ... -- --config"),
    ],
)
def test_refuses_wrong_options(options, message):
    done, _ = launch(*options, action="succeed")
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("action", "code", "reason"), [("exit_3", 3, "with exit code 3"), ("kill", 137, "by signal SIGKILL")]
)
def test_a_process_that_fails_ends_the_others(action, code, reason):
    done, seconds = launch("--processes=3", action=action, process=1)
    assert done.returncode == code
    assert f"Process 1 ended first, {reason}. Its last lines:" in done.stderr
    assert done.stderr.rstrip().endswith("my last words")
    assert seconds < 50  # the others sleep for 100


def test_messages_of_the_collectives_are_left_out():
    """This includes lines of several threads that are mixed up."""
    done, _ = launch("--processes=1", action="gloo")
    printed = [
        line
        for line in done.stdout.splitlines()
        if not line.startswith(("[0] I am", "[0] devices", "[0] on cpu", "[0] pid"))
    ]
    assert printed == ["[0] 33 and all is well"]


@pytest.mark.parametrize(("processes", "process", "started"), [(2, 1, 2), (12, 0, 1)])
def test_an_interrupt_ends_all_processes(processes, process, started):
    """It may come while they start; Python may then end a process without a message."""
    done, seconds = launch(f"--processes={processes}", action="interrupt", process=process)
    assert done.returncode in (1, 130)  # Python's own, or the signal's
    assert started <= done.stdout.count("KeyboardInterrupt") <= processes
    assert seconds < 50
    pids = re.findall(r"pid (\d+)", done.stdout)
    assert pids
    assert not [pid for pid in pids if psutil.pid_exists(int(pid))]
