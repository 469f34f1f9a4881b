"""Winograd's minimal filtering: 3 x 3 convolutions at stride 1 with a quarter of the products, on CPUs.

F(4 x 4, 3 x 3) of Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks" (section 4):
Y = A^T [(G g G^T) * (B^T d B)] A computes a tile of 4 x 4 outputs from 6 x 6 inputs with 36 products for each pair of
channels instead of 144. Over all tiles these are 36 matrix products. Other devices run XLA's own convolution.

The matrices interpolate at the points 0, +-3/4, +-3/2 and infinity. With the paper's points, 0, +-1, +-2 and infinity,
the largest error would be about four times as large.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TILE = 4  # outputs on a side of a tile
INPUT_TILE = TILE + 2  # inputs on a side of a tile
# Above these limits it was measured to be faster than XLA's convolution (docs/running/performance.md). With few
# channels, transforming the maps costs more than it saves; with few tiles, transforming the kernel does, and small
# matrix products are slow.
MIN_CHANNELS = 64  # in and out
MIN_CHANNEL_PAIRS = 64 * 128  # input channels x output channels
MIN_SIDE = 12
MIN_TILES = 64
NEAR, FAR = 0.75, 1.5  # the other points than 0 and infinity, each with both signs
NEAR_SHARE = 1 / (2 * NEAR**2 * (NEAR**2 - FAR**2))
FAR_SHARE = 1 / (2 * FAR**2 * (FAR**2 - NEAR**2))
LAYOUT = ("NHWC", "HWIO", "NHWC")

Padding = tuple[tuple[int, int], ...]
Transform = Callable[[Sequence[Array]], list[Array]]  # weighted sums: a matrix applied to a list of arrays


def is_faster(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]]) -> bool:
    """Return whether `convolve` supports a convolution and computes it faster on a CPU than XLA does."""
    if kernel.shape[:-2] != (3, 3) or tuple(strides) != (1, 1) or x.dtype != jnp.float32 or kernel.dtype != jnp.float32:
        return False
    if any(not 0 <= cells <= 2 for side in padding for cells in side):
        return False
    sides = _sides_after(x, padding)
    rows, cols = _tiles(sides)
    channels = kernel.shape[-2:]
    many_channels = min(channels) >= MIN_CHANNELS and math.prod(channels) >= MIN_CHANNEL_PAIRS
    return many_channels and min(sides) >= MIN_SIDE and len(x) * rows * cols >= MIN_TILES


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "3 3 in_channels out_channels"],
    padding: Padding,
) -> Float[Array, "batch rows cols out_channels"]:
    """Convolve at stride 1, with 0 to 2 cells of padding on each side."""
    return jax.lax.platform_dependent(
        x, kernel, cpu=functools.partial(forward, padding=padding), default=functools.partial(_direct, padding=padding)
    )


def _forward_rule(x: Array, kernel: Array, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, kernel, padding), (x, kernel)


def _backward_rule(padding: Padding, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    return jax.lax.platform_dependent(
        *inputs,
        gradient,
        cpu=functools.partial(backward, padding=padding),
        default=functools.partial(_direct_backward, padding=padding),
    )


convolve.defvjp(_forward_rule, _backward_rule)


def forward(x: Array, kernel: Array, padding: Padding) -> Array:
    """Convolve tile by tile."""
    return _convolve_tiles(x, _kernel_at_points(kernel), padding, contracted=1)


def backward(x: Array, kernel: Array, gradient: Array, padding: Padding) -> tuple[Array, Array]:
    """Return the gradients of input and kernel from that of the output, tile by tile."""
    # The input's gradient is a convolution with the kernel rotated by 180 degrees, from output to input channels.
    rotated = _kernel_at_points(kernel[::-1, ::-1])
    input_padding = tuple((2 - before, 2 - after) for before, after in padding)
    input_gradient = _convolve_tiles(gradient, rotated, input_padding, contracted=2)
    return input_gradient, _kernel_gradient(x, gradient, padding)


def _convolve_tiles(x: Array, kernel: list[Array], padding: Padding, contracted: int) -> Array:
    """Convolve with a transformed kernel whose axis `contracted` holds the input channels."""
    sides = _sides_after(x, padding)
    rows, cols = _tiles(sides)
    products = [
        jax.lax.dot_general(tiles, weights, (((2,), (contracted,)), ((0,), (0,))))
        for tiles, weights in zip(_input_at_points(x, padding), kernel, strict=True)
    ]
    # The new axes come next to last: each value that is read serves all four outputs at once.
    across = jnp.stack(_to_outputs(products), axis=2).reshape(INPUT_TILE, len(x), rows, cols, TILE, -1)
    out = jnp.stack(_to_outputs(list(across)), axis=2)  # [batch, rows, 4, cols, 4, out_channels]
    return out.reshape(len(x), rows * TILE, cols * TILE, -1)[:, : sides[0], : sides[1]]


def _kernel_gradient(x: Array, gradient: Array, padding: Padding) -> Array:
    """Return the kernel's gradient: `_convolve_tiles` is linear in the kernel, so each of its steps is transposed."""
    rows, cols = _tiles(gradient.shape[1:3])
    to_end = [(0, count * TILE - side) for count, side in zip((rows, cols), gradient.shape[1:3], strict=True)]
    gradient = jnp.pad(gradient, [(0, 0), *to_end, (0, 0)])
    output_tiles = _at_points(gradient, _transposed(_to_outputs, INPUT_TILE), TILE, rows, cols)
    products = [
        jax.lax.dot_general(tiles, gradients, (((1,), (1,)), ((0,), (0,))))
        for tiles, gradients in zip(_input_at_points(x, padding), output_tiles, strict=True)
    ]
    to_kernel = _transposed(_from_kernel, 3)
    across = jnp.stack(to_kernel(products), axis=1)  # [6, 3, in_channels, out_channels]
    return jnp.stack(to_kernel(list(across)))


def _input_at_points(x: Array, padding: Padding) -> list[Array]:
    """Return B^T d B of all tiles: for each of six columns `[6, tiles, in_channels]`."""
    rows, cols = _tiles(_sides_after(x, padding))
    (above, _), (left, _) = padding
    _, height, width, _ = x.shape
    below, right = rows * TILE + 2 - above - height, cols * TILE + 2 - left - width
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (above, below, 0), (left, right, 0), (0, 0, 0)])
    return _at_points(x, _from_input, INPUT_TILE, rows, cols)


def _at_points(x: Array, transform: Transform, side: int, rows: int, cols: int) -> list[Array]:
    """Apply a transform to both axes of all tiles of `side` x `side` cells: a list of `[6, tiles, channels]`.

    Six batched products of six matrices are a little faster than 36 separate ones, and than one batch of 36.
    """
    down = jnp.stack(transform([_every_fourth(x, 1, start, rows) for start in range(side)]))
    across = transform([_every_fourth(down, 3, start, cols) for start in range(side)])
    return [part.reshape(INPUT_TILE, -1, x.shape[-1]) for part in across]


def _every_fourth(x: Array, axis: int, start: int, count: int) -> Array:
    return jax.lax.slice_in_dim(x, start, start + TILE * (count - 1) + 1, TILE, axis)


def _kernel_at_points(kernel: Array) -> list[Array]:
    """Return G g G^T: for each of six columns `[6, in_channels, out_channels]`."""
    down = jnp.stack(_from_kernel(list(kernel)))
    return _from_kernel([down[:, column] for column in range(3)])


def _from_input(x: Sequence[Array]) -> list[Array]:
    """Apply B^T, which makes six arrays from six."""
    near, far = NEAR**2, FAR**2
    even_near, odd_near = x[4] - far * x[2], NEAR * (x[3] - far * x[1])
    even_far, odd_far = x[4] - near * x[2], FAR * (x[3] - near * x[1])
    return [
        x[4] - (near + far) * x[2] + near * far * x[0],
        even_near + odd_near,
        even_near - odd_near,
        even_far + odd_far,
        even_far - odd_far,
        x[5] - (near + far) * x[3] + near * far * x[1],
    ]


def _from_kernel(g: Sequence[Array]) -> list[Array]:
    """Apply G, which makes six arrays from three."""
    even_near, odd_near = NEAR_SHARE * g[0] + NEAR_SHARE * NEAR**2 * g[2], NEAR_SHARE * NEAR * g[1]
    even_far, odd_far = FAR_SHARE * g[0] + FAR_SHARE * FAR**2 * g[2], FAR_SHARE * FAR * g[1]
    return [
        g[0] / (NEAR * FAR) ** 2,
        even_near + odd_near,
        even_near - odd_near,
        even_far + odd_far,
        even_far - odd_far,
        g[2],
    ]


def _to_outputs(products: Sequence[Array]) -> list[Array]:
    """Apply A^T, which makes four arrays from six."""
    at_zero, near_plus, near_minus, far_plus, far_minus, at_infinity = products
    even_near, odd_near = near_plus + near_minus, near_plus - near_minus
    even_far, odd_far = far_plus + far_minus, far_plus - far_minus
    return [
        at_zero + even_near + even_far,
        NEAR * odd_near + FAR * odd_far,
        NEAR**2 * even_near + FAR**2 * even_far,
        NEAR**3 * odd_near + FAR**3 * odd_far + at_infinity,
    ]


def _transposed(transform: Transform, count: int) -> Transform:
    """Return the transpose of a transform of `count` arrays, for its gradient."""
    return lambda arrays: jax.linear_transpose(transform, [arrays[0]] * count)(arrays)[0]


def _direct(x: Array, kernel: Array, padding: Padding) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=LAYOUT)


def _direct_backward(x: Array, kernel: Array, gradient: Array, padding: Padding) -> tuple[Array, Array]:
    return jax.vjp(functools.partial(_direct, padding=padding), x, kernel)[1](gradient)


def _sides_after(x: Array, padding: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(side + before + after - 2 for side, (before, after) in zip(x.shape[1:3], padding, strict=True))


def _tiles(sides: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-side // TILE) for side in sides)
