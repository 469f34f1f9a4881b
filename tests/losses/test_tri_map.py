"""The tri-map loss: values by hand, by a float64 loop and by finite differences, and padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp

from avlearn.losses import tri_map

SETTINGS = [(objective, regions) for objective in tri_map.OBJECTIVES for regions in tri_map.REGIONS]


@functools.cache
def compiled(objective: str, regions: str):
    """Return a function that computes loss, metrics and gradient, compiled once for each shape."""
    setting = functools.partial(tri_map.loss, objective=objective, regions=regions)
    return jax.jit(jax.value_and_grad(setting, has_aux=True))


def evaluate(maps, video, weight, objective: str, regions: str):
    """Compute loss, metrics and gradient."""
    arguments = jnp.asarray(maps, jnp.float32), jnp.asarray(video), jnp.asarray(weight, jnp.float32)
    (loss, metrics), gradient = compiled(objective, regions)(*arguments)
    return loss, metrics, np.array(gradient)


def random_maps(clips: int = 3, seed: int = 0) -> np.ndarray:
    """Draw cosines around both thresholds, so that no soft mask is empty or full."""
    return np.random.default_rng(seed).uniform(0.2, 0.9, (clips, clips, 2, 3))


def plain(maps, objective: str, regions: str, negatives=None) -> float:
    """Compute the loss from its definition in a float64 loop; `negatives[i, j]` says whether i and j are a negative."""
    clips = len(maps)
    negatives = ~np.eye(clips, dtype=bool) if negatives is None else negatives

    def mean_under(mask, cosines):
        return (mask * cosines).sum() / mask.sum()

    losses = []
    for clip in range(clips):
        own = maps[clip, clip]
        positive = mean_under(expit((own - 0.65) / 0.03), own)
        threshold = {"tri_map": 0.4, "complement": 0.65}.get(regions)
        hard = [] if threshold is None else [mean_under(1 - expit((own - threshold) / 0.03), own)]
        if objective == "paper":
            easy = [maps[image, clip].mean() for image in range(clips) if negatives[image, clip]]
            total = sum(easy + hard)
            losses.append(-np.log(np.exp(positive) / (np.exp(positive) + np.exp(total))))
        else:
            others = [maps[clip, sound] for sound in range(clips) if negatives[clip, sound]]
            easy = [mean_under(expit((cosines - 0.65) / 0.03), cosines) for cosines in others]
            logits = np.array([positive, *easy, *hard]) / 0.07
            losses.append(logsumexp(logits) - logits[0])
    return float(np.mean(losses))


def test_two_clips_by_hand():
    """Every mask is full or empty: own maps have a cell of .95 and one of .05, others .85 or .15."""
    maps = np.empty((2, 2, 1, 2))
    maps[0, 0] = maps[1, 1] = [[0.95, 0.05]]
    maps[0, 1], maps[1, 0] = 0.85, 0.15
    inputs = maps, np.arange(2), np.ones(2)
    # P = .95 and the hard negative = .05, to e^-10; N of clip 0 sums image 1 with sound 0 (.15), of clip 1 .85.
    paper = (np.log1p(np.exp(0.05 + 0.15 - 0.95)) + np.log1p(np.exp(0.05 + 0.85 - 0.95))) / 2
    loss, metrics, _ = evaluate(*inputs, "paper", "tri_map")
    np.testing.assert_allclose(loss, paper, atol=1e-4)
    without_hard = (np.log1p(np.exp(0.15 - 0.95)) + np.log1p(np.exp(0.85 - 0.95))) / 2
    np.testing.assert_allclose(evaluate(*inputs, "paper", "positives_only")[0], without_hard, atol=1e-4)
    # Image 0 has .85 with sound 1, image 1 has .15 with sound 0; all are divided by .07.
    rest = np.array([[0.85, 0.05], [0.15, 0.05]]) - 0.95
    released = np.log1p(np.exp(rest / 0.07).sum(1)).mean()
    np.testing.assert_allclose(evaluate(*inputs, "released", "tri_map")[0], released, rtol=1e-3)
    # .85 is above .65: one of the two negatives is predicted positive, and negatives weigh one half.
    assert {name: round(float(value), 4) for name, value in metrics.items()} == {
        "accuracy": 0.75,
        "predicted_positive": 0.75,
        "own_sound_first": 1,
        "positive_response": 0.95,
    }


def test_middle_cells_are_negatives_of_the_complement_only():
    own = jnp.array([[0.9, 0.55, 0.2]])
    np.testing.assert_allclose(tri_map.background_response(own, "tri_map"), 0.2, atol=0.01)
    # In the complement .55 and .2 have weights sigmoid(.1 / .03) and 1.
    middle = expit(0.1 / 0.03)
    np.testing.assert_allclose(
        tri_map.background_response(own, "complement"), (middle * 0.55 + 0.2) / (middle + 1), atol=1e-3
    )


@pytest.mark.parametrize(("objective", "regions"), SETTINGS)
def test_value_and_gradient_agree_with_a_loop_and_finite_differences(objective, regions):
    maps = random_maps()
    loss, _, gradient = evaluate(maps, np.arange(3), np.ones(3), objective, regions)
    np.testing.assert_allclose(loss, plain(maps, objective, regions), rtol=1e-5)
    for index in np.ndindex(maps.shape):
        step = np.zeros_like(maps)
        step[index] = 1e-6
        slope = (plain(maps + step, objective, regions) - plain(maps - step, objective, regions)) / 2e-6
        assert float(gradient[index]) == pytest.approx(slope, rel=1e-3, abs=1e-4), index


@pytest.mark.parametrize(("objective", "regions"), SETTINGS)
def test_clips_of_one_video_are_not_negatives(objective, regions):
    maps = random_maps()
    negatives = np.array([[False, True, False], [True, False, True], [False, True, False]])
    loss, metrics, gradient = evaluate(maps, [7, 8, 7], np.ones(3), objective, regions)
    np.testing.assert_allclose(loss, plain(maps, objective, regions, negatives), rtol=1e-5)
    assert (gradient[[0, 2], [2, 0]] == 0).all()
    mask = expit((maps - 0.65) / 0.03)
    positive = (mask * maps).sum((2, 3)) / mask.sum((2, 3))
    best_other = np.where(negatives, positive, -1).max(1)
    assert float(metrics["own_sound_first"]) == pytest.approx(np.mean(np.diag(positive) > best_other))


@pytest.mark.parametrize("garbage", [0.7, np.nan, np.inf])
@pytest.mark.parametrize(("objective", "regions"), SETTINGS)
def test_padding_is_ignored(objective, regions, garbage):
    maps = random_maps()
    padded = np.full((5, 5, 2, 3), garbage)
    padded[:3, :3] = maps
    *expected, expected_gradient = evaluate(maps, np.arange(3), np.ones(3), objective, regions)
    *got, gradient = evaluate(padded, np.arange(5), [1, 1, 1, 0, 0], objective, regions)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, expected)
    np.testing.assert_allclose(gradient[:3, :3], expected_gradient, atol=1e-6)
    gradient[:3, :3] = 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize(("objective", "regions"), SETTINGS)
def test_empty_and_full_masks_have_values_and_gradients(objective, regions, cosine):
    """If all cells are equal, every mean is their cosine, however small the mask, and the loss is known."""
    value, _, gradient = evaluate(np.full((3, 3, 2, 3), cosine), np.arange(3), np.ones(3), objective, regions)
    hard = regions != "positives_only"
    expected = np.log1p(np.exp(cosine * (1 + hard))) if objective == "paper" else np.log(3 + hard)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("objective", tri_map.OBJECTIVES)
def test_256_clips_do_not_overflow_and_bfloat16_is_computed_in_float32(objective):
    maps = jnp.ones((256, 256, 1, 1), jnp.bfloat16)
    (loss, metrics), _ = compiled(objective, "tri_map")(maps, jnp.arange(256), jnp.ones(256))
    # Paper: N = 255 means of 1 and the hard negative 1, P = 1. Released: 257 equal logits.
    np.testing.assert_allclose(loss, 255.0 if objective == "paper" else np.log(257), rtol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, metrics))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("objective", tri_map.OBJECTIVES)
def test_bfloat16_loses_precision_only_in_the_cosines(objective):
    maps = jnp.asarray(random_maps(), jnp.bfloat16)
    (loss, _), gradient = compiled(objective, "tri_map")(maps, jnp.arange(3), jnp.ones(3))
    assert float(loss) == pytest.approx(plain(np.asarray(maps, np.float64), objective, "tri_map"), rel=1e-5)
    assert np.isfinite(np.asarray(gradient, np.float32)).all()


def test_loss_of_padding_alone_is_zero():
    loss, metrics, gradient = evaluate(np.full((2, 2, 1, 2), np.nan), np.arange(2), np.zeros(2), "released", "tri_map")
    assert float(loss) == 0
    assert (gradient == 0).all()
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("key", ["objective", "regions"])
def test_unknown_names_are_refused(key):
    with pytest.raises(ValueError, match=f"loss.{key} is 'papre'; --config.loss.{key} takes "):
        tri_map.loss(jnp.zeros((1, 1, 1, 1)), jnp.zeros(1, int), jnp.ones(1), **{key: "papre"})
