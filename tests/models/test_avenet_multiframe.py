"""AVE+MF: layers at full size, and forward pass with 3D convolutions against PyTorch."""

import functools

import pytest
from flax import nnx

from avlearn.models import avenet_multiframe
from avlearn.models.layers.layer_table import layer_table
from avlearn.types import InputSpec
from tests.helpers import model_checks
from tests.helpers.model_checks import (
    TOWER_PARAMETERS,
    assert_all_pairs_match_single_pairs,
    assert_golden,
    assert_matches_reference,
    parameter_sum,
    randomised,
    small_batch,
)

SMALL = InputSpec(frame_pixels=32, pool=8, frames=9)


make_model = functools.partial(model_checks.make_model, avenet_multiframe.Model, inputs=SMALL)


@pytest.fixture
def model() -> avenet_multiframe.Model:
    return randomised(make_model)


def test_layers_are_those_of_the_docstring():
    table = layer_table(nnx.eval_shape(lambda: make_model(inputs=InputSpec(frames=25), width=1.0)))
    assert_golden("avenet_multiframe", table)
    normalisations = 2 * 2 * (64 + 128 + 256 + 512)
    kernels = TOWER_PARAMETERS - normalisations
    fully_connected = (512 * 128 + 128) + (128 * 128 + 128)
    # Each kernel of the vision subnetwork is three of AVE-Net's, stacked in time.
    vision = 3 * (9 * 3 * 64 + kernels) + normalisations + fully_connected
    audio = 9 * 1 * 64 + kernels + normalisations + fully_connected
    assert parameter_sum(table) == vision + audio + (1 * 2 + 2) == 18_904_708


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(model, training):
    # Nine frames become five after conv1_1; pool3 drops the fifth.
    assert_matches_reference("avenet_multiframe", model, small_batch(SMALL), training=training)


def test_all_pairs_equal_a_loop_over_pairs(model):
    assert_all_pairs_match_single_pairs(model, small_batch(SMALL))


def test_a_second_of_frames_is_required():
    with pytest.raises(ValueError, match=r"inputs.frames is 1; use 3 or more, 25 in the paper"):
        make_model(inputs=InputSpec())
