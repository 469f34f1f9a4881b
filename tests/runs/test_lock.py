"""One directory, one run: the second start names the holder, and takes over from one that is gone."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from avlearn.runs import lock
from tests.helpers.paths import ROOT

HOLDER = """
import pathlib, sys, time
from avlearn.runs import lock
lock.TOUCH_SECONDS = 0.1
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""
# Of another machine, as far as this one can tell.
ELSEWHERE = "filelock/2\npid=1\nhost=node7\nmode=lease\ntoken=" + 32 * "0" + "\nduration=0.6\n"


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the directory."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.05)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.6)


def left_on_another_machine(folder: pathlib.Path, text: str = ELSEWHERE) -> pathlib.Path:
    (folder / lock.FILE).write_text(text)
    return folder / lock.FILE


def test_the_second_start_says_who_holds_it(tmp_path, holder):
    who = rf"{re.escape(str(tmp_path))} is in use by process {holder.pid} on {socket.gethostname()}"
    with pytest.raises(ValueError, match=who), lock.held(tmp_path):
        pass
    assert f"pid={holder.pid}\n" in (tmp_path / lock.FILE).read_text()


def test_a_killed_holder_is_replaced_at_once(tmp_path, holder):
    holder.kill()
    holder.wait()
    start = time.monotonic()
    with lock.held(tmp_path):
        assert f"pid={os.getpid()}\n" in (tmp_path / lock.FILE).read_text()
    assert time.monotonic() - start < lock.LEASE_SECONDS / 2
    assert list(tmp_path.iterdir()) == []


def test_another_machine_that_touches_the_file_keeps_it(tmp_path, impatient):
    path = left_on_another_machine(tmp_path)
    touching = threading.Timer(0.2, os.utime, (path,))
    touching.start()
    with pytest.raises(ValueError, match="in use by process 1 on node7"), lock.held(tmp_path):
        pass
    touching.join()
    assert path.read_text() == ELSEWHERE


@pytest.mark.parametrize("text", [ELSEWHERE, ""])  # empty: after a power cut
def test_another_machine_that_does_not_is_gone(tmp_path, impatient, text):
    path = left_on_another_machine(tmp_path, text)
    start = time.monotonic()
    with lock.held(tmp_path):
        assert f"pid={os.getpid()}\n" in path.read_text()
    assert time.monotonic() - start >= 0.6


def test_a_holder_touches_the_file_and_ends_if_it_was_taken_over(tmp_path, impatient, monkeypatch, caplog):
    ended = threading.Event()
    monkeypatch.setattr(lock.os, "_exit", lambda code: ended.set() if code == 75 else None)
    with lock.held(tmp_path):
        path = tmp_path / lock.FILE
        os.utime(path, (0, 0))
        while not path.stat().st_mtime:
            time.sleep(0.01)
        path.unlink()
        left_on_another_machine(tmp_path)
        assert ended.wait(5)
    assert path.read_text() == ELSEWHERE  # it is not ours to remove
    assert f"this process no longer holds {tmp_path} (owner-changed)" in caplog.text
