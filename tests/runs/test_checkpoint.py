"""Saving and restoring: the latest, the best, on other devices; another network's weights are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from avlearn.devices import placement
from avlearn.models import avenet, l3net
from avlearn.runs.checkpoint import Checkpoints
from avlearn.training import step as steps
from tests.helpers.tiny_network import INPUTS, avenet_model, model_config


def state_at(step: int) -> steps.TrainState:
    state = steps.initial_state(avenet_model(seed=step), optax.adam(1e-3))
    return steps.TrainState(jnp.asarray(step), state.params, state.batch_stats, state.opt_state)


@pytest.fixture
def saved(tmp_path):
    """Save steps 1 to 4 with losses .9, .5, .7, .8; the last two and the best are kept."""
    checkpoints = Checkpoints(tmp_path, network="avenet", keep=2)
    for step, loss in enumerate([0.9, 0.5, 0.7, 0.8], start=1):
        checkpoints.save(state_at(step), metrics={"validation/loss": loss})
    checkpoints.close()
    return tmp_path


def everywhere(devices: int):
    return placement.replicated(placement.make_mesh(8, jax.devices()[:devices]))


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_restored_state_is_bit_identical_on_any_devices(saved):
    for devices in (1, 8):
        state = Checkpoints(saved, network="avenet", keep=2).restore_state(state_at(0), everywhere(devices))
        assert_same(state, state_at(4))
        assert jax.tree.leaves(state.params)[0].sharding.num_devices == devices


def test_best_and_latest(saved):
    checkpoints = Checkpoints(saved, network="avenet", keep=2)
    for which, expected in (("best", 2), ("latest", 4)):
        step, params, batch_stats = checkpoints.restore_weights(state_at(0), everywhere(1), which)
        assert step == expected
        assert_same(params, state_at(expected).params)
        assert_same(batch_stats, state_at(expected).batch_stats)


def test_keeps_the_latest_two_and_the_best(saved):
    assert sorted(int(path.name) for path in saved.iterdir() if path.is_dir()) == [2, 3, 4]


def test_another_network_is_refused(saved):
    other = steps.initial_state(l3net.Model(model_config(), INPUTS, rngs=nnx.Rngs(0)), optax.adam(1e-3))
    with pytest.raises(
        ValueError, match=r"holds the network 'avenet', but the config builds 'l3net'; \d+ of \d+ parameters"
    ):
        Checkpoints(saved, network="l3net", keep=2).restore_weights(other, everywhere(1), "best")


def test_another_width_is_refused(saved):
    config = model_config()
    config.width = 1 / 8
    wider = steps.initial_state(avenet.Model(config, INPUTS, rngs=nnx.Rngs(0)), optax.adam(1e-3))
    with pytest.raises(ValueError, match=r"audio.bn1_1.bias: \[4\] in the checkpoint, \[8\] here"):
        Checkpoints(saved, network="avenet", keep=2).restore_state(wider, everywhere(1))


def test_no_checkpoint_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint in .*\. Train first"):
        Checkpoints(tmp_path, network="avenet", keep=2).restore_weights(state_at(0), everywhere(1), "best")


def test_unknown_choice_is_refused(saved):
    with pytest.raises(ValueError, match=r"'newest'; --config.evaluation.checkpoint takes best, latest"):
        Checkpoints(saved, network="avenet", keep=2).restore_weights(state_at(0), everywhere(1), "newest")
