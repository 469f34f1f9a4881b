"""SIGTERM and Ctrl-C before a run can be saved: the exit code, also while C++ waits for other hosts."""

import os
import signal
import subprocess
import sys
import time

import pytest

from avlearn.devices import processes
from tests.helpers.paths import ROOT

WAITING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background ignores
from avlearn.runs import early_signals
early_signals.end_at_once()
from avlearn.devices import processes
print("waits", flush=True)
processes.initialize()
"""


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [(signal.SIGTERM, 75, "preempted (SIGTERM)"), (signal.SIGINT, 130, "interrupted (Ctrl-C)")],
)
def test_while_hosts_wait_for_each_other(number, code, reason):
    alone = {"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
    environment = {**os.environ, **alone}
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "waits\n"
    time.sleep(0.5)  # until it waits in C++
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (code, f"Stopping: {reason}. The same command resumes.\n")


def test_without_an_output_to_write_to():
    early = WAITING.replace("processes.initialize()", "import os, time; os.close(1); time.sleep(20)")
    process = subprocess.Popen([sys.executable, "-c", early], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.read() == b"waits\n"  # until it is closed
    process.terminate()
    assert process.wait(timeout=20) == 75


def test_while_the_command_is_imported():
    command = [sys.executable, "-X", "importtime", "-m", "avlearn.main", "--config=configs/avenet.py"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while " jax." not in process.stderr.readline():
        pass
    process.terminate()
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (75, "Stopping: preempted (SIGTERM). The same command resumes.\n")
    assert "Traceback" not in errors


def test_joining_leaves_the_handler_of_sigterm(monkeypatch):
    """JAX sets its own when the processes have joined."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, handler := lambda *_: None)
        monkeypatch.setattr(
            processes.jax.distributed, "initialize", lambda **_: signal.signal(signal.SIGTERM, signal.SIG_DFL)
        )
        alone = {"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
        processes.initialize(alone)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
