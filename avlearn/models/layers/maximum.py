"""Maxima whose gradient goes to exactly one of the values, however a program is compiled.

JAX's own gradient of a maximum asks which values equal it. XLA may compute the values once more for that question, with
another rounding, and then none equals the maximum, or another one does: in a compiled step parts of the gradient were
lost. Here a comparison decides, and whichever way it falls, one value is chosen.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def larger(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The larger of each two values, the first where they are equal; NaN where one of them is."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def largest(x: Float[Array, "..."], first_axis: int, axes: int = 1) -> Float[Array, "..."]:
    """The largest value over so many neighbouring axes, which go; NaN where there is one.

    Args:
      x: any array.
      first_axis: the first of the axes, counted from the front.
      axes: how many.
    """
    x = x.reshape(*x.shape[:first_axis], -1, *x.shape[first_axis + axes :])
    place = jnp.argmax(x, axis=first_axis, keepdims=True)
    places = jax.lax.broadcasted_iota(place.dtype, x.shape, first_axis)
    return jnp.where(places == place, x, 0).sum(axis=first_axis)
