"""AVE+OF: layers as printed, and forward pass against PyTorch."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from avlearn.models import avenet_flow
from avlearn.models.layers.layer_table import layer_table
from avlearn.types import InputSpec
from tests.helpers import model_checks
from tests.helpers.model_checks import (
    CONV1_1_PARAMETERS,
    TOWER_PARAMETERS,
    assert_all_pairs_match_single_pairs,
    assert_golden,
    assert_matches_reference,
    parameter_sum,
    randomised,
    small_batch,
)

SMALL = InputSpec(frame_pixels=32, pool=8, flow_fields=2)


make_model = functools.partial(model_checks.make_model, avenet_flow.Model, inputs=SMALL)


@pytest.fixture
def model() -> avenet_flow.Model:
    return randomised(make_model)


def test_layers_are_those_of_the_paper():
    table = layer_table(nnx.eval_shape(lambda: make_model(inputs=InputSpec(flow_fields=10), width=1.0)))
    assert_golden("avenet_flow", table)
    # Blocks 1 to 3 of both streams: 3 x 3 kernels after conv1_1, and scale and bias of two normalisations a block.
    stream = 9 * (64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256) + 2 * 2 * (64 + 128 + 256)
    joined = 9 * (512 * 512 + 512 * 512) + 2 * 2 * 512  # conv4_1 takes 256 + 256 channels
    fully_connected = (512 * 128 + 128) + (128 * 128 + 128)
    vision = CONV1_1_PARAMETERS["vision"] + 9 * 20 * 64 + 2 * stream + joined + fully_connected
    audio = CONV1_1_PARAMETERS["audio"] + TOWER_PARAMETERS + fully_connected
    assert parameter_sum(table) == vision + audio + (1 * 2 + 2) == 11_873_540


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(model, training):
    assert_matches_reference("avenet_flow", model, small_batch(SMALL), training=training, flow_fields=SMALL.flow_fields)


def test_both_streams_compute_the_same_function(model):
    """With equal weights and inputs, the streams of image and flow give the same map."""
    image, flow = model.vision.image, model.vision.flow
    for stream in (image, flow):
        stream.eval()
    weights = nnx.to_pure_dict(nnx.state(image))
    weights["conv1_1"]["kernel"] = jnp.pad(weights["conv1_1"]["kernel"], ((0, 0), (0, 0), (0, 1), (0, 0)))
    nnx.update(flow, weights)
    inputs = np.random.default_rng(0).normal(size=(2, 32, 32, 4)).astype(np.float32)
    np.testing.assert_allclose(flow(jnp.asarray(inputs)), image(jnp.asarray(inputs[..., :3])), atol=1e-5)


def test_all_pairs_equal_a_loop_over_pairs(model):
    assert_all_pairs_match_single_pairs(model, small_batch(SMALL))


def test_flow_is_required():
    with pytest.raises(ValueError, match=r"inputs.flow_fields is 0; .*--config.inputs.flow_fields=10"):
        make_model(inputs=InputSpec())
