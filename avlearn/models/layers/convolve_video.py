"""A 3D convolution computed as a 2D one, for `nnx.Conv(..., conv_general_dilated=convolve_video)`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from avlearn.models.layers.convolution import convolve


def convolve_video(
    x: Float[Array, "batch frames height width channels"],
    kernel: Float[Array, "taps rows cols channels out_channels"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    precision: Any = None,
    **_: Any,
) -> Float[Array, "batch steps out_rows out_cols out_channels"]:
    """Convolve over frames, rows and columns as `jax.lax.conv_general_dilated` does, without dilation or groups.

    The frames under each step of the kernel are stacked in channels, and all steps of all videos form one batch of
    images. On a CPU, where XLA is slow at 3D convolutions, this takes a fifth to a ninth of the time, forward and for
    the input's gradient.
    """
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:4], kernel.shape[:3], strides, padding)
    taps, stride = kernel.shape[0], strides[0]
    x = jnp.pad(x, [(0, 0), padding[0], (0, 0), (0, 0), (0, 0)])
    steps = (x.shape[1] - taps) // stride + 1
    shifted = [jax.lax.slice_in_dim(x, tap, tap + stride * (steps - 1) + 1, stride, axis=1) for tap in range(taps)]
    images = jnp.concatenate(shifted, axis=-1).reshape(-1, *x.shape[2:4], taps * x.shape[4])
    out = convolve(
        images,
        jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], taps * kernel.shape[3], kernel.shape[4]),
        tuple(strides[1:]),
        padding[1:],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
    return out.reshape(x.shape[0], steps, *out.shape[1:])
