"""Workers and arrays are distributed over devices."""

import types

import jax
import numpy as np
import pytest

from avlearn.devices import placement


def test_devices_must_divide_workers():
    with pytest.raises(ValueError, match=r"3 devices cannot share 16 workers evenly. 16 workers run on 1, 2, 4, 8, 16"):
        placement.make_mesh(16, jax.devices()[:3])


def test_each_device_holds_its_workers():
    mesh = placement.make_mesh(8, jax.devices()[:4])
    sharded = placement.to_devices(mesh, np.arange(24).reshape(8, 3))
    for index, shard in enumerate(sharded.addressable_shards):
        np.testing.assert_array_equal(shard.data, np.arange(24).reshape(8, 3)[2 * index : 2 * index + 2])
    assert placement.local_workers(mesh, 8) == range(8)
    np.testing.assert_array_equal(placement.to_host(sharded), np.arange(24).reshape(8, 3))


def test_a_batch_held_by_every_process_is_sharded_alike():
    mesh = placement.make_mesh(4, jax.devices()[:4])
    x = np.arange(8.0)
    np.testing.assert_array_equal(placement.global_to_devices(mesh, x), placement.to_devices(mesh, x))


def test_devices_of_a_process_are_consecutive():
    """On a TPU slice of 4 x 4 chips, ids follow the rows, and each of 4 hosts has a square of 2 x 2."""
    devices = [
        types.SimpleNamespace(id=4 * row + col, process_index=2 * (row // 2) + col // 2)
        for row in range(4)
        for col in range(4)
    ]
    ordered = placement.sort_by_process(devices)
    assert [device.process_index for device in ordered] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert [device.id for device in ordered[:8]] == [0, 1, 4, 5, 2, 3, 6, 7]
