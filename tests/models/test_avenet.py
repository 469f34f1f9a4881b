"""AVE-Net: layers as printed, forward pass against PyTorch, distance, and use in a pure training step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from avlearn.models import avenet
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
    embeddings,
    features,
    parameter_sum,
    randomised,
    run,
    small_batch,
)

TINY = InputSpec(frame_pixels=32, pool=8)


make_model = functools.partial(model_checks.make_model, avenet.Model)


@pytest.fixture
def model() -> avenet.Model:
    return randomised(make_model)


def test_layers_are_those_of_the_paper():
    table = layer_table(nnx.eval_shape(lambda: make_model(InputSpec(), width=1.0)))
    assert_golden("avenet", table)
    stream = TOWER_PARAMETERS + (512 * 128 + 128) + (128 * 128 + 128)
    total = CONV1_1_PARAMETERS["vision"] + CONV1_1_PARAMETERS["audio"] + 2 * stream + (1 * 2 + 2)
    assert parameter_sum(table) == total == 9_537_796
    assert f"{total:,}" in table.splitlines()[-1]


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(model, training):
    assert_matches_reference("avenet", model, small_batch(SMALL), training=training)


def test_fc3_starts_with_the_right_sign_and_at_zero_at_the_threshold():
    model = make_model(fc3_scale=0.7, fc3_threshold=1.2)
    distances = jnp.array([0.0, 0.6, 1.2, 2.0])
    vectors = jnp.zeros((4, 128)).at[:, 0].set(distances)
    log_odds = model.compare(vectors, jnp.zeros((4, 128)))
    # The two logits are +-.7 (distance - 1.2), so their difference is 1.4 (1.2 - distance).
    np.testing.assert_allclose(log_odds, [1.68, 0.84, 0.0, -1.12], atol=2e-3)


def test_gradient_is_finite_at_distance_zero(model):
    same = jnp.full((2, 128), 128**-0.5)
    gradient = jax.grad(lambda x: model.compare(x, same).sum())(same)
    assert np.isfinite(gradient).all()


def test_all_pairs_equal_a_loop_over_pairs(model):
    assert_all_pairs_match_single_pairs(model, small_batch(SMALL))


def test_embeddings_have_length_one_and_are_what_compare_takes(model):
    batch = small_batch(SMALL)
    model.eval()
    outputs = run(model, batch)
    both = (outputs.image_embedding, outputs.audio_embedding)
    for embedding, embedded, compared in zip(both, embeddings(model, batch), features(model, batch), strict=True):
        assert embedding.shape == (4, 128)
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(embedded, embedding, atol=1e-6)
        np.testing.assert_allclose(compared, embedding, atol=1e-6)


def test_bfloat16_is_near_float32(model):
    batch = small_batch(SMALL)
    half = randomised(lambda: make_model(dtype="bfloat16"))
    expected, outputs = run(model, batch), run(half, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves((nnx.state(half), outputs))} == {jnp.dtype("float32")}
    difference = np.abs(np.asarray(outputs.image_embedding - expected.image_embedding))
    assert 0 < difference.max() < 0.02
    np.testing.assert_allclose(outputs.logit, expected.logit, atol=0.02)


def worker_step(graphdef, params, stats, batch):
    """Compute the loss, new statistics and gradients of one worker, as a pure function."""

    def loss_of(params):
        # copy: otherwise the merged model would write its statistics into variables of the outer trace.
        model = nnx.merge(graphdef, params, stats, copy=True)
        loss, _ = avenet.loss(model(batch).logit, batch.corresponds, batch.weight)
        return loss, nnx.state(model, nnx.BatchStat)

    (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
    return loss, stats, gradients


def test_step_is_pure_under_jit_shard_map_scan_and_grad(model):
    """Each of four workers, two to a device, uses its own batch statistics."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    # Worker 2, the first of the second device, gets the pairs of worker 0.
    batches = [small_batch(TINY, seed=seed) for seed in (0, 1, 0, 3)]
    mesh = jax.make_mesh((2,), ("workers",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])

    def on_device(params, stats, batches):
        return jax.lax.scan(lambda _, batch: (None, worker_step(graphdef, params, stats, batch)), None, batches)[1]

    step = jax.shard_map(
        on_device, mesh=mesh, in_specs=(P(), P(), P("workers")), out_specs=P("workers"), check_vma=False
    )
    losses, new_stats, gradients = jax.jit(step)(params, stats, jax.tree.map(lambda *x: jnp.stack(x), *batches))
    for worker, batch in enumerate(batches):
        alone = nnx.merge(graphdef, params, stats, copy=True)
        outputs = run(alone, batch)
        expected = avenet.loss(outputs.logit, batch.corresponds, batch.weight)[0]
        np.testing.assert_allclose(losses[worker], expected, rtol=1e-4)
        own_stats = jax.tree.map(lambda leaf, worker=worker: leaf[worker], new_stats)
        compare = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(compare, own_stats, nnx.state(alone, nnx.BatchStat))
    for gradient in jax.tree.leaves(gradients):
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient[2], gradient[0], rtol=1e-4, atol=1e-6)
    assert np.abs(gradients["vision"]["conv1_1"]["kernel"][...][1]).max() > 1e-4
