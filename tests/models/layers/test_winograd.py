"""Winograd convolution: values and gradients against float64, and which convolutions use it."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from avlearn.build import build_model, empty_batch, network_of
from avlearn.commands import costs
from avlearn.models.layers import convolution, winograd

NHWC = ("NHWC", "HWIO", "NHWC")
WIDE = (4, 14, 14, 64), (3, 3, 64, 128)  # a map and a kernel just large enough


def normal(*shapes):
    draw = np.random.default_rng(0)
    return [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]


def in_float64(x, kernel, gradient, padding):
    """Compute the convolution and its gradients in NumPy, as a sum over the kernel's cells."""
    x, kernel, gradient = (np.asarray(array, np.float64) for array in (x, kernel, gradient))
    padded = np.pad(x, [(0, 0), *padding, (0, 0)])
    rows, cols = gradient.shape[1:3]
    out, padded_gradient, kernel_gradient = np.zeros_like(gradient), np.zeros_like(padded), np.zeros_like(kernel)
    for row, col in np.ndindex(3, 3):
        shifted = np.s_[:, row : row + rows, col : col + cols]
        out += padded[shifted] @ kernel[row, col]
        padded_gradient[shifted] += gradient @ kernel[row, col].T
        kernel_gradient[row, col] = np.einsum("nhwi,nhwo->io", padded[shifted], gradient)
    (above, _), (left, _) = padding
    return out, padded_gradient[:, above : above + x.shape[1], left : left + x.shape[2]], kernel_gradient


@pytest.mark.parametrize("sides", [(8, 4), (5, 7), (13, 6)])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 0), (0, 0)), ((2, 0), (0, 1))])
def test_values_and_gradients(sides, padding):
    """Maps of complete and incomplete tiles agree to a few roundings of the largest value."""
    rows, cols = (side + sum(cells) - 2 for side, cells in zip(sides, padding, strict=True))
    x, kernel, gradient = normal((2, *sides, 5), (3, 3, 5, 6), (2, rows, cols, 6))
    out, pull = jax.vjp(jax.jit(functools.partial(winograd.convolve, padding=padding)), x, kernel)
    for found, expected in zip((out, *pull(gradient)), in_float64(x, kernel, gradient, padding), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * abs(expected).max())


def test_error_at_full_width():
    """With sums of 1,152 products the largest error is 5e-6 of the largest value, ten times that of XLA.

    With the paper's points 0, +-1, +-2 it would be larger.
    """
    x, kernel, gradient = normal((1, 12, 12, 128), (3, 3, 128, 128), (1, 12, 12, 128))
    padding = ((1, 1), (1, 1))
    out, pull = jax.vjp(jax.jit(functools.partial(winograd.convolve, padding=padding)), x, kernel)
    for found, expected in zip((out, *pull(gradient)), in_float64(x, kernel, gradient, padding), strict=True):
        assert abs(found - expected).max() < 5e-6 * abs(expected).max()


def lowered(x, kernel, platform, differentiated=False, **settings):
    """Return the convolution's program for a platform as text."""
    convolve = functools.partial(
        convolution.convolve, **{"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC} | settings
    )
    program = jax.grad(lambda x, kernel: convolve(x, kernel).sum(), argnums=(0, 1)) if differentiated else convolve
    return jax.jit(program).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()


def shapes(x, kernel, dtype="float32"):
    return jax.ShapeDtypeStruct(x, dtype), jax.ShapeDtypeStruct(kernel, dtype)


@pytest.mark.parametrize("differentiated", [False, True])
def test_used_on_cpus_only(differentiated):
    assert "stablehlo.convolution" not in lowered(*shapes(*WIDE), "cpu", differentiated)
    other = lowered(*shapes(*WIDE), "tpu", differentiated)
    assert "stablehlo.convolution" in other
    assert "stablehlo.dot_general" not in other


@pytest.mark.parametrize(
    ("x", "kernel", "settings"),
    [
        ((4, 14, 14, 63), (3, 3, 63, 256), {}),
        ((4, 14, 14, 256), (3, 3, 256, 63), {}),
        ((4, 14, 14, 64), (3, 3, 64, 127), {}),
        ((64, 11, 14, 64), (3, 3, 64, 128), {}),
        ((3, 14, 14, 64), (3, 3, 64, 128), {}),
        ((4, 14, 14, 64), (1, 1, 64, 128), {}),
        ((4, 14, 14, 64), (5, 5, 64, 128), {}),
        ((16, 14, 14, 64), (3, 3, 64, 128), {"window_strides": (1, 2)}),
        ((4, 14, 14, 64), (3, 3, 64, 128), {"padding": ((3, 1), (1, 1))}),
        ((4, 14, 14, 64), (3, 3, 64, 128), {"precision": jax.lax.Precision.HIGHEST}),
    ],
)
def test_not_used_for_narrow_small_or_other_convolutions(x, kernel, settings):
    assert "stablehlo.convolution" in lowered(*shapes(x, kernel), "cpu", **settings)


def test_not_used_for_bfloat16():
    assert "stablehlo.convolution" in lowered(*shapes(*WIDE, "bfloat16"), "cpu")


def test_not_used_in_miniature_networks(monkeypatch):
    """Their results stay the same to the bit."""
    used = []
    is_faster = winograd.is_faster
    monkeypatch.setattr(winograd, "is_faster", lambda *arguments: used.append(is_faster(*arguments)) or used[-1])
    for name in ("attention10k", "avenet", "avenet_multiframe", "lvs", "multisensory"):
        config = importlib.import_module(f"configs.{name}").get_config("miniature")
        network = network_of(config, nnx.eval_shape(functools.partial(build_model, config)))
        graph, state = nnx.split(network.evaluation)
        batch = empty_batch(network.inputs, (256,))
        jax.eval_shape(lambda state, batch, graph=graph: nnx.merge(graph, state)(batch), state, batch)
    assert used
    assert not any(used)


def test_operations_are_counted_as_of_the_direct_convolution():
    convolve = functools.partial(
        convolution.convolve, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC, precision=None
    )
    program = jax.make_jaxpr(convolve)(*shapes(*WIDE)).jaxpr
    assert costs.multiply_adds(program) == 4 * 14 * 14 * 9 * 64 * 128


def test_saved_outputs_are_not_recomputed():
    """If only the outputs of convolutions are saved, the backward pass uses them."""
    policy = jax.checkpoint_policies.save_only_these_names(convolution.NAME)
    convolve = functools.partial(convolution.convolve, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC)
    x, kernel = shapes(*WIDE)
    objective = jax.checkpoint(lambda x, kernel: jnp.sin(convolve(jnp.sin(x), kernel)).sum(), policy=policy)
    program = jax.jit(jax.grad(objective, argnums=(0, 1))).trace(x, kernel)
    assert program.lower(lowering_platforms=("tpu",)).as_text().count("stablehlo.convolution(") == 3
