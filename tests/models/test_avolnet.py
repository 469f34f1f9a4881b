"""AVOL-Net: layers as printed, forward pass against PyTorch, and heat map."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import expit, logit

from avlearn.models import avolnet
from avlearn.models.layers.layer_table import layer_table
from avlearn.types import InputSpec
from tests.helpers import model_checks
from tests.helpers.model_checks import (
    CONV1_1_PARAMETERS,
    SMALL,
    TOWER_PARAMETERS,
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

make_model = functools.partial(model_checks.make_model, avolnet.Model)


def test_layers_are_those_of_the_paper():
    table = layer_table(nnx.eval_shape(lambda: make_model(InputSpec(), width=1.0)))
    assert_golden("avolnet", table)
    stream = TOWER_PARAMETERS + (512 * 128 + 128) + (128 * 128 + 128)  # conv5 and conv6 are as large as fc1 and fc2
    total = CONV1_1_PARAMETERS["vision"] + CONV1_1_PARAMETERS["audio"] + 2 * stream + (1 + 1)
    assert parameter_sum(table) == total == 9_537_794
    assert f"{total:,}" in table.splitlines()[-1]


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(training):
    assert_matches_reference("AvolNet", randomised(make_model), small_batch(SMALL), training=training)


def test_all_pairs_equal_a_loop_over_pairs():
    assert_all_pairs_match_single_pairs(randomised(make_model), small_batch(SMALL))


def test_map_is_factor_times_scalar_product_plus_bias_in_each_cell():
    model = make_model(conv7_scale=2.0, conv7_bias=-3.0)
    cells = jnp.zeros((1, 3, 4, 128)).at[0, 2, 1].set(1.0).at[0, 0, 3].set(-1.0)
    sound = jnp.full((1, 128), 1 / 64)
    # The scalar products are 128 / 64 = 2 at cell (2, 1), -2 at (0, 3) and 0 elsewhere.
    expected = np.full((1, 3, 4), -3.0)
    expected[0, 2, 1], expected[0, 0, 3] = 1.0, -7.0
    np.testing.assert_allclose(model.map_of_pairs(cells, sound), expected, rtol=1e-6)
    np.testing.assert_allclose(model.compare(cells, sound), [1.0], rtol=1e-6)


def test_map_has_a_cell_for_each_16_pixels():
    inputs = InputSpec(frame_pixels=112, pool=4)
    outputs = nnx.eval_shape(lambda batch: make_model(inputs)(batch), small_batch(inputs))
    assert outputs.heat_map.shape == (4, 7, 7)


def test_logit_is_that_of_the_papers_maximum_after_the_sigmoid():
    outputs = run(randomised(make_model), small_batch(SMALL))
    probability = expit(np.asarray(outputs.heat_map, np.float64)).max((1, 2))
    np.testing.assert_allclose(outputs.logit, logit(probability), rtol=1e-4)


def test_log_odds_start_near_zero():
    """With He initialisation, vectors that are not normalised would start the map in the tens."""
    batch = small_batch(SMALL)
    heat_map = run(make_model(conv7_scale=1.0, conv7_bias=0.0), batch).heat_map
    assert 0.1 < np.abs(heat_map).max() < 6


def test_retrieval_vectors_have_length_one():
    model, batch = randomised(make_model), small_batch(SMALL)
    model.eval()
    cells, audio = features(model, batch)
    assert_unit_embeddings(model, batch, cells.max((1, 2)), audio)


def test_bfloat16_is_near_float32():
    expected, outputs = run_in_both_types(make_model, small_batch(SMALL))
    assert 0 < np.abs(np.asarray(outputs.heat_map - expected.heat_map)).max() < 0.2
    np.testing.assert_allclose(outputs.logit, expected.logit, atol=0.2)


def test_state_is_parameters_and_batch_statistics_only():
    model = nnx.eval_shape(make_model)
    _, params, _ = nnx.split(model, nnx.Param, nnx.BatchStat)
    assert {"vision", "audio", "conv7"} == set(params)
    assert not hasattr(model.vision, "pool4")
    assert hasattr(model.audio, "pool4")
