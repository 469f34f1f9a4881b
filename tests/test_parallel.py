"""Workers over devices."""

import jax
import numpy as np
import pytest

from avlearn import parallel


def test_devices_must_divide_workers():
    with pytest.raises(ValueError, match=r"3 devices cannot share 16 workers evenly. 16 workers run on 1, 2, 4, 8, 16"):
        parallel.make_mesh(16, jax.devices()[:3])


def test_each_device_holds_its_workers():
    mesh = parallel.make_mesh(8, jax.devices()[:4])
    laid = parallel.to_devices(mesh, np.arange(24).reshape(8, 3))
    for place, shard in enumerate(laid.addressable_shards):
        np.testing.assert_array_equal(shard.data, np.arange(24).reshape(8, 3)[2 * place : 2 * place + 2])
    assert parallel.local_workers(mesh, 8) == range(8)
    np.testing.assert_array_equal(parallel.to_host(laid), np.arange(24).reshape(8, 3))


def test_whole_batch_is_laid_out_the_same():
    mesh = parallel.make_mesh(4, jax.devices()[:4])
    x = np.arange(8.0)
    np.testing.assert_array_equal(parallel.whole_to_devices(mesh, x), parallel.to_devices(mesh, x))
