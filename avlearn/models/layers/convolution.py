"""Convolution by XLA, or by faster computations in cases where XLA's CPU backend is slow."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from avlearn.models.layers import winograd

NAME = "convolution"  # name of the output in `avlearn.training.step.REMATERIALISATIONS`


def convolve(
    x: Float[Array, "batch *before in_channels"],
    kernel: Float[Array, "*cells in_channels out_channels"],
    window_strides: tuple[int, ...],
    padding: Any,
    **settings: Any,
) -> Float[Array, "batch *after out_channels"]:
    """Compute `jax.lax.conv_general_dilated` of channels-last maps; for `nnx.Conv(conv_general_dilated=convolve)`.

    Raises:
      ValueError: dilation or channel groups are given.
    """
    dilations = (*(settings.get("lhs_dilation") or ()), *(settings.get("rhs_dilation") or ()))
    groups = settings.get("feature_group_count", 1)
    if groups != 1 or any(dilation != 1 for dilation in dilations):
        raise ValueError(f"convolve supports neither dilation nor groups; got {dilations} and {groups}")
    sides = kernel.shape[:-2]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], sides, window_strides, padding)
    if any(length < side for length, side in zip(x.shape[1:-1], sides, strict=True)):
        out = _as_matrix_product(x, kernel, window_strides, padding, settings.get("precision"))
    elif settings.get("precision") is None and winograd.is_faster(x, kernel, window_strides, padding):
        out = winograd.convolve(x, kernel, tuple(map(tuple, padding)))
    else:
        out = jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **settings)
    return checkpoint_name(out, NAME)


def _as_matrix_product(
    x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]], precision: Any
) -> Array:
    """Convolve by one matrix product: XLA's CPU backend is slow on maps smaller than the kernel."""
    sides = kernel.shape[:-2]
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    positions = [length - side + 1 for length, side in zip(x.shape[1:-1], sides, strict=True)]
    patches = []
    for corner in np.ndindex(sides):
        ends = (start + length for start, length in zip(corner, positions, strict=True))
        patches.append(jax.lax.slice(x, (0, *corner, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1)))
    return jnp.matmul(jnp.concatenate(patches, axis=-1), kernel.reshape(-1, kernel.shape[-1]), precision=precision)
