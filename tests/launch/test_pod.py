"""Two processes train as one does, through a preemption and a crash, with the same batches and results."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from avlearn.logs import metrics_log
from tests.helpers import tiny_run
from tests.helpers.paths import ROOT
from tests.helpers.tiny_network import assert_same_bits

pytestmark = pytest.mark.slow

STEPS = 6  # validated and saved after 3 and 6


def launch(data_dir, workdir, *fault: str) -> subprocess.CompletedProcess:
    """Run two processes with two devices each, which share a compilation cache with later starts."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
        "JAX_COMPILATION_CACHE_DIR": str(data_dir / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = ["launch/local_multiprocess.py", "--processes=2", "--devices=2", "--module=tests.helpers.tiny_run", "--"]
    return subprocess.run(
        [sys.executable, *command, str(data_dir), str(workdir), "avenet", str(STEPS), *fault],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def alone(tiny_world, tmp_path_factory):
    """Train in one process on one device."""
    workdir = tmp_path_factory.mktemp("alone")
    tiny_run.run("avenet", tiny_world, workdir, STEPS, devices=jax.devices()[:1])
    return workdir


@pytest.fixture(scope="module")
def pod(tiny_world, tmp_path_factory):
    """Preempt a run in step 2, kill it in step 5, and finish it."""
    workdir = tmp_path_factory.mktemp("pod")
    preempted = launch(tiny_world, workdir, f"signal={signal.SIGTERM:d}", "process=1", "step=2")
    killed = launch(tiny_world, workdir, f"signal={signal.SIGKILL:d}", "process=1", "step=5")
    shutil.copytree(workdir, workdir.parent / "unfinished")
    finished = launch(tiny_world, workdir)
    return workdir, preempted, killed, finished


def test_preemption_of_one_process_stops_both_at_the_same_step(pod):
    _, preempted, _, _ = pod
    assert preempted.returncode == 75, preempted.stdout + preempted.stderr
    saved = re.findall(r"^\[(\d)\] process \d ends: preempted .*: step (\d) is saved", preempted.stdout, re.MULTILINE)
    assert sorted(saved) == [("0", "2"), ("1", "2")]
    warned = re.findall(r"^\[(\d)\] W.* did not provide metrics", preempted.stdout, re.MULTILINE)
    assert warned == ["0"]  # a library warns in all processes; only the first shows it


def test_a_crash_of_one_process_ends_the_other(pod):
    _, _, killed, _ = pod
    assert killed.returncode != 0
    assert "ended first" in killed.stderr


def test_the_result_is_that_of_one_process(pod, alone, tiny_world):
    workdir, _, _, finished = pod
    assert finished.returncode == 0, finished.stdout + finished.stderr
    ended, expected = (tiny_run.params_of(path, "avenet", tiny_world) for path in (workdir, alone))
    assert_same_bits(ended, expected)
    rows = [metrics_log.read_rows(path / "metrics.jsonl") for path in (workdir, alone)]
    loss = [[row["train/loss"] for row in some if "train/loss" in row] for some in rows]
    assert len(loss[0]) == STEPS
    assert loss[0] == loss[1]


def test_the_batches_are_those_of_one_process(pod, alone):
    expected = tiny_run.batches_of(alone)
    assert len(expected) == STEPS * tiny_run.WORKERS
    assert all(len(fingerprints) == 1 for fingerprints in expected.values())
    assert len(set.union(*expected.values())) == len(expected)  # all batches differ
    assert tiny_run.batches_of(pod[0]) == expected
    workers = [
        set(json.loads((pod[0] / f"batches_{process}.jsonl").read_text().splitlines()[0])[1]) for process in (0, 1)
    ]
    assert workers == [{"0", "1", "2", "3"}, {"4", "5", "6", "7"}]


def test_the_evaluation_gives_the_same_metrics(pod, alone):
    results = [json.loads((path / "results.json").read_text()) for path in (pod[0], alone)]
    metrics = [jax.tree.leaves_with_path(each) for each in results]
    assert len(metrics[0]) > 10
    for (path, value), (_, expected) in zip(*metrics, strict=True):
        assert value == (pytest.approx(expected, rel=1e-5) if isinstance(expected, float) else expected), path
    assert results[0]["avc_accuracy"]["items"] == 96  # 16 clips, a positive and 5 negatives each
    arrays = np.load(pod[0] / "arrays.npz")
    assert sorted(arrays["all_positive/image_item"]) == list(range(16))  # each clip once, none from padding


def test_only_the_first_process_reports_progress(pod):
    finished = pod[3].stdout.splitlines()
    # From step 2 if the crash came before the checkpoint of step 3 was complete.
    assert any(
        re.match(r"\[0\] Resuming from step [23] .*; 8 worker\(s\) on 4 device\(s\) \(cpu\) of 2 pro", line)
        for line in finished
    )
    assert [line for line in finished if line.startswith("[1] ")] == []


def test_one_process_finishes_the_killed_run_of_two(pod, alone, tiny_world):
    unfinished = pod[0].parent / "unfinished"
    state = tiny_run.run("avenet", tiny_world, unfinished, STEPS, devices=jax.devices()[:1])
    assert_same_bits(state.params, tiny_run.params_of(alone, "avenet", tiny_world))
    assert tiny_run.batches_of(unfinished) == tiny_run.batches_of(alone)
