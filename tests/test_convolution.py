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
@pytest.mark.parametrize(("stride", "padding"), [(1, ((1, 1), (1, 1))), (2, ((0, 1), (0, 1))), (1, "SAME")])
def test_gradients_are_those_of_the_plain_convolution(monkeypatch, stride, padding, share):
    """Five images of 6 x 5 positions of 3 channels in parts of two, two and one, or of half the rows of each."""
    shape = plain(jnp.zeros((5, 6, 5, 3)), jnp.zeros((3, 3, 3, 4)), (stride, stride), padding).shape
    monkeypatch.setattr(convolution, "CPU_CHANNELS", 3)
    monkeypatch.setattr(convolution, "CPU_NUMBERS", int(share * math.prod(shape[1:3]) * 3))
    assert convolution.part(shape, 3) == ((2, shape[1]) if share == 2 else (1, -(-shape[1] // 2)))
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


def test_parts_hold_so_many_numbers_and_narrow_maps_stay_whole():
    assert convolution.part((8, 112, 112, 64), 64) == (1, 28)
    assert convolution.part((8, 56, 56, 128), 64) == (1, 56)
    assert convolution.part((8, 56, 56, 128), 128) == (1, 28)
    assert convolution.part((8, 14, 14, 512), 512) == (2, 14)
    assert convolution.part((8, 7, 7, 512), 512) == (8, 7)
    assert convolution.part((32, 112, 112, 64), 3) == (32, 112)


def test_there_are_no_more_parts_than_can_be_compiled():
    assert convolution.part((16, 112, 112, 64), 64) == (1, 56)
    assert convolution.part((128, 112, 112, 64), 64) == (4, 112)


def test_parts_in_half_precision_are_added_in_single(monkeypatch):
    """Sums of ones: beyond 256 bfloat16 has no odd numbers, and beyond 2,048 a part of 8 would be lost."""
    monkeypatch.setattr(convolution, "CPU_CHANNELS", 1)
    monkeypatch.setattr(convolution, "CPU_NUMBERS", 8)
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
