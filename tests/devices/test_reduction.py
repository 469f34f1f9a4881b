"""Sums have the order of a binary tree, over workers and over devices."""

import jax
import numpy as np
import pytest

from avlearn.devices import placement, reduction


def test_values_are_summed_in_a_binary_tree():
    def add(a, b):
        return f"({a}{b})"

    assert reduction.sum_in_tree("abcdefgh", add) == "(((ab)(cd))((ef)(gh)))"
    assert reduction.sum_in_tree("a", add) == "a"
    assert reduction.sum_in_tree("abcdefg", add) == "(((ab)(cd))((ef)g))"


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_devices_continue_the_tree(devices):
    """The sum of numbers of all magnitudes depends on their order; 7 per worker are not divisible by the devices."""
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=(8, 7)) * 10.0 ** rng.integers(-4, 5, size=(8, 7))).astype(np.float32)
    expected = reduction.sum_in_tree(numbers, np.add)
    assert (expected != numbers.sum(0)).any()
    local = np.stack([reduction.sum_in_tree(some, np.add) for some in numbers.reshape(devices, -1, 7)])
    mesh = placement.make_mesh(8, jax.devices()[:devices])
    everywhere = jax.jit(
        jax.shard_map(
            lambda x: jax.tree.map(
                lambda total: total[None], reduction.sum_over_devices({"a": x[0, :3], "b": x[0, 3:]})
            ),
            mesh=mesh,
            in_specs=jax.P(placement.AXIS),
            out_specs=jax.P(placement.AXIS),
        )
    )(local)
    for device in range(devices):
        np.testing.assert_array_equal(np.concatenate([everywhere["a"][device], everywhere["b"][device]]), expected)


def test_other_numbers_of_devices_use_psum():
    total = jax.jit(
        jax.shard_map(
            reduction.sum_over_devices,
            mesh=placement.make_mesh(3, jax.devices()[:3]),
            in_specs=jax.P(placement.AXIS),
            out_specs=jax.P(),
        )
    )(np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(total, [[6.0, 9.0]])
