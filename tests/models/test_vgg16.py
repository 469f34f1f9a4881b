"""VGG16: layers, inputs, and evaluation without sound."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from avlearn.build import build_network, build_train_step
from avlearn.commands import dry_run
from avlearn.devices import placement
from avlearn.evaluation import collect, registry, scoring
from avlearn.models import vgg16
from avlearn.models.layers.layer_table import layer_table
from avlearn.types import InputSpec
from configs.vgg16 import get_config
from tests.helpers import model_checks
from tests.helpers.model_checks import assert_golden, parameter_sum, randomised, run, small_batch

TINY = InputSpec(frame_pixels=64)


def make_model(inputs: InputSpec = TINY, **changes) -> vgg16.Model:
    return model_checks.make_model(vgg16.Model, inputs, **changes)


def test_layers_are_those_of_configuration_d():
    table = layer_table(nnx.eval_shape(lambda: make_model(InputSpec(), width=1.0)))
    assert_golden("vgg16", table)
    kernels = 3 * 64 + 64**2 + 64 * 128 + 128**2 + 128 * 256 + 2 * 256**2 + 256 * 512 + 5 * 512**2
    biases = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
    fc6, fc7, fc8 = 7 * 7 * 512 * 4096 + 4096, 4096**2 + 4096, 4096 * 1000 + 1000
    total = 9 * kernels + biases + fc6 + fc7
    assert parameter_sum(table) == total == 134_260_544
    assert total + fc8 == 138_357_544  # VGG16 as published (table 2: 138 million)


def test_features_are_the_last_hidden_layer():
    model = randomised(make_model)
    model.mean_colour.set_value(jnp.array([120.0, 110.0, 100.0]))
    batch = small_batch(TINY)
    outputs = run(model, batch)
    assert outputs.logit is None
    assert outputs.audio_embedding is None
    assert collect.output_names(outputs) == {"image_embedding"}
    features = np.asarray(model.image_features(batch.frames))
    assert features.shape == (4, 256)
    assert features.min() == 0  # after the ReLU
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(outputs.image_embedding, expected, atol=1e-6)


def test_frames_of_the_mean_colour_give_zero_inputs():
    """Zero padding stands for the mean colour: such a frame is 0 everywhere, so conv1_1's kernel has no effect."""
    model = randomised(make_model)
    model.mean_colour.set_value(jnp.array([120.0, 110.0, 100.0]))
    frames = jnp.broadcast_to(jnp.array([120, 110, 100], jnp.uint8), (1, 64, 64, 3))
    model.conv1_1.bias.set_value(jnp.zeros(4))
    other = make_model()
    nnx.update(other, nnx.state(model))
    other.conv1_1.kernel.set_value(jnp.zeros((3, 3, 3, 4)))
    np.testing.assert_array_equal(model.image_features(frames), other.image_features(frames))


@pytest.mark.parametrize(("built_for", "given", "expected"), [(16, 16, "too small"), (64, 96, "but was given 96 x 96")])
def test_other_sizes_are_refused(built_for, given, expected):
    with pytest.raises(ValueError, match=expected):
        make_model(InputSpec(frame_pixels=built_for)).image_features(jnp.zeros((1, given, given, 3), jnp.uint8))


def miniature():
    config = get_config("miniature")
    config.model.width = 1 / 16
    config.train.num_workers = 8
    return config


def test_training_is_refused():
    network = build_network(miniature())
    assert network.loss is None
    assert network.pairings == ()
    with pytest.raises(ValueError, match=r"vgg16 is not trained here; import its weights .*--mode=evaluate"):
        build_train_step(miniature(), network, optax.identity(), placement.make_mesh(8))
    assert "none, vgg16 is not trained here" in dry_run.describe(miniature())


def test_evaluators_that_need_sound_are_refused():
    config = miniature()
    config.evaluation.evaluators = ("ndcg", "avc_accuracy", "cca")
    available = collect.output_names(build_network(config).outputs(2)) | registry.ANNOTATIONS
    needs = registry.needs(config)
    scoring.check_needs(needs[:1], available, "vgg16")
    with pytest.raises(ValueError, match="avc_accuracy needs logit, which vgg16 does not provide"):
        scoring.check_needs(needs[1:2], available, "vgg16")
    with pytest.raises(ValueError, match="cca needs audio_embedding"):
        scoring.check_needs(needs[2:], available, "vgg16")
