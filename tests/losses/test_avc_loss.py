"""The logistic loss: values by hand, gradients by finite differences, and pairs of weight 0."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avlearn.losses import avc

LN3 = float(np.log(3))
logistic = jax.jit(avc.logistic)


def test_by_hand_with_unequal_counts():
    # Probabilities of correspondence: .5, .75, .25, .75; one positive, three negatives.
    logit = jnp.array([0.0, LN3, -LN3, LN3])
    corresponds = jnp.array([False, True, False, False])
    loss, metrics = logistic(logit, corresponds, jnp.ones(4))
    negatives = -(np.log(0.5) + np.log(0.75) + np.log(0.25)) / 3
    np.testing.assert_allclose(loss, (-np.log(0.75) + negatives) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], (1 + 2 / 3) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["predicted_positive"], (1 + 1 / 3) / 2, rtol=1e-6)


def test_balanced_is_the_plain_mean_and_softmax_cross_entropy():
    two_logits = jax.random.normal(jax.random.key(0), (8, 2)) * 4
    corresponds = jnp.arange(8) % 2 == 0
    loss, metrics = logistic(two_logits[:, 1] - two_logits[:, 0], corresponds, jnp.ones(8))
    expected = optax.softmax_cross_entropy_with_integer_labels(two_logits, corresponds.astype(int)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    correct = np.asarray(two_logits).argmax(1) == np.asarray(corresponds)
    np.testing.assert_allclose(metrics["accuracy"], correct.mean(), rtol=1e-6)


@pytest.mark.parametrize("garbage", [7.0, np.nan, np.inf])
def test_pairs_of_weight_zero_are_ignored(garbage):
    logit, corresponds = jnp.array([0.3, -1.0, 2.0]), jnp.array([True, False, False])
    padded = jnp.append(logit, garbage), jnp.append(corresponds, True), jnp.array([1.0, 1, 1, 0])
    expected, got = logistic(logit, corresponds, jnp.ones(3)), logistic(*padded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)
    gradient = jax.grad(lambda x: logistic(x, *padded[1:])[0])(padded[0])
    assert np.isfinite(gradient).all()
    assert gradient[3] == 0


def test_positives_weigh_one_half_among_all_pairs():
    logit = jnp.zeros((4, 4)).at[0, 1].set(LN3)
    corresponds = jnp.eye(4, dtype=bool)
    weight = jnp.ones((4, 4)).at[1, 0].set(0)  # 4 positives, 11 negatives
    loss, metrics = logistic(logit, corresponds, weight)
    np.testing.assert_allclose(loss, (np.log(2) + (10 * np.log(2) + np.log(4)) / 11) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], (0 + 10 / 11) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["predicted_positive"], (0 + 1 / 11) / 2, rtol=1e-6)


def test_one_kind_of_pair_and_no_pairs():
    logit = jnp.array([LN3, LN3])
    for corresponds, expected in ((jnp.array([True, True]), np.log(4 / 3)), (jnp.array([False, False]), np.log(4))):
        np.testing.assert_allclose(logistic(logit, corresponds, jnp.ones(2))[0], expected, rtol=1e-6)
    loss, metrics = logistic(logit, jnp.array([True, False]), jnp.zeros(2))
    assert (float(loss), float(metrics["accuracy"]), float(metrics["predicted_positive"])) == (0, 0, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_logits_neither_overflow_nor_vanish(dtype):
    logit = jnp.array([200.0, 200.0, -200.0, -200.0], dtype)
    corresponds = jnp.array([True, False, True, False])
    loss, _ = logistic(logit, corresponds, jnp.ones(4))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 100.0, rtol=1e-6)  # 0, 200, 200, 0
    gradient = jax.grad(lambda x: logistic(x, corresponds, jnp.ones(4))[0])(logit)
    np.testing.assert_allclose(np.asarray(gradient, np.float32), [0, 0.25, -0.25, 0], atol=1e-6)


def test_finite_differences():
    logit = jnp.array([-1.5, 0.2, 0.9, 2.5, -0.4])
    corresponds = jnp.array([True, False, True, False, False])
    weight = jnp.array([1.0, 1, 1, 1, 0])
    gradient = jax.grad(lambda x: logistic(x, corresponds, weight)[0])(logit)
    for i, step in enumerate(0.01 * jnp.eye(5)):
        up, down = logistic(logit + step, corresponds, weight)[0], logistic(logit - step, corresponds, weight)[0]
        np.testing.assert_allclose(gradient[i], (up - down) / 0.02, atol=1e-4)


def test_a_large_batch_of_pairs_in_bfloat16():
    logit = 30 * jax.random.normal(jax.random.key(1), (256, 256))
    corresponds = jnp.eye(256, dtype=bool)
    logit = logit.astype(jnp.bfloat16)
    loss, _ = logistic(logit, corresponds, jnp.ones((256, 256)))
    signed = np.where(corresponds, -1, 1) * np.asarray(logit, np.float64)
    losses = np.logaddexp(0, signed)
    expected = (losses[np.eye(256, dtype=bool)].mean() + losses[~np.eye(256, dtype=bool)].mean()) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
