"""Convolution by a matrix product on small maps gives the same values as XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avlearn.models.layers import convolution

NHWC = ("NHWC", "HWIO", "NHWC")


def plain(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (2, 5), (7, 1)])
@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "SAME"), ((2, 1), ((1, 1), (1, 2))), ((2, 2), "SAME")])
def test_maps_smaller_than_the_kernel_use_a_matrix_product(sides, strides, padding):
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


def test_dilation_and_groups_are_refused():
    x, kernel = jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 2))
    for setting in ({"rhs_dilation": (2, 2)}, {"lhs_dilation": (2, 1)}, {"feature_group_count": 2}):
        with pytest.raises(ValueError, match="convolve supports neither dilation nor groups; got"):
            convolution.convolve(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC, **setting)
