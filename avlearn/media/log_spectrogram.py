"""Log-spectrograms of a waveform by the papers' audio front ends."""

import dataclasses

import numpy as np
from jaxtyping import Float32

POWER_FLOOR = 1e-7


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """Window, hop and transform of a log-spectrogram.

    Attributes:
      sample_rate_hz: rate of the waveform.
      window_samples: length of the Hann window; column `j` covers samples `[j * hop, j * hop + window)`.
      hop_samples: distance between columns.
      fft_samples: length of the transform; the window is zero-padded to it.
    """

    sample_rate_hz: int
    window_samples: int
    hop_samples: int
    fft_samples: int

    @property
    def bins(self) -> int:
        """Return the frequency bins of a column: bin `b` is at `b * sample_rate_hz / fft_samples` Hz."""
        return self.fft_samples // 2 + 1

    def seconds(self, columns: int) -> float:
        """Return how many seconds of sound a number of columns covers."""
        return ((columns - 1) * self.hop_samples + self.window_samples) / self.sample_rate_hz if columns else 0.0


FRONT_ENDS = {
    # Look, Listen and Learn, section 2; Objects that Sound, section 2: window of 0.01 s, half overlap, 257 bins.
    "l3": FrontEnd(sample_rate_hz=48_000, window_samples=480, hop_samples=240, fft_samples=512),
    # Localizing Visual Sounds the Hard Way, released code: window of 512 samples, overlap of 274.
    # DIFFERS: LVS's code takes a density under a Tukey window and subtracts the mean; here every window is Hann's.
    "lvs": FrontEnd(sample_rate_hz=16_000, window_samples=512, hop_samples=238, fft_samples=512),
}


def log_spectrogram(waveform: np.ndarray, front_end: str = "l3") -> Float32[np.ndarray, "columns bins"]:
    """Return the natural log of the short-time Fourier transform's power, `ln(max(power, 1e-7))`, without padding.

    A column depends on its own samples only, so consecutive columns of a long waveform are bit for bit the spectrogram
    of those samples: one second (199 columns of `l3`) can be cut from a clip's spectrogram without the waveform.

    Args:
      waveform: `[samples]`, mono, full scale 1, at the front end's sample rate.
      front_end: a name in `FRONT_ENDS`.

    Returns:
      The spectrogram, time first, not normalised.

    Raises:
      ValueError: the front end is unknown, or the waveform is not finite, not mono or shorter than one window.
    """
    if front_end not in FRONT_ENDS:
        raise ValueError(f"front_end={front_end!r} is not one of {', '.join(FRONT_ENDS)}")
    spec = FRONT_ENDS[front_end]
    if waveform.ndim != 1 or waveform.size < spec.window_samples:
        raise ValueError(
            f"waveform has shape {waveform.shape}; front end {front_end!r} takes one axis (mono) of at least one "
            f"window, {spec.window_samples} samples at {spec.sample_rate_hz} Hz"
        )
    if not np.isfinite(waveform).all():
        raise ValueError(f"waveform holds {np.count_nonzero(~np.isfinite(waveform))} samples that are not finite")
    # In single precision the rounding errors of a loud column would exceed the floor. Librosa is not used, because its
    # first call takes seconds in every process, and many processes build a dataset.
    columns = np.lib.stride_tricks.sliding_window_view(waveform, spec.window_samples)[:: spec.hop_samples]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.window_samples) / spec.window_samples)
    spectrum = np.fft.rfft(columns * hann, n=spec.fft_samples)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(np.maximum(power, POWER_FLOOR).astype(np.float32))
