"""The supervised baseline: layers, forward pass against PyTorch, loss and score by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from avlearn.losses import classification
from avlearn.models import l3net, supervised
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
    parameter_sum,
    randomised,
    run,
    run_in_both_types,
    small_batch,
)

FIVE = dataclasses.replace(SMALL, classes=5)
make_model = functools.partial(model_checks.make_model, supervised.Model)
loss = jax.jit(classification.loss)


def test_layers_are_those_of_the_paper():
    inputs = InputSpec(columns=199, classes=34)
    table = layer_table(nnx.eval_shape(lambda: make_model(inputs, width=1.0, conv1_stride=1)))
    assert_golden("supervised", table)
    total = CONV1_1_PARAMETERS["vision"] + CONV1_1_PARAMETERS["audio"] + 2 * TOWER_PARAMETERS
    total += 2 * ((512 * 128 + 128) + (128 * 34 + 34))
    assert parameter_sum(table) == total == 9_513_540


def test_trunks_have_the_names_and_shapes_of_l3net():
    trained, wanted = (
        {path: leaf.get_value().shape for path, leaf in nnx.to_flat_state(nnx.state(nnx.eval_shape(make)))}
        for make in (lambda: make_model(FIVE), lambda: model_checks.make_model(l3net.Model))
    )
    fusion = {path for path in wanted if path[0] in ("fc1", "fc2")}
    assert len(fusion) == 4
    assert {path: trained[path] for path in wanted.keys() - fusion} == {
        path: shape for path, shape in wanted.items() if path not in fusion
    }


@pytest.mark.parametrize("training", [True, False])
def test_forward_pass_agrees_with_pytorch(training):
    assert_matches_reference(
        "Supervised", randomised(lambda: make_model(FIVE)), small_batch(FIVE), training=training, classes=5
    )


def test_all_pairs_equal_a_loop_over_pairs():
    assert_all_pairs_match_single_pairs(randomised(lambda: make_model(FIVE)), small_batch(FIVE))


def test_retrieval_vectors_are_the_softmax_outputs():
    model, batch = randomised(lambda: make_model(FIVE)), small_batch(FIVE)
    model.eval()
    outputs = run(model, batch)
    for embedding, embedded in zip(
        (outputs.image_embedding, outputs.audio_embedding), embeddings(model, batch), strict=True
    ):
        np.testing.assert_allclose(embedded, embedding, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_a_network_without_classes_is_refused():
    with pytest.raises(ValueError, match=r"inputs.classes is 0; .* \(--config.inputs.classes=...\)"):
        make_model(SMALL)


def test_score_of_direct_combination_by_hand():
    image = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    audio = np.array([[0.1, 0.6, 0.3], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    log_image, log_audio = (jnp.log(jnp.maximum(p, 1e-30)) for p in (image, audio))
    score = np.asarray(classification.agreement_log_odds(log_image, log_audio))
    product = 0.5 * 0.1 + 0.3 * 0.6 + 0.2 * 0.3
    assert score[0] == pytest.approx(np.log(product / (1 - product)), abs=1e-5)
    assert np.isfinite(score).all()
    assert score[1] < -40
    assert score[2] == pytest.approx(np.log(1e6), rel=0.02)  # probabilities are capped at a millionth below 1


def test_loss_by_hand():
    image = np.log(np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], np.float32))
    audio = np.log(np.array([[0.4, 0.4, 0.2], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]], np.float32))
    # Clips with one class, with two (weight one half each), and padding, whose values are nan.
    labels = np.array([[True, False, False], [False, True, True], [False, False, False]])
    image[2] = audio[2] = np.nan
    value, metrics = loss(image, audio, labels, np.array([4, 7, 0]), np.array([1.0, 1.0, 0.0], np.float32))
    image_loss = -(np.log(0.7) + (np.log(0.5) + np.log(0.3)) / 2) / 2
    audio_loss = -(np.log(0.4) + (np.log(0.3) + np.log(0.1)) / 2) / 2
    assert float(value) == pytest.approx(image_loss + audio_loss, abs=1e-5)
    assert float(metrics["image_class_accuracy"]) == 1.0
    assert float(metrics["audio_class_accuracy"]) == 0.5  # .4 and .4: the first counts; the .6 is a wrong class
    # Products: .40 and .28 with the own sounds, .49 of image 0 and sound 1, .34 of image 1 and sound 0: all below .5.
    assert (float(metrics["accuracy"]), float(metrics["predicted_positive"])) == (0.5, 0.0)
    assert float(metrics["own_sound_first"]) == 0.0


def test_gradient_is_softmax_minus_target_and_zero_for_padding():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 4, 3)).astype(np.float32)
    labels = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 0]], bool)
    weight = np.array([1, 1, 1, 0], np.float32)

    def loss_of_scores(scores):
        return loss(*jax.nn.log_softmax(scores), labels, np.arange(4), weight)[0]

    gradient = jax.grad(loss_of_scores)(scores)
    softmax = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    target = labels / labels.sum(1, keepdims=True)
    np.testing.assert_allclose(gradient[:, :3], (softmax - target)[:, :3] / 3, atol=1e-6)
    np.testing.assert_array_equal(gradient[:, 3], 0)


def test_clips_without_a_class_are_ignored():
    log_probabilities = jax.nn.log_softmax(jnp.array([[2.0, 0.0], [0.0, 3.0]]))
    one = classification.cross_entropy(log_probabilities[:1], jnp.array([[True, False]]), jnp.ones(1))
    both = classification.cross_entropy(log_probabilities, jnp.array([[True, False], [False, False]]), jnp.ones(2))
    np.testing.assert_allclose(both, one)
    none = classification.cross_entropy(log_probabilities, jnp.zeros((2, 2), bool), jnp.ones(2))
    np.testing.assert_array_equal(none, (0, 0))


def test_bfloat16_is_near_float32():
    batch = small_batch(FIVE)
    expected, outputs = run_in_both_types(functools.partial(make_model, FIVE), batch)
    assert 0 < np.abs(np.asarray(outputs.logit - expected.logit)).max() < 0.3
