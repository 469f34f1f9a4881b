"""A run of AVE-Net or LVS on the tiny dataset that takes seconds, in one process or as one of several.

    python -m tests.helpers.tiny_run DATA_DIR WORKDIR NETWORK STEPS [signal=NUMBER process=NUMBER step=NUMBER]

The named process sends itself a signal after reading the batch of that step (from 1).
"""

import dataclasses
import json
import os
import pathlib
import sys
import zlib
from collections.abc import Iterator

import jax
import numpy as np
import optax
from absl import flags
from jax.sharding import SingleDeviceSharding

from avlearn import experiment, main, train
from avlearn.build import build_network
from avlearn.data.augment import RawBatch
from avlearn.evaluation import array_files
from avlearn.runs import workdir as workdirs
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preempted
from avlearn.training import step as steps
from avlearn.training.step import TrainState
from configs import avenet, lvs

CONFIGS = {"avenet": avenet, "lvs": lvs}
FRAME_PIXELS = {"avenet": 32, "lvs": 48}
WORKERS = 8


def config_of(name: str, data_dir: str, num_steps: int):
    """Return the miniature config at a size for tests, with the papers' learning rate; it validates halfway."""
    config = CONFIGS[name].get_config("miniature")
    config.model.width = 1 / 16
    config.inputs.frame_pixels = FRAME_PIXELS[name]
    config.data.dataset = "synthetic_av/tiny"
    config.data.data_dir = str(data_dir)
    config.train.num_workers = WORKERS
    config.train.batch_per_worker = 4
    config.train.steps = num_steps
    config.train.schedule = "staircase"
    config.train.learning_rate = 1e-4
    config.train.checkpoint_every_steps = num_steps // 2
    config.train.log_every_steps = 1
    config.train.pictures_every = 0
    config.evaluation.batch = 6  # the last batch has padding, on any number of devices
    return config


def fingerprints(batch: RawBatch) -> dict[int, int]:
    """Return a checksum of the batch of each worker of this process."""
    found = {}
    for field in jax.tree.leaves(batch):
        for shard in field.addressable_shards:
            for worker, rows in zip(range(WORKERS)[shard.index[0]], np.asarray(shard.data), strict=True):
                found[worker] = zlib.crc32(rows.tobytes(), found.get(worker, 0))
    return found


def recorded(
    batches: Iterator[RawBatch], first_step: int, path: pathlib.Path, fault: dict[str, int]
) -> Iterator[RawBatch]:
    """Yield the batches; record the checksums of this process's workers, and send the signal at its step."""
    for step, batch in enumerate(batches, start=first_step + 1):
        with path.open("a") as file:
            file.write(json.dumps([step, fingerprints(batch)]) + "\n")
        if step == fault.get("step") and jax.process_index() == fault["process"]:
            os.kill(os.getpid(), fault["signal"])
        yield batch


def run(
    name: str, data_dir, workdir: pathlib.Path, num_steps: int, *, devices=None, fault=None, preemption=None
) -> TrainState:
    """Train and evaluate; write `batches_<process>.jsonl` in addition to the files of a run."""
    config = config_of(name, data_dir, num_steps)
    workdirs.check_same_run(workdir, config)
    workdirs.make(workdir)
    built = experiment.build(config, workdir, devices=devices, preemption=preemption)
    path = workdir / f"batches_{jax.process_index()}.jsonl"

    def noted(first_step: int) -> Iterator[RawBatch]:
        return recorded(built.training_batches(first_step), first_step, path, fault or {})

    state = train.train(dataclasses.replace(built, training_batches=noted))
    found = built.evaluation.run(built.checkpoints, config.evaluation.checkpoint)
    array_files.save(workdir, found.results, found.arrays)
    return state


def batches_of(workdir: pathlib.Path) -> dict[tuple[int, int], set[int]]:
    """Return the checksums of each step and worker, from all processes of all starts."""
    found: dict[tuple[int, int], set[int]] = {}
    for path in workdir.glob("batches_*.jsonl"):
        for line in path.read_text().splitlines():
            step, workers = json.loads(line)
            for worker, fingerprint in workers.items():
                found.setdefault((step, int(worker)), set()).add(fingerprint)
    return found


def params_of(workdir: pathlib.Path, name: str, data_dir) -> dict:
    """Return the parameters of a run's last checkpoint."""
    config = config_of(name, data_dir, num_steps=2)
    network = build_network(config)
    like = steps.initial_state(network.training, optax.identity())
    everywhere = SingleDeviceSharding(jax.devices()[0])
    return Checkpoints(workdir / "checkpoints", network=name, keep=3).restore_weights(like, everywhere, "latest")[1]


def difference(actual, expected) -> float:
    """Return the norm of the difference of two trees of arrays, relative to the second."""
    pairs = [
        (np.asarray(a, np.float64), np.asarray(b, np.float64))
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    ]
    return np.sqrt(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((b**2).sum() for _, b in pairs))


def as_a_process(data_dir: str, workdir: str, name: str, num_steps: str, *fault: str) -> None:
    """Run the command."""
    flags.FLAGS(["tiny_run"])
    preemption = main.start_up(WORKERS)
    wanted = {key: int(value) for key, value in (option.split("=") for option in fault)}
    try:
        run(name, data_dir, pathlib.Path(workdir), int(num_steps), fault=wanted, preemption=preemption)
    except Preempted as error:
        print(f"process {jax.process_index()} ends: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    as_a_process(*sys.argv[1:])
