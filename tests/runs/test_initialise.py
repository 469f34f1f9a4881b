"""A network on the frozen trunks of another: what is replaced, what stays, and what is refused."""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from avlearn.build import build_network, freeze
from avlearn.devices import placement
from avlearn.losses import avc
from avlearn.models import l3net, supervised
from avlearn.runs import initialise
from avlearn.runs.checkpoint import Checkpoints
from avlearn.training import optimizer
from avlearn.training import step as steps
from configs import supervised_pretraining
from tests.helpers.tiny_network import INPUTS, model_config, random_batch

TRUNKS = ("vision", "audio")
WORKERS = 7  # seven times a number, divided by seven, may be another number


def state_of(network, seed, inputs=INPUTS):
    model = network.Model(model_config(), inputs, rngs=nnx.Rngs(seed))
    state = steps.initial_state(model, optax.identity())
    # Running statistics as after training, which differ from the initial ones.
    return dataclasses.replace(state, batch_stats=jax.tree.map(lambda x: x + 0.1 * seed, state.batch_stats))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the checkpoints of a supervised network, and its state."""
    directory = tmp_path_factory.mktemp("supervised")
    state = state_of(supervised, seed=3, inputs=dataclasses.replace(INPUTS, classes=5))
    checkpoints = Checkpoints(directory, network="supervised", keep=1)
    checkpoints.save(state, metrics={"validation/loss": 1.0})
    checkpoints.close()
    return directory, state


def everywhere():
    return placement.replicated(placement.make_mesh(1, jax.devices()[:1]))


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b))


def test_replaces_and_logs_what_has_the_same_name(trained, caplog):
    directory, source = trained
    before = state_of(l3net, seed=1)
    with caplog.at_level(logging.INFO, "avlearn"):
        after = initialise.initialised(before, str(directory), TRUNKS, everywhere())
    for stream in TRUNKS:
        # The supervised trunks also have fc1 and fc2.
        assert same(after.params[stream], {name: source.params[stream][name] for name in before.params[stream]})
        assert same(after.batch_stats[stream], source.batch_stats[stream])
        assert not same(after.params[stream], before.params[stream])
    assert same([after.params[name] for name in ("fc1", "fc2")], [before.params[name] for name in ("fc1", "fc2")])
    taken, random = caplog.messages
    assert taken.startswith(
        f"Initialised {2 * 8 * (3 + 2)} arrays from supervised, step 0 of {directory}: audio.bn1_1, audio.bn1_2,"
    )
    assert random == "4 arrays stay random: fc1, fc2."


def test_what_does_not_fit_is_refused(trained):
    directory, _ = trained
    take = functools.partial(initialise.initialised, directory=str(directory), sharding=everywhere())
    state = state_of(l3net, seed=1)
    with pytest.raises(ValueError, match=r"does not fit:\n  fc2.bias is frozen here but absent there\n  fc2.kernel"):
        take(state, frozen=("vision", "fc2"))
    with pytest.raises(ValueError, match=r"supervised has none of this network.s parameters \(fc1.bias"):
        take(dataclasses.replace(state, params={"fc1": state.params["fc1"]}, batch_stats={}), frozen=())
    wider = steps.with_arrays(state, {"audio.conv1_1.kernel": jnp.zeros((3, 3, 1, 8))})
    with pytest.raises(ValueError, match=r"audio.conv1_1.kernel is \[3, 3, 1, 4\] there, \[3, 3, 1, 8\] here"):
        take(wider, frozen=())
    with pytest.raises(ValueError, match=r"--config.train.initialise_from=nowhere is not a directory"):
        initialise.initialised(state, "nowhere", (), everywhere())


def test_frozen_trunks_stay_to_the_bit_and_the_rest_is_trained():
    model = l3net.Model(model_config(), INPUTS, rngs=nnx.Rngs(0))
    model.train()
    freeze(model, TRUNKS)
    adam = optimizer.adam(lambda step: 1e-2, weight_decay=0.1, weight_decay_kind="decoupled")
    adam = optimizer.freeze(adam, functools.partial(steps.below, TRUNKS))
    mesh = placement.make_mesh(WORKERS, jax.devices()[:1])
    before = steps.initial_state(model, adam)
    before = dataclasses.replace(before, batch_stats=jax.tree.map(lambda x: x + 0.1, before.batch_stats))
    score = functools.partial(steps.score_pairs, loss=avc.logistic)
    fixed = {"model": model, "score": score, "optimizer": adam, "mesh": mesh, "frozen": TRUNKS}
    batch = random_batch(WORKERS, 4)
    after, metrics = steps.TrainStep(**fixed)(jax.tree.map(jnp.array, before), batch)
    for stream in TRUNKS:
        assert same(after.params[stream], before.params[stream])
    assert same(after.batch_stats, before.batch_stats)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.params, before.params)
    assert min(moved["fc2"].values()) == pytest.approx(1e-2, rel=0.1)  # Adam's first update
    # Adam's two moments and its count, for the fusion layers only.
    moments = [leaf for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * sum(
        leaf.size for name in ("fc1", "fc2") for leaf in jax.tree.leaves(before.params[name])
    )
    # The same by hand: the features of evaluation, and the gradient of the fusion layers alone.
    network = steps.with_values(model, before.params, before.batch_stats)
    network.eval()
    pairs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    features = nnx.jit(lambda model: (model.image_features(pairs.frames), model.audio_features(pairs.log_spectrogram)))
    image, audio = features(network)

    def fusion_loss(fusion):
        network = steps.with_values(model, before.params | fusion, before.batch_stats)
        return avc.logistic(network.compare(image, audio), pairs.corresponds, pairs.weight)[0]

    value, gradient = jax.value_and_grad(fusion_loss)({name: before.params[name] for name in ("fc1", "fc2")})
    assert float(metrics["loss"]) == pytest.approx(float(value), abs=1e-5)
    assert float(metrics["gradient_norm"]) == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-3)


def test_a_frozen_path_that_is_not_there_is_refused():
    config = supervised_pretraining.get_config("miniature")
    config.train.frozen = ("vision", "sound")
    with pytest.raises(ValueError, match=r"no parameter 'sound'; use paths such as audio, fc1, fc2, vision"):
        build_network(config)


def test_the_experiment_freezes_both_trunks():
    config = supervised_pretraining.get_config("miniature")
    network = build_network(config)
    modes = {
        path[0]: module.use_running_average
        for path, module in nnx.iter_modules(network.training)
        if isinstance(module, nnx.BatchNorm)
    }
    assert modes == {"vision": True, "audio": True}
    assert (config.train.frozen, config.model.name) == (("vision", "audio"), "l3net")
