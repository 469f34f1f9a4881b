"""The conv tower: printed sizes, receptive fields, normalisation and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.lib.stride_tricks import sliding_window_view

from avlearn.models.layers.conv_tower import ConvTower, PooledTower, centred_he_normal, image_input, spectrogram_input
from avlearn.models.layers.embedding import l2_normalise
from configs.base import get_config
from tests.helpers.model_checks import fast_rngs, run


def make_tower(in_channels: int = 1, tower: type[ConvTower] = ConvTower, **changes) -> ConvTower:
    config = get_config().model
    config.update({"width": 1 / 16, **changes})
    return tower(in_channels, config, rngs=fast_rngs())


@pytest.mark.parametrize(
    ("stride", "size", "after_conv1", "after_conv4"),
    [
        (2, (224, 224), (112, 112), (14, 14)),  # OtS, vision
        (2, (257, 200), (128, 100), (16, 12)),  # OtS, audio
        (1, (224, 224), (224, 224), (28, 28)),  # L3, vision
        (1, (257, 199), (257, 199), (32, 24)),  # L3, audio
        (2, (112, 112), (56, 56), (7, 7)),
        (2, (64, 64), (32, 32), (4, 4)),
        (2, (64, 50), (32, 25), (4, 3)),
        (2, (16, 17), (8, 8), (1, 1)),
    ],
)
def test_sizes_are_as_printed(stride, size, after_conv1, after_conv4):
    def run(x):
        tower = make_tower(conv1_stride=stride, width=1.0)
        return tower.conv1_1(x), tower(x)

    first, last = nnx.eval_shape(run, jnp.zeros((1, *size, 1)))
    assert first.shape == (1, *after_conv1, 64)
    assert last.shape == (1, *after_conv4, 512)


@pytest.mark.parametrize(("width", "channels"), [(1.0, 512), (0.25, 128), (1 / 64, 8), (0.001, 1)])
def test_width_scales_channels_to_at_least_one(width, channels):
    vectors = nnx.eval_shape(lambda x: make_tower(3, PooledTower, width=width)(x), jnp.zeros((2, 32, 32, 3)))
    assert vectors.shape == (2, channels)


@pytest.mark.parametrize(("stride", "offset"), [(2, 0.5), (1, 0.0)])
def test_receptive_fields_are_centred_on_their_cells(stride, offset):
    """With positive kernels a bright row activates exactly the cells whose field of 133 (68) rows contains it."""
    rows, cell_rows = 112 * stride, 8 * stride
    receptive_rows = {2: 133, 1: 68}[stride]
    tower = nnx.eval_shape(lambda: make_tower(conv1_stride=stride, width=1 / 256))
    tower.eval()
    for path, variable in nnx.to_flat_state(nnx.state(tower)):
        value = {"kernel": 1.0, "scale": 1.0, "var": 1.0, "bias": 0.0, "mean": 0.0}[path[-1]]
        variable.set_value(jnp.full(variable.get_value().shape, value))
    bright_row = jnp.broadcast_to(jnp.eye(rows)[:, :, None, None], (rows, rows, cell_rows, 1))  # one image for each row
    active = np.asarray(run(tower, bright_row) > 0).any((2, 3))  # [image, cell]
    cell = rows // cell_rows // 2
    field = np.flatnonzero(active[:, cell])
    assert len(field) == receptive_rows == field[-1] - field[0] + 1
    centre_of_field = (field[0] + field[-1] + 1) / 2
    centre_of_cell = (cell + 0.5) / (rows // cell_rows) * rows
    assert centre_of_field - centre_of_cell == offset


def test_batch_statistics_are_computed_in_the_call_and_stay_float32():
    x = np.random.default_rng(0).normal(3, 1, (2, 16, 16, 1)).astype(np.float32)
    tower = make_tower(dtype="bfloat16", batch_norm_momentum=0.9)
    map_in_training = run(tower, x)
    assert map_in_training.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(tower))} == {jnp.dtype("float32")}
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 1), (0, 1), (0, 0)))
    windows = sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    first = np.einsum("nhwijk,jkio->nhwo", windows, tower.conv1_1.kernel[...])
    np.testing.assert_allclose(tower.bn1_1.mean[...], 0.1 * first.mean((0, 1, 2)), atol=2e-3)
    np.testing.assert_allclose(tower.bn1_1.var[...], 0.9 + 0.1 * first.var((0, 1, 2)), rtol=2e-2)
    stats = jax.tree.map(np.asarray, nnx.state(tower, nnx.BatchStat))
    tower.eval()
    assert not np.allclose(run(tower, x), map_in_training)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, nnx.state(tower, nnx.BatchStat)), stats)


def test_normalisation_is_float32_in_a_bfloat16_tower():
    tower = make_tower(dtype="bfloat16")
    tower.eval()
    tower.bn1_1.mean[...] = jnp.full(4, 100.3)  # bfloat16 would make it 100.5
    normalised = tower.bn1_1(jnp.full((1, 1, 1, 4), 100, jnp.bfloat16))
    np.testing.assert_allclose(normalised.ravel(), -0.3, rtol=1e-4)


def test_inputs_by_hand():
    frames = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(image_input(frames).ravel(), [-1, -0.6, 1], rtol=1e-6)
    log_spectrogram = jnp.arange(6.0).reshape(1, 3, 2)  # three columns (time), two bins (frequency)
    np.testing.assert_array_equal(spectrogram_input(log_spectrogram)[0, :, :, 0], [[0, 2, 4], [1, 3, 5]])


def test_l2_normalise_by_hand_and_at_zero():
    np.testing.assert_allclose(l2_normalise(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: l2_normalise(x).sum())(jnp.zeros((1, 4)))).all()


def test_inputs_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match=r"15 x 40 is too small.*at least 16"):
        make_tower()(jnp.zeros((1, 15, 40, 1)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dtype", "float16", "'float16'; --config.model.dtype takes float32, bfloat16"),
        ("conv1_stride", 3, "conv1_stride is 3; --config.model.conv1_stride takes 1, 2"),
        ("width", 0.0, "width is 0.0; use a number above 0"),
        ("batch_norm_momentum", 1.0, "momentum is 1.0; use a number that is at least 0"),
    ],
)
def test_bad_config_is_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        make_tower(**{key: value})


def test_centre_share_sets_the_variance_at_the_centre():
    kernels = centred_he_normal(0.5)(jax.random.key(0), (3, 3, 64, 512))
    variance = np.asarray(kernels).var(axis=(2, 3))
    assert variance.sum() == pytest.approx(9 * 2 / (9 * 64), rel=0.02)  # He: 2 / fan-in at each of nine cells
    assert variance[1, 1] / variance.sum() == pytest.approx(0.5, abs=0.01)
    plain = centred_he_normal(1 / 9)(jax.random.key(0), (3, 3, 4, 8))
    np.testing.assert_allclose(plain, nnx.initializers.he_normal()(jax.random.key(0), (3, 3, 4, 8)), rtol=1e-6)
