"""Log-spectrograms against librosa and by hand."""

import numpy as np
import pytest
import scipy.signal

from avlearn.media.log_spectrogram import FRONT_ENDS, POWER_FLOOR, log_spectrogram


def _noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize("front_end", ["l3", "lvs"])
def test_agrees_with_librosa(front_end):
    import librosa

    spec = FRONT_ENDS[front_end]
    waveform = _noise(spec.sample_rate_hz) * np.linspace(0, 1, spec.sample_rate_hz, dtype=np.float32) ** 4
    side = (spec.fft_samples - spec.window_samples) // 2  # librosa centres the window in the transform
    spectrum = librosa.stft(
        np.pad(waveform.astype(np.float64), side),
        n_fft=spec.fft_samples,
        win_length=spec.window_samples,
        hop_length=spec.hop_samples,
        center=False,
    )
    expected = np.log(np.maximum(np.abs(spectrum.T) ** 2, 1e-7))
    found = log_spectrogram(waveform, front_end)
    assert found.dtype == np.float32
    assert found.shape == (1 + (spec.sample_rate_hz - spec.window_samples) // spec.hop_samples, 257)
    assert found.shape[0] == {"l3": 199, "lvs": 66}[front_end]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_column_by_hand():
    waveform = _noise(2000)
    windowed = waveform[3 * 240 : 3 * 240 + 480] * scipy.signal.get_window("hann", 480)
    n = np.arange(480)
    power = [abs(np.sum(windowed * np.exp(-2j * np.pi * b * n / 512))) ** 2 for b in (0, 17, 256)]
    np.testing.assert_allclose(log_spectrogram(waveform)[3, [0, 17, 256]], np.log(power), atol=1e-4)


def test_a_tone_peaks_in_its_bin():
    tone = np.sin(2 * np.pi * 20 * 93.75 * np.arange(4800) / 48_000).astype(np.float32)
    found = log_spectrogram(tone)
    assert (found.argmax(axis=1) == 20).all()
    # A sine of amplitude 1 gives half the sum of the window.
    np.testing.assert_allclose(found[:, 20], 2 * np.log(240 / 2), atol=1e-3)


def test_silence_is_the_floor():
    np.testing.assert_allclose(log_spectrogram(np.zeros(480, np.float32)), np.full((1, 257), np.log(POWER_FLOOR)))


def test_a_slice_of_columns_is_bitwise_the_spectrogram_of_its_samples():
    waveform = _noise(3 * 48_000)
    full = log_spectrogram(waveform)
    assert full.shape[0] == 599
    for m in range(0, 50, 7):
        cut = log_spectrogram(waveform[1920 * m : 1920 * m + 48_000])
        np.testing.assert_array_equal(full[8 * m : 8 * m + 199], cut)


@pytest.mark.parametrize(
    ("waveform", "front_end", "message"),
    [
        (np.zeros((2, 48_000), np.float32), "l3", r"shape \(2, 48000\).* one axis \(mono\)"),
        (np.zeros(479, np.float32), "l3", r"shape \(479,\).*480 samples at 48000 Hz"),
        (np.array([0.0] * 600 + [np.nan, np.inf], np.float32), "l3", "2 samples that are not finite"),
        (np.zeros(48_000, np.float32), "mel", "'mel' is not one of l3, lvs"),
    ],
)
def test_bad_arguments_are_refused(waveform, front_end, message):
    with pytest.raises(ValueError, match=message):
        log_spectrogram(waveform, front_end)
