"""The sound of the world: one synthesiser for each class, with the variation of real recordings."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from data_builders.synthetic_av import instruments, tones
from data_builders.synthetic_av.performance import Performance

SOUND_RMS = 0.05
LEVEL_DB = 6.0  # a clip is up to this louder or softer than SOUND_RMS
BALANCE_DB = 3.0  # a source in a mixture is up to this louder or softer than the others
SNR_DB = (10.0, 30.0)  # of the clip above its background
_LEAD_SECONDS = 0.5
LOUDNESS_WINDOW_SECONDS = 0.04


def sound(
    class_name: str, rng: np.random.Generator, *, duration_seconds: float, sample_rate_hz: int = 48_000
) -> Float32[np.ndarray, " samples"]:
    """One clean source, in the midst of its playing: mono, of RMS `SOUND_RMS`, |x| <= 1.

    Pitch, tempo, timbre, articulation and room are drawn; no half second is silent.

    Args:
      class_name: display name of a class, a key of `instruments.INSTRUMENTS`.
      rng: source of every draw: the same state gives the same sound.
      duration_seconds: length.
      sample_rate_hz: of the samples.

    Raises:
      ValueError: no such class.
    """
    if class_name not in instruments.INSTRUMENTS:
        raise ValueError(f"class {class_name!r} has no sound; classes: {', '.join(instruments.INSTRUMENTS)}")
    samples = round(duration_seconds * sample_rate_hz)
    lead = round(_LEAD_SECONDS * sample_rate_hz)  # dropped: what is heard at the start has begun before it
    performance = Performance(rng, lead + samples, sample_rate_hz)
    played = _in_a_room(instruments.INSTRUMENTS[class_name](performance), rng, sample_rate_hz)
    return _levelled(played[lead:], SOUND_RMS)


def mixture(
    class_names: Sequence[str], rng: np.random.Generator, *, duration_seconds: float, sample_rate_hz: int = 48_000
) -> Float32[np.ndarray, " samples"]:
    """What the microphone of a clip hears: its sources, at a random level, above a random background; |x| <= 1.

    Args:
      class_names: display names of what sounds, at least one.
      rng: source of every draw: the same state gives the same sound.
      duration_seconds: length.
      sample_rate_hz: of the samples.

    Raises:
      ValueError: no class, or one that has no sound.
    """
    if not class_names:
        raise ValueError("class_names is empty: a clip holds at least one sounding class")
    sources = [
        sound(name, rng, duration_seconds=duration_seconds, sample_rate_hz=sample_rate_hz)
        * _gain(rng.uniform(-BALANCE_DB, BALANCE_DB))
        for name in class_names
    ]
    rms = SOUND_RMS * _gain(rng.uniform(-LEVEL_DB, LEVEL_DB))
    heard = _levelled(np.sum(sources, axis=0), rms)
    background = tones.band_noise(
        rng,
        heard.size,
        sample_rate_hz,
        low_hz=rng.uniform(30, 150),
        high_hz=rng.uniform(4000, 24_000),
        slope=rng.uniform(0, 2),
    )
    return _limited(heard + background * np.float32(rms * _gain(-rng.uniform(*SNR_DB))))


def loudness(
    waveform: Float32[np.ndarray, " samples"], sample_rate_hz: int = 48_000
) -> Float64[np.ndarray, " windows"]:
    """Level of each window of 0.04 s, in decibels, brought to 0 (softest tenth of the clip) to 1 (loudest tenth)."""
    window = round(LOUDNESS_WINDOW_SECONDS * sample_rate_hz)
    windows = waveform[: waveform.size // window * window].reshape(-1, window).astype(np.float64)
    decibels = 10 * np.log10(np.mean(windows**2, axis=1) + 1e-10)
    soft, loud = np.quantile(decibels, [0.1, 0.9])
    return np.clip((decibels - soft) / max(loud - soft, 1.0), 0, 1)


def _gain(decibels: float) -> np.float32:
    return np.float32(10 ** (decibels / 20))


def _in_a_room(played: np.ndarray, rng: np.random.Generator, sample_rate_hz: int) -> np.ndarray:
    """Adds a handful of echoes, weaker the later."""
    heard = played.copy()
    depth = rng.uniform(0.1, 0.5)
    for delay_seconds in rng.uniform(0.008, 0.09, 6):
        delay = round(delay_seconds * sample_rate_hz)
        heard[delay:] += played[:-delay] * np.float32(depth * rng.uniform(-1, 1) * np.exp(-delay_seconds / 0.05))
    return heard


def _levelled(heard: np.ndarray, rms: float) -> np.ndarray:
    return _limited(heard * np.float32(rms / np.sqrt(np.mean(heard**2))))


def _limited(heard: np.ndarray) -> np.ndarray:
    """Bends peaks beyond 0.8 of full scale so that none passes 1."""
    size = np.abs(heard)
    bent = np.float32(0.8) + np.float32(0.2) * np.tanh((size - np.float32(0.8)) / np.float32(0.2))
    return np.where(size > np.float32(0.8), np.copysign(bent, heard), heard).astype(np.float32)
