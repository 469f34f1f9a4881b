"""The 3D convolution against SciPy's, and its gradients against XLA's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from avlearn.models.layers.convolve_video import convolve_video

SHAPES = {"x": (2, 7, 6, 9, 3), "kernel": (5, 3, 3, 3, 4)}


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in SHAPES.values()]


def test_output_is_the_sum_over_channels_of_scipys_correlations(inputs):
    x, kernel = inputs
    out = convolve_video(x, kernel, (1, 1, 1), "VALID")
    assert out.shape == (2, 3, 4, 7, 4)
    for video in range(2):
        for channel in range(4):
            each = [signal.correlate(x[video, ..., c], kernel[..., c, channel], mode="valid") for c in range(3)]
            np.testing.assert_allclose(out[video, ..., channel], sum(each), atol=1e-4)


@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 2, 2), (1, 2, 2)])
@pytest.mark.parametrize("padding", ["SAME", ((1, 1), (0, 1), (0, 1))])
def test_output_and_gradients_agree_with_xla(inputs, strides, padding):
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    one = functools.partial(convolve_video, strides=strides, padding=padding)
    other = functools.partial(
        jax.lax.conv_general_dilated, window_strides=strides, padding=padding, dimension_numbers=numbers
    )
    np.testing.assert_allclose(one(*inputs), other(*inputs), atol=1e-4)
    gradients, expected = (jax.grad(lambda x, k, f=f: jnp.sin(f(x, k)).sum(), (0, 1))(*inputs) for f in (one, other))
    for found, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)
