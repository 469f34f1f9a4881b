"""Maxima whose gradient goes to exactly one of the values, however the program is compiled.

JAX's own gradient of a maximum tests which values equal it. XLA may recompute the values for this test with different
rounding; then none of them, or a wrong one, equals the maximum, and a compiled step loses part of the gradient. Here a
comparison selects exactly one value, whatever the rounding.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def larger(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the elementwise maximum, `a` if both are equal; NaN if either is NaN."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def largest(x: Float[Array, "..."], first_axis: int, axes: int = 1) -> Float[Array, "..."]:
    """Return the maximum over consecutive axes, which are removed; NaN if any value is NaN.

    Args:
      x: any array.
      first_axis: the first axis, not negative.
      axes: the number of axes.
    """
    x = x.reshape(*x.shape[:first_axis], -1, *x.shape[first_axis + axes :])
    index = jnp.argmax(x, axis=first_axis, keepdims=True)
    indices = jax.lax.broadcasted_iota(index.dtype, x.shape, first_axis)
    return jnp.where(indices == index, x, 0).sum(axis=first_axis)
