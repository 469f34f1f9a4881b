"""One directory, one run: the second start names the holder, and takes over from one that is gone."""

import json
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
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


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
    monkeypatch.setattr(lock, "DEAD_SECONDS", 0.6)


def test_the_second_start_says_who_holds_it(tmp_path, holder):
    who = rf"{re.escape(str(tmp_path))} is in use by process {holder.pid} on {socket.gethostname()}, since 2\d{{3}}-"
    with pytest.raises(ValueError, match=who), lock.held(tmp_path):
        pass
    assert json.loads((tmp_path / lock.FILE).read_text())["process"] == holder.pid


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_holder_is_replaced_at_once(tmp_path, holder, reaped, caplog):
    holder.kill()
    if reaped:
        holder.wait()
    else:
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it stays in the process table
    start = time.monotonic()
    with lock.held(tmp_path):
        assert json.loads((tmp_path / lock.FILE).read_text())["process"] == os.getpid()
    assert time.monotonic() - start < 5
    assert f"was left by process {holder.pid} on" in caplog.text
    assert list(tmp_path.iterdir()) == []


def left_on_another_machine(folder: pathlib.Path) -> pathlib.Path:
    entry = {"host": "node7", "process": 1, "since": "2030-01-01T00:00:00+00:00", "machine": "x", "started": "1"}
    (folder / lock.FILE).write_text(json.dumps(entry))
    return folder / lock.FILE


def test_another_machine_that_touches_the_file_keeps_it(tmp_path, impatient):
    path = left_on_another_machine(tmp_path)
    touching = threading.Timer(0.2, os.utime, (path,))
    touching.start()
    with pytest.raises(ValueError, match="in use by process 1 on node7, since 2030-01-01"), lock.held(tmp_path):
        pass
    touching.join()


@pytest.mark.parametrize("content", ["entry", ""])
def test_another_machine_that_does_not_is_gone(tmp_path, impatient, content):
    path = left_on_another_machine(tmp_path)
    path.write_text(content and path.read_text())
    start = time.monotonic()
    with lock.held(tmp_path):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert 0.6 <= time.monotonic() - start < 5


def test_a_holder_touches_the_file_and_ends_if_it_was_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    ended = threading.Event()
    monkeypatch.setattr(lock.os, "_exit", lambda code: ended.set() if code == 1 else None)
    with lock.held(tmp_path):
        os.utime(tmp_path / lock.FILE, (0, 0))
        while not (tmp_path / lock.FILE).stat().st_mtime:
            time.sleep(0.01)
        left_on_another_machine(tmp_path)
        assert ended.wait(5)
    assert "node7" in (tmp_path / lock.FILE).read_text()  # it is not ours to remove


def test_of_many_starts_after_a_kill_one_holds_it(tmp_path):
    (tmp_path / lock.FILE).write_text(
        json.dumps({"process": 2**22 + 1, "machine": lock._machine(), "started": "1", "host": "h", "since": "s"})
    )
    held, refused = [], []

    def start():
        try:
            with lock.held(tmp_path):
                held.append(1)
                time.sleep(0.5)
        except ValueError:
            refused.append(1)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
