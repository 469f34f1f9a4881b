"""Synthesised audio: its range, pitch, level and classes, and the oscillators by hand."""

import numpy as np
import pytest
import scipy.signal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from avlearn.media.log_spectrogram import log_spectrogram
from data_builders.synthetic_av import instrument_classes, instruments, synthesise, tones

RATE = 48_000


@pytest.fixture(autouse=True)
def _one_thread():
    """Use one thread: several only slow small matrix products down (builders run a process per core)."""
    with threadpool_limits(1):
        yield


def _sound(name, seed, seconds=3.0):
    return synthesise.sound(name, np.random.default_rng(seed), duration_seconds=seconds)


def test_every_class_has_an_instrument():
    assert set(instruments.INSTRUMENTS) == set(instrument_classes.NAMES)


@pytest.mark.parametrize("name", instrument_classes.NAMES)
def test_sounds_are_in_range_repeatable_and_never_silent(name):
    for seed in range(6):
        audio = _sound(name, seed)
        assert audio.shape == (3 * RATE,)
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
        assert np.abs(audio).max() <= 1
        windows = np.sqrt(np.mean(audio.reshape(6, -1).astype(np.float64) ** 2, axis=1))
        assert windows.min() > 0.1 * synthesise.SOUND_RMS
        assert np.sqrt(np.mean(windows**2)) == pytest.approx(synthesise.SOUND_RMS, rel=0.1)
    with threadpool_limits(2):  # independent of the number of cores
        np.testing.assert_array_equal(audio, _sound(name, seed))
    assert np.corrcoef(audio, _sound(name, seed + 1))[0, 1] < 0.9


def test_every_instrument_plays_at_other_rates():
    for name in instrument_classes.NAMES:
        audio = synthesise.sound(name, np.random.default_rng(0), duration_seconds=1.25, sample_rate_hz=16_000)
        assert audio.shape == (20_000,)
        assert np.isfinite(audio).all()


def _fundamentals(audio):
    """Return the pitch of each tonal 40 ms: 1 / the first lag with an autocorrelation near its maximum."""
    found = []
    for start in range(0, audio.size - 1920, 1920):
        piece = audio[start : start + 1920].astype(np.float64) * np.hanning(1920)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(piece, 4096)) ** 2)[:960]
        correlation /= correlation[0] * (1 - np.arange(960) / 1920) ** 1.5
        lags, _ = scipy.signal.find_peaks(correlation[: RATE // 60])
        lags = lags[lags > 20]
        if lags.size and correlation[lags].max() > 0.8:
            found.append(RATE / lags[correlation[lags] > 0.93 * correlation[lags].max()][0])
    return np.array(found)


@pytest.mark.parametrize("name", ["Flute", "Violin, fiddle", "Saxophone", "Trumpet", "Female singing"])
def test_pitch_stays_in_the_declared_range_and_uses_it(name):
    low, high = instruments.PITCH_HZ[name]
    found = np.concatenate([_fundamentals(_sound(name, seed)) for seed in range(8)])
    assert found.size > 100
    inside = (found > 0.93 * low) & (found < 1.07 * high)
    assert inside.mean() > 0.93
    assert np.percentile(found[inside], 95) > 1.6 * np.percentile(found[inside], 5)


def _pooled(name, seed):
    audio = synthesise.mixture([name], np.random.default_rng(seed), duration_seconds=1.005)
    cells = log_spectrogram(audio)[:, :256].reshape(50, 4, 64, 4).mean(axis=(1, 3))
    return np.concatenate([cells.mean(axis=0), cells.std(axis=0)]), cells.mean()


def test_classes_differ_in_timbre_and_not_in_level():
    def described(seeds):
        found = [(*_pooled(name, (seed, k)), k) for seed in seeds for k, name in enumerate(instrument_classes.NAMES)]
        return tuple(np.array(column) for column in zip(*found, strict=True))

    spectra, level, label = described(range(20))
    new_spectra, new_level, new_label = described(range(100, 110))
    by_timbre = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    assert by_timbre.fit(spectra, label).score(new_spectra, new_label) > 0.8
    assert by_timbre.fit(level[:, None], label).score(new_level[:, None], new_label) < 0.3


def test_mixture_is_its_sources_balanced(monkeypatch):
    monkeypatch.setattr(synthesise, "SNR_DB", (200.0, 200.0))
    balances = []
    for seed in range(8):
        audio = synthesise.mixture(["Flute", "Gong"], np.random.default_rng(seed), duration_seconds=1.0)
        rng = np.random.default_rng(seed)
        flute = synthesise.sound("Flute", rng, duration_seconds=1.0)
        rng.uniform()  # the first source's gain
        gong = synthesise.sound("Gong", rng, duration_seconds=1.0)
        gains, residual, _, _ = np.linalg.lstsq(np.stack([flute, gong], axis=1).astype(np.float64), audio)
        assert residual[0] < 1e-6 * np.sum(audio**2)
        balances.append(20 * np.log10(gains[0] / gains[1]))
    assert max(np.abs(balances)) < 2 * synthesise.BALANCE_DB
    assert max(balances) - min(balances) > 3


def test_mixture_has_level_and_background_within_the_declared_spread(monkeypatch):
    seeds = range(12)
    noisy = [synthesise.mixture(["Flute"], np.random.default_rng(s), duration_seconds=0.5) for s in seeds]
    monkeypatch.setattr(synthesise, "SNR_DB", (200.0, 200.0))
    clean = [synthesise.mixture(["Flute"], np.random.default_rng(s), duration_seconds=0.5) for s in seeds]
    power = np.array([np.mean(x.astype(np.float64) ** 2) for x in clean])
    background = np.array([np.mean((x.astype(np.float64) - y) ** 2) for x, y in zip(noisy, clean, strict=True)])
    levels = 10 * np.log10(power / synthesise.SOUND_RMS**2)
    snr = 10 * np.log10(power / background)
    assert max(np.abs(levels)) < synthesise.LEVEL_DB + 0.1
    assert np.ptp(levels) > 6
    assert 9.9 < snr.min() < 17
    assert 23 < snr.max() < 30.1


def test_an_unknown_class_is_refused():
    with pytest.raises(ValueError, match=r"'Kazoo' has no sound; classes: .*Gong"):
        _sound("Kazoo", 0)
    with pytest.raises(ValueError, match="at least one sounding class"):
        synthesise.mixture([], np.random.default_rng(0), duration_seconds=1.0)


def test_damped_is_the_sum_of_its_partials():
    class Phases:
        def random(self, size):
            return np.linspace(0, 0.7, size)

    hz, amplitudes, decays = np.array([220.0, 3000.0, 23_900.0]), np.array([1, 0.5, 9]), np.array([0.02, 0.1, 1])
    audio = tones.damped_sines(Phases(), 1000, RATE, frequencies_hz=hz, amplitudes=amplitudes, decay_seconds=decays)
    t = np.arange(1000) / RATE
    by_hand = sum(  # the third is beyond the band
        a * np.exp(-t / d) * np.cos(2 * np.pi * (f * t + phase))
        for f, a, d, phase in zip(hz[:2], amplitudes, decays, [0, 0.7], strict=False)
    )
    np.testing.assert_allclose(audio, by_hand, atol=2e-4)


def test_harmonic_has_the_amplitudes_asked_for():
    amplitudes = np.array([1.0, 0.25, 0.5])
    audio = tones.harmonic(440 * np.arange(RATE) / RATE, amplitudes)
    spectrum = np.abs(np.fft.rfft(audio)) / (RATE / 2)
    np.testing.assert_allclose(spectrum[[440, 880, 1320]], amplitudes, atol=2e-3)
    assert np.delete(spectrum, [440, 880, 1320]).max() < 2e-3


def test_band_noise_is_of_unit_power_in_its_band():
    noise = tones.band_noise(np.random.default_rng(0), 16 * RATE, RATE, low_hz=1000, high_hz=4000, slope=1.0)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-3)
    hz, power = scipy.signal.welch(noise, RATE, nperseg=4096)

    def near(centre):
        return power[np.abs(hz - centre) < 100].mean()

    # Pink, halved at either edge, where the other edge takes 1 / 257 more.
    assert near(1000) / near(4000) == pytest.approx(4, rel=0.15)
    assert near(2000) / near(1000) == pytest.approx(0.5 * (257 / 128) * (16 / 17) ** 2, rel=0.15)
    assert near(100) < 0.01 * near(1500)
    assert near(16_000) < 0.01 * near(1500)


def test_level_curves_by_hand():
    seconds = np.array([0.0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(
        tones.strikes(seconds, np.array([-0.1, 0.2]), np.array([1.0, 2.0]), 0.1),
        [np.exp(-1), np.exp(-2), np.exp(-3) + 2, np.exp(-4) + 2 * np.exp(-1)],
    )
    np.testing.assert_allclose(
        tones.breaths(seconds, np.array([-0.1, 0.2]), np.array([1.0, 2.0]), 0.2, 0.05), [0.5, 1.0, 0.0, 1.0]
    )
