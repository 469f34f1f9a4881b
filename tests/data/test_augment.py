import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from avlearn.data import augment, cut
from avlearn.media.log_spectrogram import log_spectrogram

FRAMES = np.random.default_rng(0).integers(60, 180, (3, 6, 5, 3), dtype=np.uint8)
NONE = np.zeros(3)


def jitter(*, flip=(False, False, False), brightness=NONE, saturation=NONE + 1):
    changes = (jnp.asarray(values) for values in (flip, brightness, saturation))
    return np.asarray(augment.jitter(jnp.asarray(FRAMES), *changes))


def test_neutral_values_change_nothing():
    assert (jitter() == FRAMES).all()


def test_flip_is_left_to_right_and_only_where_asked():
    out = jitter(flip=(False, True, False))
    assert (out[1] == FRAMES[1, :, ::-1]).all()
    assert (out[[0, 2]] == FRAMES[[0, 2]]).all()


def test_brightness_is_added_and_clipped():
    out = jitter(brightness=np.array([0.2, -0.2, 0.6]))
    expected = np.clip(FRAMES + np.array([51, -51, 153])[:, None, None, None], 0, 255)
    assert np.abs(out - expected).max() <= 1
    assert out.max() == 255


@pytest.mark.parametrize("factor", [0.0, 0.8, 1.2])
def test_saturation_matches_pillow(factor):
    out = jitter(saturation=NONE + factor)
    expected = np.stack([np.asarray(ImageEnhance.Color(Image.fromarray(frame)).enhance(factor)) for frame in FRAMES])
    assert np.abs(out.astype(int) - expected).max() <= 1


def test_volume_matches_a_louder_waveform():
    waveform = np.random.default_rng(0).normal(0, 0.1, 4800).astype(np.float32)
    quiet, loud = log_spectrogram(waveform), log_spectrogram(np.float32(1.1) * waveform)
    changed = augment.change_volume(jnp.stack([quiet, quiet]), jnp.array([1.1, 1.0]))
    np.testing.assert_allclose(changed, [loud, quiet], atol=1e-3)


@pytest.mark.parametrize(("columns", "bins", "size"), [(200, 257, 4), (9, 7, 3), (8, 6, 1)])
def test_pool_is_the_mean_of_cells(columns, bins, size):
    values = np.random.default_rng(0).normal(size=(columns, bins)).astype(np.float32)
    (pooled,) = cut.pool(tf.constant(values[None]), size).numpy()
    assert pooled.shape == (columns // size, bins // size)
    for row, column in np.ndindex(pooled.shape):
        cell = values[row * size : (row + 1) * size, column * size : (column + 1) * size]
        assert pooled[row, column] == pytest.approx(cell.mean(), abs=1e-5)


@pytest.mark.parametrize("module", [np, jnp])
def test_scalings_by_hand(module):
    power = np.array([[[1.0, 10.0], [1e-7, 1e3]], [[1.0, 1.0], [1e-5, 1e-2]]])
    decibel = 10 * np.log10(power)
    scaled = {name: scale(module.asarray(np.log(power))) for name, scale in augment.SCALINGS.items()}
    assert set(scaled) == {"ln_12", "ln_5", "db_standardised", "db_80"}
    np.testing.assert_allclose(scaled["ln_12"], np.log(power) / 12, rtol=1e-6)
    np.testing.assert_allclose(scaled["ln_5"], np.log(power) / 5, rtol=1e-6)
    standardised = (decibel - augment.DB_MEAN) / augment.DB_STANDARD_DEVIATION
    np.testing.assert_allclose(scaled["db_standardised"], standardised, rtol=1e-5)
    # Peaks of 30 dB and 0 dB; below: 30, 20, 100 (clipped to 80), 0 and 0, 0, 50, 20.
    np.testing.assert_allclose(scaled["db_80"], [[[0.25, 0.5], [-1.0, 1.0]], [[1.0, 1.0], [-0.25, 0.5]]], atol=1e-6)


@pytest.mark.parametrize("module", [np, jnp])
def test_full_scale_is_one(module):
    samples = module.asarray(np.array([-32767, 0, 32767], np.int16))
    assert augment.full_scale(samples).tolist() == [-1, 0, 1]
    assert augment.full_scale(samples).dtype == np.float32
