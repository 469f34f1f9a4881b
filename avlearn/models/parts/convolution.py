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

# The gradient of the weights is a product whose sum runs over all positions of all maps of the batch. XLA's CPU backend
# is slow at it. What is faster depends on the channels (docs/performance.md), and is done part by part; each part is in
# the program, so that many of them take long to compile.
PRODUCT_CHANNELS = 128 * 256  # before x after x strides, from which on the gradient times patches of the maps is faster
FEW_CHANNELS = 4  # before, up to which patches times the gradient is
PRODUCT_NUMBERS = 2**24  # in the patches of a part: 64 MiB
CPU_CHANNELS = 64  # before and after, from which on XLA's own way is, in parts of
CPU_NUMBERS = 28 * 112 * 64  # positions x channels: 0.8 MB, a core's cache
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
    patches = jnp.concatenate(_patches(x, kernel.shape[:-2], strides, padding), axis=-1)
    return jnp.matmul(patches, kernel.reshape(-1, kernel.shape[-1]), precision=precision)


def _patches(
    x: Array, sides: Sequence[int], strides: Sequence[int], padding: Sequence[tuple[int, int]], first_axis: int = 1
) -> list[Array]:
    """For each cell of a kernel the part of the padded maps that it meets; their axes begin with `first_axis`."""
    axes = range(first_axis, first_axis + len(sides))
    padded = jnp.pad(x, [padding[axis - first_axis] if axis in axes else (0, 0) for axis in range(x.ndim)])
    met = []
    for corner in np.ndindex(*sides):
        start, limit, step = [0] * x.ndim, list(padded.shape), [1] * x.ndim
        for axis, cell, side, stride in zip(axes, corner, sides, strides, strict=True):
            start[axis], limit[axis], step[axis] = cell, cell + padded.shape[axis] - side + 1, stride
        met.append(jax.lax.slice(padded, start, limit, step))
    return met


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, settings: Settings) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, **dict(settings))


def _forward(x: Array, kernel: Array, settings: Settings) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, settings), (x, kernel)


def _backward(settings: Settings, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    given = dict(settings)
    strides, padding, precision = given["window_strides"], given["padding"], given.get("precision")
    sides, in_channels, out_channels = kernel.shape[:-2], *kernel.shape[-2:]
    multiply = functools.partial(jnp.matmul, precision=precision, preferred_element_type=jnp.float32)

    def by_xla(x: Array, gradient: Array, padding=padding) -> Array:
        _, pull = jax.vjp(lambda k: jax.lax.conv_general_dilated(x, k, **{**given, "padding": padding}), kernel)
        return pull(gradient)[0]

    # XLA's CPU backend multiplies fast where neither matrix is transposed. One is turned beforehand, and the barrier
    # keeps that from becoming a part of the product again.
    def by_product(x: Array, gradient: Array, padding) -> Array:
        turned = jax.lax.optimization_barrier(gradient.reshape(-1, out_channels).T)
        patches = jnp.concatenate(_patches(x, sides, strides, padding), axis=-1)
        return multiply(turned, patches.reshape(-1, patches.shape[-1])).T.reshape(kernel.shape)

    def by_turned_product(x: Array, gradient: Array, padding) -> Array:
        turned = jax.lax.optimization_barrier(jnp.moveaxis(x, -1, 0))
        patches = jnp.stack(_patches(turned, sides, strides, padding, first_axis=2))
        flat = patches.reshape(len(patches) * in_channels, -1)
        return multiply(flat, gradient.reshape(-1, out_channels)).reshape(kernel.shape)

    def in_parts(x: Array, gradient: Array) -> Array:
        way, images, rows = plan(gradient.shape, kernel.shape, strides)
        of_part = {"xla": by_xla, "product": by_product, "turned_product": by_turned_product}[way]
        ends, *others = padding
        x = jnp.pad(x, [(0, 0), ends] + [(0, 0)] * (x.ndim - 2))
        total = jnp.zeros(kernel.shape, jnp.promote_types(kernel.dtype, jnp.float32))
        for image in range(0, gradient.shape[0], images):
            for row in range(0, gradient.shape[1], rows):
                part = gradient[image : image + images, row : row + rows]
                last = strides[0] * (row + part.shape[1] - 1) + sides[0]
                total += of_part(x[image : image + images, strides[0] * row : last], part, ((0, 0), *others))
        return total.astype(kernel.dtype)

    _, pull = jax.vjp(lambda x: jax.lax.conv_general_dilated(x, kernel, **given), x)
    of_weights = jax.lax.platform_dependent(x, gradient, cpu=in_parts, default=by_xla)
    return pull(gradient)[0], of_weights


_convolve.defvjp(_forward, _backward)


def plan(shape: tuple[int, ...], kernel_shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[str, int, int]:
    """How the CPU computes the gradient of the weights: in which way, and of how many images and rows at once.

    Args:
      shape: of the maps that come out, `[batch, rows, ..., out_channels]`.
      kernel_shape: `[..., in_channels, out_channels]`.
      strides: of the convolution.

    Returns:
      `xla`, `product` (gradient times patches) or `turned_product` (patches times gradient); images; rows.
    """
    batch, rows, *across, out_channels = shape
    positions, cells, in_channels = batch * rows * math.prod(across), math.prod(kernel_shape[:-2]), kernel_shape[-2]
    if cells == 1 or in_channels * out_channels * math.prod(strides) >= PRODUCT_CHANNELS:
        way, parts = "product", _share(positions * cells * in_channels, PRODUCT_NUMBERS)
    elif in_channels <= FEW_CHANNELS and out_channels >= CPU_CHANNELS:
        way, parts = "turned_product", _share(positions * cells * in_channels, PRODUCT_NUMBERS)
    elif min(in_channels, out_channels) >= CPU_CHANNELS:
        way, parts = "xla", _share(positions * in_channels, CPU_NUMBERS)
    else:
        way, parts = "xla", 1
    parts = min(MOST_PARTS, parts)
    return way, _share(batch, parts), _share(rows, _share(parts, batch))


def _share(count: int, parts: int) -> int:
    """What is in each of so many parts, the last of which may have less."""
    return -(-count // parts)
