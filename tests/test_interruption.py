"""A run that is killed at any moment and started again with the same command ends with the same bits."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 12
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
    "evaluation.after_training": False,
}


def start(data_dir, workdir) -> subprocess.Popen:
    """The command line, in a process of its own; what one has compiled, the next finds."""
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
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def kill_when(process: subprocess.Popen, condition) -> None:
    """SIGKILL as soon as the condition holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"it ended before it could be killed: {process.stderr.read()}"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(process: subprocess.Popen) -> None:
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint


def weights(workdir) -> dict[str, np.ndarray]:
    """Parameters, running statistics and optimizer state of the last checkpoint, as they lie on disk."""
    folder = workdir / "checkpoints" / str(STEPS)
    restored = {item: ocp.PyTreeCheckpointer().restore(folder / item) for item in ("weights", "optimizer")}
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(restored)}


@pytest.fixture(scope="module")
def whole(tiny_world, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    finish(start(tiny_world, workdir))
    return weights(workdir)


def test_killed_in_a_write_and_between_steps_it_ends_with_the_same_bits(whole, tiny_world, tmp_path):
    checkpoints = tmp_path / "checkpoints"

    def written(step):
        return (checkpoints / str(step)).exists() or any(checkpoints.glob(f"{step}.*"))

    def logged(step):
        path = tmp_path / "metrics.jsonl"
        return path.exists() and f'"step": {step},' in path.read_text()

    kill_when(start(tiny_world, tmp_path), lambda: written(4))  # while one is written, or just after
    kill_when(start(tiny_world, tmp_path), lambda: logged(9))
    finish(start(tiny_world, tmp_path))
    again = weights(tmp_path)
    assert again.keys() == whole.keys()
    assert any(leaf.size > 1000 for leaf in whole.values())
    for name, leaf in whole.items():
        np.testing.assert_array_equal(again[name], leaf, err_msg=name)
