"""XLA's convolution, computed otherwise where its CPU backend is slow."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from avlearn.models.layers import winograd

NAME = "convolution"  # of what comes out, for `avlearn.training.step.REMATERIALISATIONS`


def convolve(
    x: Float[Array, "batch *before in_channels"],
    kernel: Float[Array, "*cells in_channels out_channels"],
    window_strides: tuple[int, ...],
    padding: Any,
    **settings: Any,
) -> Float[Array, "batch *after out_channels"]:
    """`jax.lax.conv_general_dilated` of channels-last maps; pass as `nnx.Conv(conv_general_dilated=convolve)`.

    Raises:
      ValueError: dilation, or groups of channels, which no network here has.
    """
    dilations = (*(settings.get("lhs_dilation") or ()), *(settings.get("rhs_dilation") or ()))
    groups = settings.get("feature_group_count", 1)
    if groups != 1 or any(dilation != 1 for dilation in dilations):
        raise ValueError(f"convolve takes neither dilation nor groups; it got {dilations} and {groups}")
    sides = kernel.shape[:-2]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], sides, window_strides, padding)
    if any(length < side for length, side in zip(x.shape[1:-1], sides, strict=True)):
        out = _product(x, kernel, window_strides, padding, settings.get("precision"))
    elif settings.get("precision") is None and winograd.pays(x, kernel, window_strides, padding):
        out = winograd.convolve(x, kernel, tuple(map(tuple, padding)))
    else:
        out = jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **settings)
    return checkpoint_name(out, NAME)


def _product(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]], precision) -> Array:
    """A convolution as one product of matrices: on maps smaller than the kernel XLA's CPU backend is slow."""
    sides = kernel.shape[:-2]
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    left = [length - side + 1 for length, side in zip(x.shape[1:-1], sides, strict=True)]
    seen = []
    for corner in np.ndindex(sides):
        ends = (start + length for start, length in zip(corner, left, strict=True))
        seen.append(jax.lax.slice(x, (0, *corner, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1)))
    return jnp.matmul(jnp.concatenate(seen, axis=-1), kernel.reshape(-1, kernel.shape[-1]), precision=precision)
