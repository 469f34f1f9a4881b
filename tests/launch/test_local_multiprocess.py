"""The launcher that rehearses a pod: who is told what, and that one that dies ends the others."""

import os
import re
import subprocess
import sys
import time

import psutil
import pytest

from tests.helpers.paths import ROOT


def launch(*options: str, how: str, who: int = 0) -> tuple[subprocess.CompletedProcess, float]:
    command = [sys.executable, "launch/local_multiprocess.py", "--module=tests.helpers.launched_program", *options]
    start = time.monotonic()
    done = subprocess.run(
        [*command, "--", how, str(who)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
    )
    return done, time.monotonic() - start


def test_each_process_is_told_its_place_and_its_devices():
    done, _ = launch("--processes=3", "--devices=4", how="all_well")
    assert (done.returncode, done.stderr) == (0, "")
    who = sorted(re.findall(r"^\[(\d)\] I am (\d) of 3 at (localhost:\d+)$", done.stdout, re.MULTILINE))
    assert [(prefix, number) for prefix, number, _ in who] == [("0", "0"), ("1", "1"), ("2", "2")]
    assert len({address for *_, address in who}) == 1
    assert done.stdout.count("devices 4 None") == 3


def test_gpus_are_split():
    done, _ = launch("--processes=2", "--devices=2", "--gpus", how="all_well")
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
def test_refuses_what_it_cannot_start(options, message):
    done, _ = launch(*options, how="all_well")
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("how", "code", "why"), [("exit_3", 3, "with exit code 3"), ("kill", 137, "by signal SIGKILL")]
)
def test_one_that_dies_ends_the_others(how, code, why):
    done, seconds = launch("--processes=3", how=how, who=1)
    assert done.returncode == code
    assert f"Process 1 ended first, {why}. Its last lines:" in done.stderr
    assert done.stderr.rstrip().endswith("my last words")
    assert seconds < 50  # the others sleep for 100


def test_what_the_collectives_write_is_left_out():
    """Also where the lines of several threads have run into each other."""
    done, _ = launch("--processes=1", how="gloo")
    said = [
        line
        for line in done.stdout.splitlines()
        if not line.startswith(("[0] I am", "[0] devices", "[0] on cpu", "[0] pid"))
    ]
    assert said == ["[0] 33 and all is well"]


@pytest.mark.parametrize(("processes", "who", "started"), [(2, 1, 2), (12, 0, 1)])
def test_an_interrupt_ends_all(processes, who, started):
    """Also one that comes while they are started; of those that have not, Python may end without a word."""
    done, seconds = launch(f"--processes={processes}", how="interrupt", who=who)
    assert done.returncode in (1, 130)  # Python's own, or the signal's
    assert started <= done.stdout.count("KeyboardInterrupt") <= processes
    assert seconds < 50
    pids = re.findall(r"pid (\d+)", done.stdout)
    assert pids
    assert not [pid for pid in pids if psutil.pid_exists(int(pid))]
