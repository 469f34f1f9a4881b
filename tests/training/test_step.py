"""The training step: statistics of each worker, averages over workers, and any number of devices."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from avlearn.build import build_network, build_train_step
from avlearn.devices import placement
from avlearn.losses import avc
from avlearn.training import optimizer
from avlearn.training import step as steps
from tests.helpers import tiny_run
from tests.helpers.model_checks import small_batch
from tests.helpers.tiny_network import assert_same_bits, assert_trees_close, avenet_model, random_batch

PAIRS = functools.partial(steps.score_pairs, loss=avc.logistic)


ADAM = optimizer.adam(lambda step: 1e-3, weight_decay=1e-5, weight_decay_kind="l2")
WORKERS = tiny_run.WORKERS


@functools.cache
def step_on(devices: int, name: str) -> tuple:
    """Return a step, its network and its mesh; the step compiles once."""
    config = tiny_run.config_of(name, "nowhere", num_steps=2)
    network, mesh = build_network(config), placement.make_mesh(WORKERS, jax.devices()[:devices])
    return build_train_step(config, network, ADAM, mesh), network, mesh


def run_steps(devices: int, name: str = "avenet", count: int = 3):
    step, network, mesh = step_on(devices, name)
    initial = jax.tree.map(jnp.array, steps.initial_state(network.training, ADAM))  # a step donates its state
    state = jax.device_put(initial, placement.replicated(mesh))
    for number in range(count):
        pairs = small_batch(network.inputs, WORKERS * 4, seed=number)
        batch = jax.tree.map(lambda x: x.reshape(WORKERS, 4, *x.shape[1:]), pairs)
        state, metrics = step(state, placement.to_devices(mesh, batch))
    return jax.device_get((state, metrics))


def test_step_is_the_mean_over_workers_of_plain_gradients():
    model, batch = avenet_model(), random_batch(2, 4)
    sgd = optax.sgd(0.5)
    mesh = placement.make_mesh(2, jax.devices()[:1])
    before = steps.initial_state(model, sgd)
    step = steps.TrainStep(model=model, score=PAIRS, optimizer=sgd, mesh=mesh)
    after, metrics = step(jax.tree.map(jnp.array, before), batch)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def plain_loss(params, pairs):  # softmax cross-entropy over [-z/2, z/2], written out
        network = steps.with_values(model, params, before.batch_stats)
        z, target = network(pairs).logit, pairs.corresponds
        loss = -jnp.mean(jnp.where(target, jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)))
        return loss, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    gradients, stats, losses = [], [], []
    for worker in range(2):
        (value, stat), gradient = plain_loss(before.params, jax.tree.map(operator.itemgetter(worker), batch))
        losses.append(float(value))
        gradients.append(gradient)
        stats.append(stat)
    mean_gradient = jax.tree.map(lambda a, b: (a + b) / 2, *gradients)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, before.params, mean_gradient)
    assert_trees_close(after.params, expected, atol=2e-5)
    assert_trees_close(after.batch_stats, jax.tree.map(lambda a, b: (a + b) / 2, *stats), atol=1e-5)
    assert float(metrics["loss"]) == pytest.approx(np.mean(losses), abs=1e-5)
    assert float(metrics["gradient_norm"]) == pytest.approx(float(optax.tree.norm(mean_gradient)), rel=1e-3)
    assert int(after.step) == 1


def kept_bytes(rematerialise: str) -> tuple[int, dict]:
    """Return the bytes that the backward pass needs besides parameters and inputs, and the gradient."""
    model, batch = avenet_model(), jax.tree.map(lambda x: x[0], random_batch(1, 8))
    state = steps.initial_state(model, optax.sgd(0.1))

    def objective(params):
        return PAIRS(steps.with_values(model, params, state.batch_stats), batch)[0]

    _, pull = jax.vjp(jax.jit(steps.REMATERIALISATIONS[rematerialise](objective)), state.params)
    given = {id(leaf) for leaf in jax.tree.leaves((state, batch))}
    kept = {id(leaf): leaf.nbytes for leaf in jax.tree.leaves(pull) if id(leaf) not in given}
    return sum(kept.values()), pull(jnp.ones(()))[0]


def test_rematerialisation_keeps_only_convolutions():
    (everything, expected), (convolutions, gradient) = map(kept_bytes, ("nothing", "all_but_convolutions"))
    assert_trees_close(gradient, expected, rtol=1e-4, atol=1e-6)
    # Outputs of conv1_1 ... conv4_2 at width 1/16: two layers of 4, 8, 16, 32 channels, on maps that halve each time
    # from 16 x 16 for a frame of 32 pixels, and from 16 x 12 (32 x 25 cells) for the audio.
    frame = 2 * (4 * 16 * 16 + 8 * 8 * 8 + 16 * 4 * 4 + 32 * 2 * 2)
    sound = 2 * (4 * 16 * 12 + 8 * 8 * 6 + 16 * 4 * 3 + 32 * 2 * 1)
    assert convolutions == 4 * 8 * (frame + sound)
    assert everything > 2 * convolutions


@pytest.mark.parametrize("name", tiny_run.CONFIGS)
def test_number_of_devices_changes_no_bit(name):
    """Several processes: tests/launch/test_pod.py."""
    one = run_steps(1, name)
    assert one[1]["worker_loss"].shape == (WORKERS,)
    assert_same_bits(run_steps(8, name), one)


def test_same_run_twice_is_bit_identical():
    assert_same_bits(run_steps(8), run_steps(8))


def test_all_pairs_scores_every_frame_with_the_audio_of_all_other_videos():
    batch = jax.tree.map(lambda x: x[0], random_batch(1, 3))
    batch = steps.Batch(**{**vars(batch), "video": jnp.array([7, 8, 7])})
    seen = {}

    def record(logit, corresponds, weight):
        seen.update(logit=logit, corresponds=corresponds, weight=weight)
        return avc.logistic(logit, corresponds, weight)

    model = avenet_model()
    model.eval()
    predict = jax.jit(functools.partial(steps.predict, model=model))
    state = steps.initial_state(model, optax.identity())
    steps.score_all_pairs(model, batch, loss=record)
    np.testing.assert_array_equal(seen["corresponds"], np.eye(3, dtype=bool))
    np.testing.assert_array_equal(seen["weight"], [[1, 1, 0], [1, 1, 1], [0, 1, 1]])
    for image in range(3):
        for sound in range(3):
            pair = steps.Batch(
                frames=batch.frames[image, None],
                log_spectrogram=batch.log_spectrogram[sound, None],
                corresponds=batch.corresponds[image, None],
                video=batch.video[image, None],
                weight=batch.weight[image, None],
            )
            assert float(seen["logit"][image, sound]) == pytest.approx(float(predict(state, pair).logit[0]), abs=1e-4)


class Sums(nnx.Module):
    """A network whose vectors are sums over its inputs, and whose contrast is their product."""

    def image_features(self, frames):
        return frames.astype(jnp.float32).sum((1, 2, 3))

    def audio_features(self, log_spectrogram):
        return log_spectrogram.sum((1, 2))

    def contrast(self, image_features, audio_features):
        return image_features[:, None] * audio_features[None, :]


def test_contrast_gives_the_loss_all_pairs_and_their_videos():
    batch = jax.tree.map(lambda x: x[0], random_batch(1, 3))
    batch = steps.Batch(**{**vars(batch), "video": jnp.array([7, 8, 7]), "weight": jnp.array([1.0, 1.0, 0.0])})

    def record(contrast, video, weight):
        np.testing.assert_array_equal(video, [7, 8, 7])
        np.testing.assert_array_equal(weight, [1, 1, 0])
        return contrast, {}

    products, _ = steps.score_contrast(Sums(), batch, loss=record)
    image = np.asarray(batch.frames, np.float64).sum((1, 2, 3))
    audio = np.asarray(batch.log_spectrogram, np.float64).sum((1, 2))
    np.testing.assert_allclose(products, np.outer(image, audio), rtol=1e-3)


def test_predict_uses_running_statistics():
    model, adam = avenet_model(), optax.sgd(0.1)
    state = steps.initial_state(model, adam)
    model.eval()
    batch = jax.tree.map(lambda x: x[0], random_batch(1, 4))
    predict = jax.jit(functools.partial(steps.predict, model=model))
    together, alone = predict(state, batch), predict(state, jax.tree.map(lambda x: x[:1], batch))
    np.testing.assert_allclose(together.logit[:1], alone.logit, atol=1e-5)
