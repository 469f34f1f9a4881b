"""Lays the workers over a one-axis device mesh, and arrays over it.

A worker is a unit of the algorithm (16 in the papers), not of the machine. Each device carries the same number of
workers, one after the other, so the same config computes the same function on one device and on a pod.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "workers"


def by_process(devices: Sequence) -> list:
    """Devices in an order that keeps those of a process together (on a TPU pod, ids follow the chips' places)."""
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def make_mesh(num_workers: int, devices: list | None = None) -> Mesh:
    """Lays the workers over the devices (all of them unless given).

    Raises:
      ValueError: the number of devices does not divide the number of workers.
    """
    devices = by_process(jax.devices()) if devices is None else devices
    if num_workers % len(devices):
        fitting = [count for count in range(1, num_workers + 1) if num_workers % count == 0]
        raise ValueError(
            f"{len(devices)} devices cannot share {num_workers} workers evenly. {num_workers} workers run on "
            f"{', '.join(map(str, fitting))} devices; or choose --config.train.num_workers as a multiple of "
            f"{len(devices)} and --config.train.batch_per_worker so that their product stays "
            f"(CUDA_VISIBLE_DEVICES=0,1,... and TPU_VISIBLE_CHIPS=0,1,... limit the devices)."
        )
    return Mesh(np.array(devices), (AXIS,))


def sharded(mesh: Mesh) -> NamedSharding:
    """Sharding over the first axis."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def local_workers(mesh: Mesh, num_workers: int) -> range:
    """The workers whose batches this process has to read."""
    per_device = num_workers // mesh.size
    ours = [place for place, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return range(ours[0] * per_device, (ours[-1] + 1) * per_device)


def to_devices(mesh: Mesh, tree):
    """Lays this process's share of a batch (NumPy arrays) over the mesh, first axis sharded."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharded(mesh), x), tree)


def to_host(tree):
    """The whole of every array as NumPy, on every process."""
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, tree)


def whole_to_devices(mesh: Mesh, tree):
    """Lays a batch that every process holds whole over the mesh, first axis sharded."""

    def lay(x):
        return jax.make_array_from_callback(x.shape, sharded(mesh), lambda index: x[index])

    return jax.tree.map(lay, tree)
