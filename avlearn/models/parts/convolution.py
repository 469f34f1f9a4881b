"""XLA's convolution, computed in other ways where its CPU backend is slow."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

# The gradient of the weights is a product whose sum runs over all positions of all maps of the batch. With 64 channels
# and more, XLA's CPU backend is the faster for parts of so many positions x channels, 0.8 MB: a core's cache
# (docs/performance.md). Each part is a convolution of the program, so that many of them take long to compile.
CPU_NUMBERS = 28 * 112 * 64
CPU_CHANNELS = 64
MOST_PARTS = 32  # about
NAME = "convolution"  # of what comes out, for `avlearn.step.REMATERIALISATIONS`

Settings = tuple[tuple[str, Any], ...]


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
    else:
        settings = {"window_strides": tuple(window_strides), "padding": tuple(map(tuple, padding)), **settings}
        out = _convolve(x, kernel, tuple(settings.items()))
    return checkpoint_name(out, NAME)


def _product(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]], precision) -> Array:
    """A convolution as one product of matrices: on maps smaller than the kernel XLA's CPU backend is slow."""
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    sides = kernel.shape[:-2]
    left = [length - side + 1 for length, side in zip(x.shape[1:-1], sides, strict=True)]
    seen = []
    for corner in np.ndindex(sides):
        ends = (start + length for start, length in zip(corner, left, strict=True))
        seen.append(jax.lax.slice(x, (0, *corner, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1)))
    return jnp.matmul(jnp.concatenate(seen, axis=-1), kernel.reshape(-1, kernel.shape[-1]), precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, settings: Settings) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, **dict(settings))


def _forward(x: Array, kernel: Array, settings: Settings) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, settings), (x, kernel)


def _backward(settings: Settings, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = inputs

    def of_kernel(x: Array, gradient: Array, settings: Settings = settings) -> Array:
        _, pull = jax.vjp(lambda k: jax.lax.conv_general_dilated(x, k, **dict(settings)), kernel)
        return pull(gradient)[0]

    def in_parts(x: Array, gradient: Array) -> Array:
        images, rows = part(gradient.shape, x.shape[-1])
        stride, (ends, *others) = dict(settings)["window_strides"][0], dict(settings)["padding"]
        bare = tuple({**dict(settings), "padding": ((0, 0), *others)}.items())
        x = jnp.pad(x, [(0, 0), ends] + [(0, 0)] * (x.ndim - 2))
        total = jnp.zeros(kernel.shape, jnp.promote_types(kernel.dtype, jnp.float32))
        for image in range(0, gradient.shape[0], images):
            for row in range(0, gradient.shape[1], rows):
                of_part = gradient[image : image + images, row : row + rows]
                last = stride * (row + of_part.shape[1] - 1) + kernel.shape[0]
                total += of_kernel(x[image : image + images, stride * row : last], of_part, bare)
        return total.astype(kernel.dtype)

    _, pull = jax.vjp(lambda x: jax.lax.conv_general_dilated(x, kernel, **dict(settings)), x)
    of_weights = jax.lax.platform_dependent(x, gradient, cpu=in_parts, default=of_kernel)
    return pull(gradient)[0], of_weights


_convolve.defvjp(_forward, _backward)


def part(shape: tuple[int, ...], in_channels: int) -> tuple[int, int]:
    """Images, and rows of them, whose share of the gradient of the weights the CPU computes at once.

    Args:
      shape: of the maps that come out, `[batch, rows, ..., out_channels]`.
      in_channels: of the maps that go in.
    """
    batch, rows, *sides, out_channels = shape
    if min(in_channels, out_channels) < CPU_CHANNELS:
        return batch, rows
    parts = min(MOST_PARTS, _share(batch * rows * math.prod(sides) * in_channels, CPU_NUMBERS))
    return _share(batch, parts), _share(rows, _share(parts, batch))


def _share(count: int, parts: int) -> int:
    """What is in each of so many parts, the last of which may have less."""
    return -(-count // parts)
