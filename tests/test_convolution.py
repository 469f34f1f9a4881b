"""The convolution that goes ways of its own where XLA's CPU backend is slow: the same values as XLA's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avlearn.models.parts import convolution

NHWC = ("NHWC", "HWIO", "NHWC")


def plain(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


@pytest.mark.parametrize("share", [2, 0.7])
@pytest.mark.parametrize("way", ["xla", "product", "turned_product"])
@pytest.mark.parametrize(("stride", "padding"), [(1, ((1, 1), (1, 1))), (2, ((0, 1), (0, 1))), (1, "SAME")])
def test_gradients_are_those_of_the_plain_convolution(monkeypatch, stride, padding, way, share):
    """Five images of 6 x 5 positions of 3 channels in parts of two, two and one, or of half the rows of each."""
    shape = plain(jnp.zeros((5, 6, 5, 3)), jnp.zeros((3, 3, 3, 4)), (stride, stride), padding).shape
    monkeypatch.setattr(convolution, "CPU_CHANNELS", 3)
    monkeypatch.setattr(convolution, "CPU_NUMBERS", int(share * math.prod(shape[1:3]) * 3))
    monkeypatch.setattr(convolution, "PRODUCT_NUMBERS", int(share * math.prod(shape[1:3]) * 9 * 3))
    monkeypatch.setattr(convolution, "PRODUCT_CHANNELS", 12 if way == "product" else 100)
    monkeypatch.setattr(convolution, "FEW_CHANNELS", 3 if way == "turned_product" else 2)
    parts = (2, shape[1]) if share == 2 else (1, -(-shape[1] // 2))
    assert convolution.plan(shape, (3, 3, 3, 4), (stride, stride)) == (way, *parts)
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(5, 6, 5, 3), (3, 3, 3, 4)]))
    strides = (stride, stride)
    weight = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape) / 50

    def ours(x, kernel):
        return (weight * convolution.convolve(x, kernel, strides, padding, dimension_numbers=NHWC)).sum()

    def theirs(x, kernel):
        return (weight * plain(x, kernel, strides, padding)).sum()

    found = jax.jit(jax.value_and_grad(ours, (0, 1)))(x, kernel)
    expected = jax.value_and_grad(theirs, (0, 1))(x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-4), found, expected)


@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (2, 5), (7, 1)])
@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "SAME"), ((2, 1), ((1, 1), (1, 2))), ((2, 2), "SAME")])
def test_maps_smaller_than_the_kernel(sides, strides, padding):
    """They are a product of matrices."""
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(4, *sides, 5), (3, 3, 5, 6)]))

    def ours(x, kernel):
        return convolution.convolve(x, kernel, strides, padding, dimension_numbers=NHWC)

    assert "conv_general_dilated" not in str(jax.make_jaxpr(ours)(x, kernel))
    found, pull = jax.vjp(ours, x, kernel)
    expected, pull_expected = jax.vjp(lambda x, kernel: plain(x, kernel, strides, padding), x, kernel)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    gradient = jax.random.normal(jax.random.key(2), expected.shape)
    for mine, other in zip(pull(gradient), pull_expected(gradient), strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [(1, 1, 3, 4), (3, 3, 3, 3, 4)])
def test_gradients_of_one_cell_and_in_time(monkeypatch, kernel):
    monkeypatch.setattr(convolution, "PRODUCT_CHANNELS", 12)
    sides = (4,) * (len(kernel) - 2)
    x, weights = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(2, *sides, 3), kernel]))
    strides, layout = (2,) * len(sides), NHWC if len(sides) == 2 else ("NDHWC", "DHWIO", "NDHWC")

    def of_weights(convolve):
        out, pull = jax.vjp(lambda w: convolve(x, w, strides, "SAME", dimension_numbers=layout), weights)
        return pull(jnp.arange(out.size, dtype=jnp.float32).reshape(out.shape))[0]

    np.testing.assert_allclose(
        of_weights(convolution.convolve), of_weights(jax.lax.conv_general_dilated), rtol=2e-5, atol=1e-4
    )


def test_ways_and_parts_of_the_papers_layers():
    def plan(batch, side, channels, in_channels, kernel=3, stride=1):
        kernel_shape = (kernel, kernel, in_channels, channels)
        return convolution.plan((batch, side, side, channels), kernel_shape, (stride, stride))

    assert plan(8, 112, 64, 64) == ("xla", 1, 28)
    assert plan(8, 56, 128, 64) == ("xla", 1, 56)
    assert plan(8, 56, 128, 128) == ("xla", 1, 28)
    assert plan(32, 8, 16, 16) == ("xla", 32, 8)  # narrow maps stay whole
    # 8 x 28 x 28 positions, 9 cells of 256 channels: 14.5 million numbers of at most 16.8.
    assert plan(8, 28, 256, 256) == ("product", 8, 28)
    assert plan(32, 28, 256, 256) == ("product", 8, 28)
    assert plan(8, 28, 128, 64, stride=2) == ("product", 8, 28)
    assert plan(8, 14, 512, 256, kernel=1) == ("product", 8, 14)
    # 8 x 112 x 112 positions, 49 cells of 3 channels: 14.8 million.
    assert plan(8, 112, 64, 3, kernel=7, stride=2) == ("turned_product", 8, 112)


def test_there_are_no_more_parts_than_can_be_compiled():
    assert convolution.plan((16, 112, 112, 64), (3, 3, 64, 64), (1, 1)) == ("xla", 1, 56)
    assert convolution.plan((128, 112, 112, 64), (3, 3, 64, 64), (1, 1)) == ("xla", 4, 112)


def test_parts_in_half_precision_are_added_in_single(monkeypatch):
    """Sums of ones: beyond 256 bfloat16 has no odd numbers, and beyond 2,048 a part of 8 would be lost."""
    monkeypatch.setattr(convolution, "PRODUCT_NUMBERS", 8)
    monkeypatch.setattr(convolution, "MOST_PARTS", 1000)
    x, kernel = jnp.ones((512, 2, 4, 1), jnp.bfloat16), jnp.ones((1, 1, 1, 1), jnp.bfloat16)

    def total(kernel):
        return convolution.convolve(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC).astype(jnp.float32).sum()

    assert float(jax.grad(total)(kernel)[0, 0, 0, 0]) == 512 * 8


def test_dilation_and_groups_are_refused():
    x, kernel = jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 2))
    for setting in ({"rhs_dilation": (2, 2)}, {"lhs_dilation": (2, 1)}, {"feature_group_count": 2}):
        with pytest.raises(ValueError, match="convolve takes neither dilation nor groups; it got"):
            convolution.convolve(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC, **setting)
