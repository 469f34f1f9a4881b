"""Sums over workers and devices in an order that does not depend on the machine."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from avlearn.devices.placement import AXIS


def sum_in_tree(parts: Iterable[PyTree], add: Callable[[PyTree, PyTree], PyTree]) -> PyTree:
    """Sum values in a binary tree: pairs, then pairs of pairs, and so on; keep at most one sum per level."""
    held = []  # (number of values, their sum), in descending order of the number
    for part in parts:
        count = 1
        while held and held[-1][0] == count:
            part, count = add(held.pop()[1], part), 2 * count
        held.append((count, part))
    total = held.pop()[1]
    while held:
        total = add(held.pop()[1], total)
    return total


def sum_over_devices(tree: PyTree) -> PyTree:
    """Sum a tree of float32 arrays over the devices of the mesh, inside `jax.shard_map`.

    The order of a `psum` depends on the machine. Here, if the number of devices is a power of two, neighbours add
    first, then pairs of neighbours, and so on, in the same tree as `sum_in_tree`; other numbers fall back to `psum`.
    At each level, two partners exchange halves and each adds one half; then the sums travel back the same way. This
    moves as many bytes as a ring, most of them between neighbours.
    """
    devices = jax.lax.axis_size(AXIS)
    if devices & (devices - 1):
        return jax.lax.psum(tree, AXIS)
    index, distances = jax.lax.axis_index(AXIS), [2**level for level in range(devices.bit_length() - 1)]
    flat, restored = ravel_pytree(tree)

    def from_partner(x: Array, distance: int) -> Array:
        return jax.lax.ppermute(x, AXIS, [(here, here ^ distance) for here in range(devices)])

    part = jnp.pad(flat, (0, -flat.size % devices))
    for distance in distances:
        low, high = jnp.split(part, 2)
        is_second = (index & distance) > 0
        part = jnp.where(is_second, high, low) + from_partner(jnp.where(is_second, low, high), distance)
    for distance in reversed(distances):
        other = from_partner(part, distance)
        part = jnp.where(index & distance > 0, jnp.concatenate([other, part]), jnp.concatenate([part, other]))
    return restored(part[: flat.size])
