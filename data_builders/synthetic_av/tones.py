"""Oscillators, envelopes and noise for the instruments."""

import numpy as np
import scipy.fft

CONTROL_HZ = 1000  # rate of pitch and level curves
_BLOCK = 256
_TABLE = 16_384


def damped_sines(
    rng: np.random.Generator,
    samples: int,
    sample_rate_hz: int,
    *,
    frequencies_hz: np.ndarray,
    amplitudes: np.ndarray,
    decay_seconds: np.ndarray | float,
) -> np.ndarray:
    """Sum sines that decay exponentially, each with a random phase: float32 `[samples]`.

    A sample's index splits into a block and an offset in the block, and `exp(s * n)` into a product of the two: the sum
    over partials is one matrix product, ten times as fast as a sine for every partial.

    Args:
      rng: draws the phases.
      samples: length.
      sample_rate_hz: partials above half of it are left out.
      frequencies_hz: `[partials]`.
      amplitudes: `[partials]`.
      decay_seconds: `[partials]` or one for all: time to `1 / e`.
    """
    audible = frequencies_hz < 0.49 * sample_rate_hz
    rates = (2j * np.pi * frequencies_hz - 1 / np.broadcast_to(decay_seconds, audible.shape))[audible] / sample_rate_hz
    start = amplitudes[audible] * np.exp(2j * np.pi * rng.random(rates.size))
    blocks = np.exp(np.multiply.outer(_BLOCK * np.arange(-(-samples // _BLOCK)), rates)) * start
    offsets = np.exp(np.multiply.outer(rates, np.arange(_BLOCK)))
    left = np.concatenate([blocks.real, -blocks.imag], axis=1).astype(np.float32)
    right = np.concatenate([offsets.real, offsets.imag], axis=0).astype(np.float32)
    # Not `left @ right`, whose rounding depends on the number of BLAS threads, and so on the machine.
    return np.einsum("bp,pn->bn", left, right).reshape(-1)[:samples]


def harmonic(cycles: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Synthesise a periodic tone: float32, shaped as `cycles`.

    Args:
      cycles: running phase, in periods, 0 or more.
      amplitudes: `[harmonics]`, from the fundamental upwards.
    """
    # Schroeder's phases spread the harmonics over the period: a tone, not a train of clicks.
    order = np.arange(1, amplitudes.size + 1)
    phases = np.exp(-1j * np.pi * order * (order - 1) / amplitudes.size)
    spectrum = np.concatenate([[0], amplitudes * phases])
    table = (scipy.fft.irfft(spectrum, _TABLE) * (_TABLE / 2)).astype(np.float32)
    return table[(cycles * _TABLE).astype(np.int32) & (_TABLE - 1)]


def band_noise(
    rng: np.random.Generator, samples: int, sample_rate_hz: int, *, low_hz: float, high_hz: float, slope: float = 0.0
) -> np.ndarray:
    """Draw noise of RMS 1 between two frequencies (edges an octave wide): float32 `[samples]`.

    Args:
      rng: source of all randomness.
      samples: length.
      sample_rate_hz: sample rate, Hz.
      low_hz: lower frequency at which the power is halved.
      high_hz: upper frequency at which the power is halved.
      slope: power falls as `frequency ** -slope`: 0 white, 1 pink, 2 brown.
    """
    size = scipy.fft.next_fast_len(samples, real=True)
    hz = np.arange(1, size // 2 + 2, dtype=np.float32) * np.float32(sample_rate_hz / size)
    shape = hz ** np.float32(-slope / 2) / np.sqrt((1 + (low_hz / hz) ** 4) * (1 + (hz / high_hz) ** 4))
    draws = rng.standard_normal((hz.size, 2), dtype=np.float32) * shape[:, None].astype(np.float32)
    noise = scipy.fft.irfft(draws.view(np.complex64)[:, 0], size)[:samples]
    return noise / np.sqrt(np.mean(noise**2))


def strikes(seconds: np.ndarray, onsets: np.ndarray, levels: np.ndarray, decay_seconds: float) -> np.ndarray:
    """Return the level curve of struck notes at the times `seconds`: a jump at each onset, then decay."""
    since = seconds[:, None] - onsets
    return np.where(since >= 0, levels * np.exp(-np.maximum(since, 0) / decay_seconds), 0.0).sum(axis=1)


def breaths(
    seconds: np.ndarray, onsets: np.ndarray, levels: np.ndarray, attack_seconds: float, release_seconds: float
) -> np.ndarray:
    """Return the level curve of blown and bowed notes at the times `seconds`: each lasts until the next onset."""
    note = np.searchsorted(onsets, seconds, side="right") - 1
    ends = np.append(onsets[1:], np.inf)
    rise = np.clip((seconds - onsets[note]) / attack_seconds, 0, 1)
    fall = np.clip((ends[note] - seconds) / release_seconds, 0, 1)
    return levels[note] * rise * fall


def resonances(hz: np.ndarray, centres_hz, widths_hz, floor: float = 0.05) -> np.ndarray:
    """Return the gain of a body or throat at some frequencies, with peaks at its resonances."""
    peaks = [1 / (1 + ((hz - centre) / width) ** 2) for centre, width in zip(centres_hz, widths_hz, strict=True)]
    return floor + np.sum(peaks, axis=0)
