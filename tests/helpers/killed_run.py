"""Runs the command on the tiny dataset in a process that can be killed, and reads the files that it leaves."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp

from tests.helpers.paths import ROOT

STEPS = 12
BEGINNING = "== start"
STARTING = "Settings that differ"  # printed before the dataset is opened
EVALUATING = ", test of synthetic_av/tiny"  # printed before arrays are collected
SETTINGS = {
    "data.dataset": "synthetic_av/tiny",
    "model.width": 0.0625,
    "inputs.frame_pixels": 32,
    "train.batch_per_worker": 8,
    "train.steps": STEPS,
    "train.warmup_steps": 2,
    "train.checkpoint_every_steps": 2,
    "train.log_every_steps": 1,
    "train.keep_checkpoints": 2,
    "train.pictures_every": 0,
    "evaluation.batch": 4,
}


def start(data_dir: pathlib.Path, workdir: pathlib.Path) -> subprocess.Popen:
    """Start the command in a process; its compiled programs are kept for the next start."""
    settings = {**SETTINGS, "data.data_dir": data_dir}
    command = [sys.executable, "-m", "avlearn.main", "--config=configs/avenet.py:miniature", f"--workdir={workdir}"]
    command += [f"--config.{key}={value}" for key, value in settings.items()]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(data_dir / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir.parent / f"{workdir.name}.log").open("a") as log:
        print(BEGINNING, file=log, flush=True)
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def said(workdir: pathlib.Path) -> str:
    """Return everything that the starts of a run printed."""
    return (workdir.parent / f"{workdir.name}.log").read_text()


def send_when(process: subprocess.Popen, condition: Callable[[], bool], number: int = signal.SIGKILL) -> bool:
    """Send the signal as soon as the condition holds; return whether the process was still running."""
    while process.poll() is None and not condition():
        time.sleep(0.002)
    running = process.poll() is None
    if running:
        process.send_signal(number)
    process.wait(timeout=120)
    return running


def stage(workdir: pathlib.Path) -> str:
    """Return what a process was doing when it was killed."""
    latest = said(workdir).rpartition(BEGINNING)[2]
    if "from step" not in latest:
        return "starting"
    if EVALUATING in latest:
        return "evaluating"
    return "writing a checkpoint" if any((workdir / "checkpoints").glob("*tmp*")) else "training"


def checkpoints_of(workdir: pathlib.Path) -> set[str]:
    """Return the names of the checkpoints, including those being written."""
    return {path.name.split(".")[0] for path in (workdir / "checkpoints").glob("*")}


def logged(workdir: pathlib.Path, step: int) -> bool:
    """Return whether a step is done."""
    path = workdir / "metrics.jsonl"
    return path.exists() and f'"step": {step},' in path.read_text()


def left(workdir: pathlib.Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read the parameters, statistics and optimizer state of the last checkpoint, and the results."""
    folder = workdir / "checkpoints" / str(STEPS)
    restored = {item: ocp.PyTreeCheckpointer().restore(folder / item) for item in ("weights", "optimizer")}
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(restored)}
    return arrays, json.loads((workdir / "results.json").read_text())


def assert_same(actual: tuple[dict, dict], expected: tuple[dict, dict]) -> None:
    """Assert that what two runs left is the same to the bit."""
    assert actual[0].keys() == expected[0].keys()
    assert any(leaf.size > 1000 for leaf in expected[0].values())
    for name, leaf in expected[0].items():
        np.testing.assert_array_equal(actual[0][name], leaf, err_msg=name)
    assert actual[1] == expected[1]
