"""The multisensory network: layers at full size, forward pass against PyTorch, and its sound stream."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from avlearn.models import multisensory
from avlearn.models.layers import early_fusion
from avlearn.models.layers.layer_table import layer_table
from avlearn.types import InputSpec
from configs import multisensory as config_file
from configs.base import get_config
from tests.helpers.model_checks import (
    assert_all_pairs_match_single_pairs,
    assert_golden,
    assert_matches_reference,
    fast_rngs,
    parameter_sum,
    randomised,
    small_batch,
)

SMALL = InputSpec(frame_pixels=32, pool=8, frames=9, waveform_samples=4000, waveform_hz=8000)


def make_model(inputs: InputSpec = SMALL, **changes) -> multisensory.Model:
    config = get_config().model
    config.update({"width": 1 / 16, **changes})
    return multisensory.Model(config, inputs, rngs=fast_rngs())


def test_layers_are_those_of_the_released_code():
    inputs = InputSpec(**config_file.get_config().inputs)
    table = layer_table(nnx.eval_shape(lambda: make_model(inputs, width=1.0)))
    assert_golden("multisensory", table)

    def block(before, channels, cells):
        # Two convolutions, the second with a bias; normalisations of the first and of the sum.
        shortcut = before * channels + 2 * channels if before != channels else 0
        return cells * (before + channels) * channels + channels + 2 * 2 * channels + shortcut

    sound = 65 * 64 + 2 * 64 + block(64, 128, 15) + block(128, 128, 15) + block(128, 256, 15) + 3 * 256 * 128 + 2 * 128
    vision = 5 * 7 * 7 * 3 * 64 + 2 * 64 + 2 * block(64, 64, 27)
    fusion = (64 + 128) * 512 + 2 * 512 + 512 * 128 + 128 + 2 * 128
    fused = 2 * block(128, 128, 27) + block(128, 256, 27) + block(256, 256, 27)
    fused += block(256, 512, 27) + block(512, 512, 27)
    assert parameter_sum(table) == sound + vision + fusion + fused + 512 + 1


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(training):
    assert_matches_reference("Multisensory", randomised(make_model), small_batch(SMALL), training=training)


def test_all_pairs_equal_a_loop_over_pairs():
    assert_all_pairs_match_single_pairs(randomised(make_model), small_batch(SMALL))


def test_waveform_is_compressed():
    # ln(1 + 255 / 255) / ln 256 = 1 / 8.
    waveform = jnp.array([[0.0, 1 / 255, -1 / 255, 1.0, -1.0]])
    np.testing.assert_allclose(early_fusion.compress(waveform)[0], [0, 0.125, -0.125, 1, -1], rtol=1e-5)


def test_sound_is_pooled_to_the_steps_of_the_video():
    x = jnp.arange(7.0).reshape(1, 7, 1)
    # Segments of 2, 2 and 3: 0 1 | 2 3 | 4 5 6.
    assert early_fusion.pool_to_steps(x, 3).ravel().tolist() == [1, 3, 6]
    with pytest.raises(ValueError, match=r"7 steps at the fusion and the video 8"):
        early_fusion.pool_to_steps(x, 8)


@pytest.mark.parametrize("inputs", [InputSpec(frames=25), InputSpec(waveform_samples=8000)])
def test_frames_and_waveform_are_required(inputs):
    with pytest.raises(ValueError, match=r"takes frames and their waveform.*--config.inputs.frames=105"):
        make_model(inputs)
