"""Attention10k: layers, forward pass against PyTorch, attention, and loss by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import expit

from avlearn.losses import distance_ratio
from avlearn.models import attention10k
from avlearn.models.layers.layer_table import layer_table
from avlearn.types import InputSpec
from tests.helpers import model_checks
from tests.helpers.model_checks import (
    RESNET_PARAMETERS,
    SMALL,
    assert_all_pairs_match_single_pairs,
    assert_golden,
    assert_matches_reference,
    features,
    parameter_sum,
    randomised,
    run,
    small_batch,
)

loss = jax.jit(distance_ratio.loss)


make_model = functools.partial(model_checks.make_model, attention10k.Model)


def test_layers():
    table = layer_table(nnx.eval_shape(lambda: make_model(InputSpec(front_end="lvs"), width=1.0)))
    assert_golden("attention10k", table)
    total = 49 * (3 + 1) * 64 + 2 * RESNET_PARAMETERS + 4 * (512 * 512 + 512)
    assert parameter_sum(table) == total == 23_397_376


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(training):
    assert_matches_reference(
        "Attention10k", randomised(make_model), small_batch(SMALL), training=training, scaling="imagenet"
    )


def test_all_pairs_equal_a_loop_over_pairs():
    assert_all_pairs_match_single_pairs(randomised(make_model), small_batch(SMALL))


def test_contrast_is_the_distance_of_each_sound_from_the_vector_it_attends_to():
    model, batch = randomised(make_model), small_batch(SMALL)
    model.eval()
    image, audio = features(model, batch)
    distance = model.contrast(image, audio)
    assert distance.shape == (4, 4)
    np.testing.assert_allclose(np.sqrt(2) - np.diag(distance), run(model, batch).logit, atol=1e-4)
    attended = model.attended(image[1:2], model.map_of_pairs(image[1:2], audio[2:3]))
    np.testing.assert_allclose(distance[1, 2], np.linalg.norm(np.asarray(attended[0] - audio[2])), atol=1e-3)


def test_an_untrained_sound_attends_to_the_cells_that_resemble_it():
    model = make_model()
    cells, sound = (
        jax.random.uniform(jax.random.key(seed), shape) for seed, shape in ((0, (2, 3, 3, 32)), (1, (2, 32)))
    )
    cosine = np.einsum("nijd,nd->nij", cells, sound) / np.linalg.norm(cells, axis=-1)
    cosine /= np.linalg.norm(sound, axis=-1)[:, None, None]
    np.testing.assert_allclose(model.map_of_pairs(cells, sound), cosine, rtol=1e-4)
    weights = np.exp(cosine) / np.exp(cosine).sum(axis=(1, 2), keepdims=True)
    attended = np.einsum("nijd,nij->nd", cells, weights)
    np.testing.assert_allclose(
        model.attended(cells, jnp.array(cosine)), attended / np.linalg.norm(attended, axis=-1)[:, None], rtol=1e-4
    )


def test_a_low_temperature_attends_to_the_best_cell_alone():
    model = randomised(lambda: make_model(attention_temperature=0.01))
    maps = jnp.zeros((1, 2, 2)).at[0, 1, 0].set(1.0)
    cells = jax.random.uniform(jax.random.key(0), (1, 2, 2, 32))
    only = jnp.broadcast_to(cells[:, 1:, :1], cells.shape)
    np.testing.assert_allclose(model.attended(cells, maps), model.attended(only, maps), atol=1e-4)


def test_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"attention_temperature is 0\.0; use a number above 0"):
        make_model(attention_temperature=0.0)


def plain(distance: np.ndarray) -> float:
    """Compute the loss in float64 for clips of different videos."""
    error = expit(np.diag(distance)[:, None] - distance) ** 2
    return error[~np.eye(len(distance), dtype=bool)].mean()


def test_loss_by_hand():
    distance = jnp.array([[0.5, 1.5, 1.0], [1.2, 0.4, 1.4], [1.0, 1.6, 1.0]])
    value, metrics = loss(distance, jnp.arange(3), jnp.ones(3))
    np.testing.assert_allclose(value, plain(np.asarray(distance)), rtol=1e-5)
    # Below sqrt(2): all three own sounds, and all of the six others except 1.5 and 1.6. Image 2 is as near to sound 0.
    assert float(metrics["predicted_positive"]) == pytest.approx((1 + 4 / 6) / 2)
    assert float(metrics["accuracy"]) == pytest.approx((1 + 2 / 6) / 2)
    assert float(metrics["own_sound_first"]) == pytest.approx(2 / 3)


def test_gradient_agrees_with_finite_differences():
    distance = np.random.default_rng(0).uniform(0, 2, (3, 3))
    gradient = jax.grad(lambda x: loss(x, jnp.arange(3), jnp.ones(3))[0])(jnp.asarray(distance, jnp.float32))
    for index in np.ndindex(distance.shape):
        step = np.zeros_like(distance)
        step[index] = 1e-6
        slope = (plain(distance + step) - plain(distance - step)) / 2e-6
        assert float(gradient[index]) == pytest.approx(slope, rel=1e-4, abs=1e-6), index


def test_256_clips_in_bfloat16_are_computed_in_float32():
    distance = jax.random.uniform(jax.random.key(0), (256, 256), jnp.bfloat16, 0, 2)
    value, metrics = loss(distance, jnp.arange(256), jnp.ones(256))
    np.testing.assert_allclose(value, plain(np.asarray(distance, np.float64)), rtol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves((value, metrics))} == {jnp.dtype("float32")}


def test_one_video_and_padding_are_left_out_of_the_loss():
    distance = jnp.full((4, 4), jnp.nan).at[:3, :3].set(jnp.array([[0.5, 1.5, 1.0], [1.2, 0.4, 1.4], [1.0, 1.6, 1.0]]))
    given = jnp.array([7, 8, 7, 9]), jnp.array([1.0, 1, 1, 0])
    value, _ = loss(distance, *given)
    of_clip = [expit(0.5 - 1.5) ** 2, (expit(0.4 - 1.2) ** 2 + expit(0.4 - 1.4) ** 2) / 2, expit(1.0 - 1.6) ** 2]
    np.testing.assert_allclose(value, np.mean(of_clip), rtol=1e-5)
    gradient = jax.grad(lambda x: loss(x, *given)[0])(distance)
    assert np.isfinite(gradient).all()


def test_gradient_is_finite_if_the_attended_vector_equals_the_sound(monkeypatch):
    model = randomised(make_model)
    image, audio = features(model, small_batch(SMALL))
    monkeypatch.setattr(attention10k.Model, "attended", lambda self, cells, maps: jnp.asarray(audio))
    gradient = jax.grad(lambda sound: model.distance(image, sound).sum())(audio)
    assert np.isfinite(gradient).all()
