"""Tools that the instruments share: a tempo, a melody, curves of pitch and level, struck notes."""

import dataclasses
import functools

import numpy as np

from data_builders.synthetic_av import tones


@dataclasses.dataclass(frozen=True)
class Performance:
    """A clip for an instrument to play.

    Attributes:
      rng: source of all randomness.
      samples: number of samples.
      sample_rate_hz: sample rate.
    """

    rng: np.random.Generator
    samples: int
    sample_rate_hz: int

    @functools.cached_property
    def seconds(self) -> np.ndarray:
        """Times of the control curves."""
        return np.arange(self.samples * tones.CONTROL_HZ // self.sample_rate_hz + 2) / tones.CONTROL_HZ

    def onsets(self, shortest: float, longest: float, unevenness: float = 0.1) -> np.ndarray:
        """Draw the times at which notes begin, with a mean interval between two bounds; the first is not after 0."""
        interval = self.rng.uniform(shortest, longest)
        count = int(self.seconds[-1] / interval) + 2
        beats = np.arange(count) - self.rng.random() + self.rng.uniform(-unevenness, unevenness, count)
        beats[0] = min(beats[0], 0)
        return interval * beats

    def melody(self, notes: int, lowest_hz: float, highest_hz: float) -> np.ndarray:
        """Draw the fundamentals of successive notes: steps of a scale with a random tuning, within the range."""
        span = 12 * np.log2(highest_hz / lowest_hz)
        width = self.rng.uniform(4, 12)
        centre = self.rng.uniform(0, span)
        steps = np.round(np.clip(self.rng.normal(centre, width / 3, notes), 0, np.floor(span)))
        tuning = self.rng.uniform(0, span - np.floor(span))
        return lowest_hz * 2 ** ((steps + tuning) / 12)

    def at_audio_rate(self, curve: np.ndarray) -> np.ndarray:
        """Interpolate a control curve at every sample, float32."""
        positions = np.arange(self.samples) * (tones.CONTROL_HZ / self.sample_rate_hz)
        return np.interp(positions, np.arange(curve.size), curve).astype(np.float32)

    def cycles(self, pitch_hz: np.ndarray) -> np.ndarray:
        """Return the running phase, in periods, of a tone whose pitch is a control curve."""
        phase = np.concatenate([[0], np.cumsum(pitch_hz[:-1])]) / tones.CONTROL_HZ
        positions = np.arange(self.samples) * (tones.CONTROL_HZ / self.sample_rate_hz)
        return np.interp(positions, np.arange(phase.size), phase)

    def legato_pitch(self, onsets, notes_hz, *, glide_seconds: float, vibrato: float, vibrato_hz: float) -> np.ndarray:
        """Return the pitch curve of legato notes; each slides in from the previous one, with relative vibrato depth."""
        note = np.searchsorted(onsets, self.seconds, side="right") - 1
        before = np.append(notes_hz[:1], notes_hz[:-1])
        slide = np.exp(-(self.seconds - onsets[note]) / glide_seconds)
        pitch = notes_hz[note] * (before / notes_hz)[note] ** slide
        phase = 2 * np.pi * (vibrato_hz * self.seconds + self.rng.random())
        return pitch * (1 + vibrato * np.sin(phase))

    def levels(self, notes: int, spread_db: float = 4.0) -> np.ndarray:
        """Draw the level of each note."""
        return 10 ** (self.rng.uniform(-spread_db, spread_db, notes) / 20)

    def noise(self, low_hz: float, high_hz: float, slope: float = 0.0) -> np.ndarray:
        """Draw noise of RMS 1 in a band, for the complete clip."""
        return tones.band_noise(
            self.rng, self.samples, self.sample_rate_hz, low_hz=low_hz, high_hz=high_hz, slope=slope
        )

    def struck(self, onsets, levels, ring_seconds: float, partials) -> np.ndarray:
        """Sum decaying notes; `partials(i)` returns frequencies, amplitudes and decay times of note `i`."""
        played = np.zeros(self.samples, np.float32)
        ring = round(ring_seconds * self.sample_rate_hz)
        fade = np.linspace(1, 0, ring, dtype=np.float32)
        for i, (onset, level) in enumerate(zip(onsets, levels, strict=True)):
            start = round(onset * self.sample_rate_hz)
            frequencies, amplitudes, decays = partials(i)
            note = fade * tones.damped_sines(
                self.rng,
                ring,
                self.sample_rate_hz,
                frequencies_hz=frequencies,
                amplitudes=amplitudes * level,
                decay_seconds=decays,
            )
            note = note[max(0, -start) : max(0, self.samples - start)]
            played[max(0, start) : max(0, start) + note.size] += note
        return played
