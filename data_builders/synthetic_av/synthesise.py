"""Synthesises the audio: a sound of each class, with the variation of real recordings, and mixtures."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from data_builders.synthetic_av import instruments, tones
from data_builders.synthetic_av.performance import Performance

SOUND_RMS = 0.05
LEVEL_DB = 6.0  # a clip is louder or softer than SOUND_RMS by up to this
BALANCE_DB = 3.0  # a source in a mixture is louder or softer by up to this
SNR_DB = (10.0, 30.0)  # level of the clip above its background
_LEAD_SECONDS = 0.5
LOUDNESS_WINDOW_SECONDS = 0.04


def sound(
    class_name: str, rng: np.random.Generator, *, duration_seconds: float, sample_rate_hz: int = 48_000
) -> Float32[np.ndarray, " samples"]:
    """Synthesise one clean source, in the middle of its performance: mono, with RMS `SOUND_RMS`, |x| <= 1.

    Pitch, tempo, timbre, articulation and room are random; no half second is silent.

    Args:
      class_name: display name of a class, a key of `instruments.INSTRUMENTS`.
      rng: source of all randomness: the same state gives the same sound.
      duration_seconds: length.
      sample_rate_hz: sample rate, Hz.

    Raises:
      ValueError: the class is unknown.
    """
    if class_name not in instruments.INSTRUMENTS:
        raise ValueError(f"class {class_name!r} has no sound; classes: {', '.join(instruments.INSTRUMENTS)}")
    samples = round(duration_seconds * sample_rate_hz)
    lead = round(_LEAD_SECONDS * sample_rate_hz)  # is dropped, so that notes sound when the clip starts
    performance = Performance(rng, lead + samples, sample_rate_hz)
    played = _add_echoes(instruments.INSTRUMENTS[class_name](performance), rng, sample_rate_hz)
    return _scale_to_rms(played[lead:], SOUND_RMS)


def mixture(
    class_names: Sequence[str], rng: np.random.Generator, *, duration_seconds: float, sample_rate_hz: int = 48_000
) -> Float32[np.ndarray, " samples"]:
    """Synthesise the audio of a clip: its sources at random levels, with background noise; |x| <= 1.

    Args:
      class_names: display names of the sounding classes, at least one.
      rng: source of all randomness: the same state gives the same sound.
      duration_seconds: length.
      sample_rate_hz: sample rate, Hz.

    Raises:
      ValueError: no class is given, or one is unknown.
    """
    if not class_names:
        raise ValueError("class_names is empty: a clip has at least one sounding class")
    sources = [
        sound(name, rng, duration_seconds=duration_seconds, sample_rate_hz=sample_rate_hz)
        * _gain(rng.uniform(-BALANCE_DB, BALANCE_DB))
        for name in class_names
    ]
    rms = SOUND_RMS * _gain(rng.uniform(-LEVEL_DB, LEVEL_DB))
    audio = _scale_to_rms(np.sum(sources, axis=0), rms)
    background = tones.band_noise(
        rng,
        audio.size,
        sample_rate_hz,
        low_hz=rng.uniform(30, 150),
        high_hz=rng.uniform(4000, 24_000),
        slope=rng.uniform(0, 2),
    )
    return _limit_peaks(audio + background * np.float32(rms * _gain(-rng.uniform(*SNR_DB))))


def loudness(
    waveform: Float32[np.ndarray, " samples"], sample_rate_hz: int = 48_000
) -> Float64[np.ndarray, " windows"]:
    """Return the decibels of each window of 0.04 s, scaled to 0 (softest tenth of the clip) to 1 (loudest tenth)."""
    window = round(LOUDNESS_WINDOW_SECONDS * sample_rate_hz)
    windows = waveform[: waveform.size // window * window].reshape(-1, window).astype(np.float64)
    decibels = 10 * np.log10(np.mean(windows**2, axis=1) + 1e-10)
    soft, loud = np.quantile(decibels, [0.1, 0.9])
    return np.clip((decibels - soft) / max(loud - soft, 1.0), 0, 1)


def _gain(decibels: float) -> np.float32:
    return np.float32(10 ** (decibels / 20))


def _add_echoes(played: np.ndarray, rng: np.random.Generator, sample_rate_hz: int) -> np.ndarray:
    """Add a few echoes; later ones are weaker."""
    audio = played.copy()
    depth = rng.uniform(0.1, 0.5)
    for delay_seconds in rng.uniform(0.008, 0.09, 6):
        delay = round(delay_seconds * sample_rate_hz)
        audio[delay:] += played[:-delay] * np.float32(depth * rng.uniform(-1, 1) * np.exp(-delay_seconds / 0.05))
    return audio


def _scale_to_rms(audio: np.ndarray, rms: float) -> np.ndarray:
    return _limit_peaks(audio * np.float32(rms / np.sqrt(np.mean(audio**2))))


def _limit_peaks(audio: np.ndarray) -> np.ndarray:
    """Compress peaks beyond 0.8 of full scale so that none exceeds 1."""
    size = np.abs(audio)
    bent = np.float32(0.8) + np.float32(0.2) * np.tanh((size - np.float32(0.8)) / np.float32(0.2))
    return np.where(size > np.float32(0.8), np.copysign(bent, audio), audio).astype(np.float32)
