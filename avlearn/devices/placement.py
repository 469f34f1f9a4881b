"""Maps the workers to a one-axis device mesh, and places arrays on it.

A worker is a unit of the algorithm (16 in the papers), not of the machine. Each device runs the same number of workers,
one after the other, so that a config computes the same function on one device and on a pod.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "workers"


def sort_by_process(devices: Sequence) -> list:
    """Sort devices so that those of a process are consecutive (on a TPU pod, ids follow the position of the chips)."""
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def make_mesh(num_workers: int, devices: list | None = None) -> Mesh:
    """Make a mesh of the devices (default: all) for a number of workers.

    Raises:
      ValueError: the number of devices does not divide the number of workers.
    """
    devices = sort_by_process(jax.devices()) if devices is None else devices
    if num_workers % len(devices):
        fitting = [count for count in range(1, num_workers + 1) if num_workers % count == 0]
        raise ValueError(
            f"{len(devices)} devices cannot share {num_workers} workers evenly. {num_workers} workers run on "
            f"{', '.join(map(str, fitting))} devices; or choose --config.train.num_workers as a multiple of "
            f"{len(devices)} and --config.train.batch_per_worker so that their product stays the same "
            f"(CUDA_VISIBLE_DEVICES=0,1,... and TPU_VISIBLE_CHIPS=0,1,... limit the devices)."
        )
    return Mesh(np.array(devices), (AXIS,))


def sharded(mesh: Mesh) -> NamedSharding:
    """Return the sharding of the first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding with the same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def local_workers(mesh: Mesh, num_workers: int) -> range:
    """Return the workers whose batches this process reads."""
    per_device = num_workers // mesh.size
    local = [index for index, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return range(local[0] * per_device, (local[-1] + 1) * per_device)


def to_devices(mesh: Mesh, tree):
    """Place this process's share of a batch (NumPy arrays) on the mesh, sharded over the first axis."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharded(mesh), x), tree)


def to_host(tree):
    """Gather every array in full as NumPy, on every process."""
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, tree)


def global_to_devices(mesh: Mesh, tree):
    """Place a batch that every process holds in full on the mesh, sharded over the first axis."""

    def place(x):
        return jax.make_array_from_callback(x.shape, sharded(mesh), lambda index: x[index])

    return jax.tree.map(place, tree)
