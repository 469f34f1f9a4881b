"""Reconstructs playable audio from log-spectrograms, since most records store no waveform."""

import inspect
import io

import av
import librosa
import numpy as np
from jaxtyping import Float, Float32

from avlearn.media.log_spectrogram import FRONT_ENDS

GRIFFIN_LIM_ITERATIONS = 16
PEAK = 0.9
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def waveform(
    log_spectrogram: Float[np.ndarray, "columns bins"], front_end: str = "l3"
) -> Float32[np.ndarray, " samples"]:
    """Reconstruct a waveform; Griffin-Lim estimates the phases, which a spectrogram lacks.

    The level is that of the recording, unless it has to be lowered to avoid clipping.

    Args:
      log_spectrogram: natural log of power, not normalised, time first.
      front_end: the audio front end that made it, a name in `avlearn.media.log_spectrogram.FRONT_ENDS`.

    Returns:
      `(columns - 1) * hop` samples within -0.9 to 0.9, mono. The result is deterministic.

    Raises:
      ValueError: the front end is unknown, or its number of bins differs.
    """
    if front_end not in FRONT_ENDS:
        raise ValueError(f"front_end={front_end!r} is not one of {', '.join(FRONT_ENDS)}")
    spec = FRONT_ENDS[front_end]
    if log_spectrogram.shape[1] != spec.bins:
        raise ValueError(
            f"a log-spectrogram of shape {log_spectrogram.shape} (columns, bins) does not fit the front end "
            f"{front_end!r}, which has {spec.bins} bins"
        )
    seed = "rng" if "rng" in inspect.signature(librosa.griffinlim).parameters else "random_state"  # before librosa 1.0
    samples = librosa.griffinlim(
        np.exp(0.5 * log_spectrogram.T.astype(np.float32)),
        n_iter=GRIFFIN_LIM_ITERATIONS,
        hop_length=spec.hop_samples,
        win_length=spec.window_samples,
        n_fft=spec.fft_samples,
        **{seed: 0},
    )
    peak = np.abs(samples).max()
    return samples * np.float32(PEAK / peak) if peak > PEAK else samples


def mp3(samples: Float32[np.ndarray, " samples"], sample_rate_hz: int, bits_per_second: int = 64_000) -> bytes:
    """Encode a waveform as a mono MP3 file, which every browser plays.

    MP3 allows nine sample rates: other rates are resampled to the next higher one, or to 48 kHz if they are above it.
    """
    rate = min((rate for rate in MP3_RATES_HZ if rate >= sample_rate_hz), default=MP3_RATES_HZ[-1])
    samples = librosa.resample(samples, orig_sr=sample_rate_hz, target_sr=rate)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=rate, layout="mono", bit_rate=bits_per_second)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
