"""Maxima: values, and gradients that stay complete in a compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avlearn.models.layers.conv_tower import PooledTower
from avlearn.models.layers.maximum import larger, largest
from avlearn.training import step as steps
from configs.base import get_config
from tests.helpers.model_checks import fast_rngs

NAN = float("nan")


def test_values_agree_with_numpy():
    x = np.random.default_rng(0).integers(-3, 3, (2, 4, 3, 5)).astype(np.float32)  # many ties
    np.testing.assert_array_equal(largest(jnp.asarray(x), 1, axes=2), x.max(axis=(1, 2)))
    np.testing.assert_array_equal(largest(jnp.asarray(x), 3), x.max(axis=3))
    np.testing.assert_array_equal(larger(jnp.asarray(x[0]), jnp.asarray(x[1])), np.maximum(x[0], x[1]))
    assert largest(jnp.asarray(x, jnp.bfloat16), 0).dtype == jnp.bfloat16


@pytest.mark.parametrize("values", [[NAN, 1.0], [1.0, NAN], [NAN, NAN]])
def test_nan_propagates(values):
    assert jnp.isnan(larger(*map(jnp.float32, values)))
    assert jnp.isnan(largest(jnp.array(values), 0))


def test_the_first_of_equal_values_gets_the_gradient():
    x = jnp.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    expected = [[0, 1, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(jax.grad(lambda x: largest(x, 1).sum())(x), expected)
    in_pairs = jax.grad(lambda x: larger(larger(x[:, 0], x[:, 1]), larger(x[:, 2], x[:, 3])).sum())(x)
    np.testing.assert_array_equal(in_pairs, expected)


def test_a_compiled_gradient_agrees_with_the_uncompiled_one():
    """XLA recomputes normalised maps with different rounding, which must not change the maximum.

    With `jnp.max`, the compiled gradient below the last normalisation is off by tens of per cent.
    """
    config = get_config().model
    config.width = 1 / 16
    tower = PooledTower(1, config, rngs=fast_rngs())
    state = steps.initial_state(tower, optax.identity())
    rng = np.random.default_rng(0)
    sound = jnp.asarray(rng.normal(size=(4, 64, 50, 1)), jnp.float32)
    output_gradient = jnp.asarray(rng.normal(size=(4, 32)), jnp.float32)

    def loss(params):
        return (steps.with_values(tower, params, state.batch_stats)(sound) * output_gradient).sum()

    compiled, uncompiled = jax.jit(jax.grad(loss))(state.params), jax.grad(loss)(state.params)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(compiled), jax.tree.leaves(uncompiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max(), err_msg=jax.tree_util.keystr(path))
