"""LVS: layers as printed, forward pass against PyTorch, maps of all pairs, and shapes of a step of 256 pairs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from avlearn.build import build_model, network_of
from avlearn.devices import placement
from avlearn.models import lvs
from avlearn.models.layers.layer_table import layer_table
from avlearn.training import step as steps
from avlearn.types import InputSpec
from configs import lvs as lvs_config
from tests.helpers import model_checks
from tests.helpers.model_checks import (
    RESNET_PARAMETERS,
    SMALL,
    assert_all_pairs_match_single_pairs,
    assert_golden,
    assert_matches_reference,
    assert_unit_embeddings,
    features,
    parameter_sum,
    randomised,
    run,
    run_in_both_types,
    small_batch,
)

make_model = functools.partial(model_checks.make_model, lvs.Model)


def test_layers_are_those_of_the_paper():
    table = layer_table(nnx.eval_shape(lambda: make_model(InputSpec(front_end="lvs"), width=1.0)))
    assert_golden("lvs", table)
    total = (49 * 3 * 64 + RESNET_PARAMETERS) + (49 * 1 * 64 + RESNET_PARAMETERS)
    assert parameter_sum(table) == total == 22_346_752
    assert f"{total:,}" in table.splitlines()[-1]


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(training):
    # The log-odds are cosines divided by .03, so 3e-4 in log-odds is 1e-5 in cosines.
    assert_matches_reference(
        "Lvs", randomised(make_model), small_batch(SMALL), training=training, scaling="imagenet", atol=3e-4
    )


def test_all_pairs_equal_a_loop_over_pairs():
    assert_all_pairs_match_single_pairs(randomised(make_model), small_batch(SMALL))


def test_contrast_contains_the_cosines_of_each_image_with_each_sound():
    model, batch = randomised(make_model), small_batch(SMALL)
    model.eval()
    image, audio = (np.asarray(x) for x in features(model, batch))
    np.testing.assert_allclose(np.linalg.norm(image, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(audio, axis=-1), 1, atol=1e-5)
    maps = np.asarray(model.contrast(jnp.asarray(image), jnp.asarray(audio)))
    assert maps.shape == (4, 4, 4, 4)
    for i in range(4):
        for j in range(4):
            np.testing.assert_allclose(maps[i, j], image[i] @ audio[j], atol=1e-5)
    assert maps.min() >= 0
    heat_map = run(model, batch).heat_map
    np.testing.assert_allclose(heat_map, (maps[np.arange(4), np.arange(4)] - 0.65) / 0.03, atol=1e-3)


def test_retrieval_vectors_have_length_one():
    model, batch = randomised(make_model), small_batch(SMALL)
    model.eval()
    cells, audio = features(model, batch)
    assert_unit_embeddings(model, batch, cells.max((1, 2)), audio)


def test_bfloat16_is_near_float32():
    expected, outputs = run_in_both_types(make_model, small_batch(SMALL))
    difference = 0.03 * np.abs(np.asarray(outputs.heat_map - expected.heat_map)).max()  # in cosines
    assert 0 < difference < 0.05


def test_training_uses_the_loss_of_the_config():
    config = lvs_config.get_config()
    config.loss.update({"objective": "paper", "regions": "complement"})
    network = network_of(config, nnx.eval_shape(functools.partial(build_model, config)))
    arguments = jax.random.uniform(jax.random.key(0), (3, 3, 2, 2)), jnp.arange(3), jnp.ones(3)
    value = float(network.loss(*arguments)[0])
    assert value == pytest.approx(float(lvs.loss(*arguments, objective="paper", regions="complement")[0]), rel=1e-6)
    assert value != pytest.approx(float(lvs.loss(*arguments)[0]), rel=0.01)


def test_shapes_of_a_step_at_full_size():
    """256 pairs at the paper's size and width, traced only; test_full_size.py computes a step of two."""
    inputs = InputSpec(front_end="lvs")
    model = nnx.eval_shape(lambda: make_model(inputs, width=1.0))
    batch = jax.eval_shape(
        lambda: jax.tree.map(lambda x: jnp.broadcast_to(x, (1, 256, *x.shape[1:])), small_batch(inputs, pairs=1))
    )
    score = functools.partial(steps.score_contrast, loss=lvs.loss)
    sgd, mesh = optax.sgd(1e-3), placement.make_mesh(1, jax.devices()[:1])
    step = steps.TrainStep(model=model, score=score, optimizer=sgd, mesh=mesh)
    state = jax.eval_shape(lambda: steps.initial_state(model, sgd))
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    per_worker = {"worker_loss", "worker_gradient_norm"}
    assert {name for name, value in metrics.items() if value.shape == (1,)} == per_worker
    assert {value.shape for name, value in metrics.items() if name not in per_worker} == {()}
    assert set(metrics) >= {"loss", "gradient_norm", "accuracy", "predicted_positive", "own_sound_first"}
