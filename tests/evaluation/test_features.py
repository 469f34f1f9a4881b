"""Features of conv4_2, compared with windows cut by hand and with the network's own layers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from avlearn.evaluation import features
from avlearn.models import l3net, lvs
from avlearn.models.layers.conv_tower import image_input, spectrogram_input
from avlearn.training import step as steps
from tests.helpers.tiny_network import INPUTS, model_config, random_batch


def model_of(module):
    model = module.Model(model_config(), INPUTS, rngs=nnx.Rngs(0))
    model.eval()
    return model


def test_cells_equal_adaptive_pooling():
    maps = np.random.default_rng(0).normal(size=(2, 14, 5, 3)).astype(np.float32)
    found = np.asarray(features.max_pool_to(jnp.asarray(maps), (4, 3)))
    # 14 to 4: rows 0-3, 3-6, 7-10, 10-13; 5 to 3: columns 0-1, 1-3, 3-4.
    for row, (top, bottom) in enumerate(((0, 4), (3, 7), (7, 11), (10, 14))):
        for col, (left, right) in enumerate(((0, 2), (1, 4), (3, 5))):
            np.testing.assert_array_equal(found[:, row, col], maps[:, top:bottom, left:right].max(axis=(1, 2)))


def test_even_cells_are_disjoint_windows():
    maps = np.random.default_rng(1).normal(size=(2, 16, 12, 3)).astype(np.float32)
    expected = maps.reshape(2, 4, 4, 3, 4, 3).max(axis=(2, 4))
    np.testing.assert_array_equal(features.max_pool_to(jnp.asarray(maps), (4, 3)), expected)


def test_names_are_those_of_conv4_2_before_and_after_its_relu():
    model = model_of(l3net)
    batch = jax.tree.map(lambda x: x[0], random_batch(1, 3))
    state = steps.initial_state(model, optax.identity())
    collect = jax.jit(functools.partial(features.arrays, model=model, names=(*features.FEATURES, "logit")))
    found = collect(state, batch)
    vision = model.vision.before_last_relu(image_input(batch.frames))
    sound = model.audio.before_last_relu(spectrogram_input(batch.log_spectrogram))
    assert (np.asarray(sound) < 0).any()
    np.testing.assert_allclose(found["image_pool4"], model.image_features(batch.frames), atol=1e-5)
    np.testing.assert_allclose(found["audio_pool4"], model.audio_features(batch.log_spectrogram), atol=1e-5)
    np.testing.assert_allclose(
        found["image_features"], np.maximum(features.max_pool_to(vision, (4, 4)), 0).reshape(3, -1), atol=1e-5
    )
    np.testing.assert_allclose(
        found["audio_features"], np.asarray(features.max_pool_to(sound, (4, 3))).reshape(3, -1), atol=1e-5
    )
    assert found["audio_features"].shape == (3, 4 * 3 * model.audio.channels)
    assert (np.asarray(found["audio_features"]) < 0).any()
    np.testing.assert_allclose(found["image_conv4_2"], np.maximum(vision, 0), atol=1e-5)
    np.testing.assert_allclose(found["audio_conv4_2"], np.maximum(sound, 0), atol=1e-5)
    np.testing.assert_allclose(found["logit"], model(batch).logit, atol=1e-5)
    alone = jax.jit(functools.partial(features.of_audio, model=model, names=("audio_features",)))
    of_audio = alone(state, batch.log_spectrogram)
    np.testing.assert_allclose(of_audio["audio_features"], found["audio_features"], atol=1e-5)


def test_only_the_papers_towers_on_single_frames_have_features():
    model = model_of(l3net)
    assert features.available(model) == set(features.FEATURES)
    model.inputs = dataclasses.replace(INPUTS, frames=25)
    assert features.available(model) == {"audio_pool4", "audio_features", "audio_conv4_2"}
    assert features.available(nnx.eval_shape(lambda: model_of(lvs))) == set()
