"""L3-Net: layers as printed in both papers, forward pass against PyTorch, and fusion layer."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from avlearn.models import l3net
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

make_model = functools.partial(model_checks.make_model, l3net.Model)


@pytest.mark.parametrize(
    ("stride", "columns"),
    [(1, 199), (2, 200)],  # Look, Listen and Learn; Objects that Sound
)
def test_layers_are_those_of_the_papers(stride, columns):
    inputs = InputSpec(columns=columns)
    table = layer_table(nnx.eval_shape(lambda: make_model(inputs, width=1.0, conv1_stride=stride)))
    assert_golden(f"l3net_stride{stride}", table)
    total = CONV1_1_PARAMETERS["vision"] + CONV1_1_PARAMETERS["audio"] + 2 * TOWER_PARAMETERS
    total += (1024 * 128 + 128) + (128 * 2 + 2)
    assert parameter_sum(table) == total == 9_504_898
    assert f"{total:,}" in table.splitlines()[-1]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(stride, training):
    model = randomised(lambda: make_model(conv1_stride=stride))
    assert_matches_reference("L3Net", model, small_batch(SMALL), training=training, stride=stride)


def test_all_pairs_equal_a_loop_over_pairs():
    assert_all_pairs_match_single_pairs(randomised(make_model), small_batch(SMALL))


def test_initial_loss_is_that_of_a_guess():
    model = make_model()
    batch = small_batch(SMALL)
    loss, _ = l3net.loss(run(model, batch).logit, batch.corresponds, batch.weight)
    np.testing.assert_allclose(loss, np.log(2), atol=0.1)


def test_retrieval_vectors_are_normalised_pool4():
    model, batch = randomised(make_model), small_batch(SMALL)
    model.eval()
    image, audio = features(model, batch)
    assert image.shape == audio.shape == (4, 32)
    assert_unit_embeddings(model, batch, image, audio)


def test_bfloat16_is_near_float32():
    expected, outputs = run_in_both_types(make_model, small_batch(SMALL))
    assert 0 < np.abs(np.asarray(outputs.logit - expected.logit)).max() < 0.2
    np.testing.assert_allclose(outputs.image_embedding, expected.image_embedding, atol=0.02)


def test_state_is_parameters_and_batch_statistics_only():
    _, params, stats = nnx.split(nnx.eval_shape(make_model), nnx.Param, nnx.BatchStat)
    assert sum(leaf.size for leaf in jax.tree.leaves(stats)) == 2 * 2 * 2 * (4 + 8 + 16 + 32)
    assert {"vision", "audio", "fc1", "fc2"} == set(params)
