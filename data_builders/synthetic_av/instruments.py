"""Synthesises the sixteen instruments: their partials, attacks, decays and pitches, and the variation of each."""

import numpy as np
import scipy.signal

from data_builders.synthetic_av import tones
from data_builders.synthetic_av.performance import Performance
from data_builders.synthetic_av.tones import breaths, resonances, strikes

# Range of the fundamentals, Hz, of instruments that have one. The other notes of a chord are higher.
PITCH_HZ = {
    "Acoustic guitar": (110, 400),
    "Electric guitar": (80, 330),
    "Violin, fiddle": (280, 1000),
    "Piano": (130, 700),
    "Accordion": (170, 520),
    "Flute": (500, 1500),
    "Saxophone": (140, 520),
    "Trumpet": (230, 800),
    "Church bell": (250, 700),
    "Female singing": (230, 700),
}


def acoustic_guitar(play: Performance) -> np.ndarray:
    """Play plucked notes: higher partials decay faster; the plucking point adds a comb filter, the body resonances."""
    rng = play.rng
    onsets = play.onsets(0.16, 0.38)
    notes = play.melody(onsets.size, *PITCH_HZ["Acoustic guitar"])
    pluck, softness, decay = rng.uniform(0.12, 0.3), rng.uniform(0.9, 1.5), rng.uniform(0.25, 0.7)
    order = np.arange(1, 31)
    body = (rng.uniform(90, 130), rng.uniform(180, 260), rng.uniform(380, 600))

    def partials(i):
        hz = notes[i] * order
        amplitudes = np.abs(np.sin(np.pi * pluck * order)) / order**softness * resonances(hz, body, (60, 80, 200), 0.5)
        return hz, amplitudes, decay / (1 + 0.15 * order)

    finger = play.at_audio_rate(strikes(play.seconds, onsets, play.levels(onsets.size), 0.008))
    strings = play.struck(onsets, play.levels(onsets.size), 1.0, partials)
    return strings + rng.uniform(0.02, 0.1) * finger * play.noise(1500, 6000)


def electric_guitar(play: Performance) -> np.ndarray:
    """Play sustained power chords, distorted, through a loudspeaker that cuts off at about 5 kHz."""
    rng = play.rng
    onsets = play.onsets(0.22, 0.55)
    notes = play.melody(onsets.size, *PITCH_HZ["Electric guitar"])
    order = np.arange(1, 21)
    fifth = rng.choice([0.0, 0.8])

    def partials(i):
        hz = np.concatenate([notes[i] * order, 1.5 * notes[i] * order])
        amplitudes = np.concatenate([1 / order, fifth / order])
        return hz, amplitudes, np.tile(1.6 / (1 + 0.08 * order), 2)

    strings = play.struck(onsets, play.levels(onsets.size, 2), 0.9, partials)
    distorted = np.tanh(strings * np.float32(rng.uniform(1.5, 8)))
    speaker = scipy.signal.butter(3, rng.uniform(3500, 6000), fs=play.sample_rate_hz)
    return scipy.signal.lfilter(*(c.astype(np.float32) for c in speaker), distorted)


def violin(play: Performance) -> np.ndarray:
    """Play bowed notes: legato sawtooth tones with vibrato, resonances of the body up to 4 kHz, some bow noise."""
    rng = play.rng
    onsets = play.onsets(0.22, 0.7)
    notes = play.melody(onsets.size, *PITCH_HZ["Violin, fiddle"])
    pitch = play.legato_pitch(
        onsets, notes, glide_seconds=0.012, vibrato=rng.uniform(0.003, 0.012), vibrato_hz=rng.uniform(5, 7)
    )
    order = np.arange(1, int(16_000 / notes.mean()))
    body = (rng.uniform(400, 560), rng.uniform(900, 1300), rng.uniform(2300, 3300))
    amplitudes = resonances(notes.mean() * order, body, (150, 300, 800), 0.25) / order ** rng.uniform(0.7, 1.0)
    bow = play.at_audio_rate(breaths(play.seconds, onsets, play.levels(onsets.size), rng.uniform(0.03, 0.1), 0.05))
    return bow * (tones.harmonic(play.cycles(pitch), amplitudes) + rng.uniform(0.02, 0.08) * play.noise(2000, 9000))


def piano(play: Performance) -> np.ndarray:
    """Play chords of one to three notes: stretched partials that decay quickly, and the knock of the hammer."""
    rng = play.rng
    onsets = play.onsets(0.2, 0.5)
    notes = play.melody(onsets.size, *PITCH_HZ["Piano"])
    stretch, softness = rng.uniform(2e-4, 8e-4), rng.uniform(1.3, 2.0)
    decay, voices = rng.uniform(0.5, 1.2), rng.integers(1, 4)
    order = np.arange(1, 15)

    def partials(i):
        intervals = 2 ** (rng.choice([(0, 4, 7), (0, 3, 7), (0, 5, 9)])[:voices] / 12)
        stretched = order * np.sqrt(1 + stretch * order**2)
        hz = np.multiply.outer(notes[i] * intervals, stretched).reshape(-1)
        amplitudes = np.tile(1 / order**softness, voices)
        return hz, amplitudes, np.tile(decay / (1 + 0.3 * order), voices)

    knock = play.at_audio_rate(strikes(play.seconds, onsets, play.levels(onsets.size), 0.015))
    strings = play.struck(onsets, play.levels(onsets.size), 1.2, partials)
    return strings + rng.uniform(0.03, 0.12) * knock * play.noise(150, 900)


def accordion(play: Performance) -> np.ndarray:
    """Play chords of paired reeds that beat: bright and steady, with slowly swelling bellows."""
    rng = play.rng
    onsets = play.onsets(0.4, 1.1)
    roots = play.melody(onsets.size, *PITCH_HZ["Accordion"])
    beat_hz, brightness = rng.uniform(3, 8), rng.uniform(0.5, 0.9)
    chord = 2 ** (np.array(rng.choice([(0, 4, 7), (0, 3, 7), (0, 7, 12)])) / 12)
    played = np.zeros(play.samples, np.float32)
    order = np.arange(1, 40)
    amplitudes = np.where(order % 2 == 1, 1.0, 0.7) / order**brightness
    amplitudes = amplitudes[order * roots.max() * chord[-1] < 22_000]
    pitch = play.legato_pitch(onsets, roots, glide_seconds=0.002, vibrato=0.0, vibrato_hz=0.0)
    cycles = play.cycles(pitch)
    beats = play.cycles(np.full_like(pitch, beat_hz))
    for interval in chord:
        played += tones.harmonic(cycles * interval, amplitudes) + tones.harmonic(cycles * interval + beats, amplitudes)
    bellows = 1 + 0.4 * np.sin(2 * np.pi * (rng.uniform(0.3, 1) * play.seconds + rng.random()))
    return played * play.at_audio_rate(bellows * breaths(play.seconds, onsets, play.levels(onsets.size, 2), 0.03, 0.03))


def snare_drum(play: Performance) -> np.ndarray:
    """Play short bursts of wire noise over a tuned skin, some of them in rolls."""
    rng = play.rng
    beats = play.onsets(0.18, 0.45, 0.05)
    interval = np.diff(beats).mean()
    rolled = beats[rng.random(beats.size) < rng.uniform(0, 0.6)]
    onsets = np.sort(np.concatenate([beats, *(rolled + interval * k / 4 for k in (1, 2, 3))]))
    levels = play.levels(onsets.size)
    skin = (rng.uniform(170, 260) * np.array([1, 1.6, 2.2]), np.array([1, 0.5, 0.3]), rng.uniform(0.03, 0.08))
    wires = play.at_audio_rate(strikes(play.seconds, onsets, levels, rng.uniform(0.03, 0.09)))
    noise = play.noise(rng.uniform(700, 1800), rng.uniform(7000, 13_000))
    return play.struck(onsets, levels, 0.25, lambda i: skin) + rng.uniform(0.4, 1.2) * wires * noise


def bass_drum(play: Performance) -> np.ndarray:
    """Play a low skin whose pitch drops after each stroke, with the click of the beater."""
    rng = play.rng
    onsets = play.onsets(0.22, 0.48, 0.06)
    levels = play.levels(onsets.size)
    drop = strikes(play.seconds, onsets, np.ones(onsets.size), rng.uniform(0.02, 0.05))
    cycles = play.cycles(rng.uniform(48, 95) * (1 + rng.uniform(0.6, 2) * np.minimum(drop, 1)))
    skin = play.at_audio_rate(strikes(play.seconds, onsets, levels, rng.uniform(0.1, 0.22)))
    beater = play.at_audio_rate(strikes(play.seconds, onsets, levels, rng.uniform(0.004, 0.01)))
    overtones = np.array([1, rng.uniform(0.1, 0.3), rng.uniform(0.02, 0.1)])
    return skin * tones.harmonic(cycles, overtones) + rng.uniform(0.1, 0.5) * beater * play.noise(600, 3500)


def cymbal(play: Performance) -> np.ndarray:
    """Play hiss above about 4 kHz with a bright attack and a long decay, and shimmering inharmonic partials."""
    rng = play.rng
    onsets = play.onsets(0.25, 0.8)
    levels = play.levels(onsets.size)
    decay = rng.uniform(0.25, 0.9)
    hiss = play.at_audio_rate(strikes(play.seconds, onsets, levels, decay))
    stick = play.at_audio_rate(strikes(play.seconds, onsets, levels, 0.02))
    metal = (np.exp(rng.uniform(np.log(2500), np.log(14_000), 40)), rng.uniform(0.05, 0.2, 40), decay)
    shimmer = play.struck(onsets, levels, 1.2, lambda i: metal)
    return shimmer + hiss * play.noise(rng.uniform(3500, 6500), 18_000) + 0.8 * stick * play.noise(2000, 12_000)


def flute(play: Performance) -> np.ndarray:
    """Play high notes, almost sines, with breath noise around the tone and vibrato of the loudness."""
    rng = play.rng
    onsets = play.onsets(0.18, 0.6)
    notes = play.melody(onsets.size, *PITCH_HZ["Flute"])
    vibrato_hz = rng.uniform(4, 6)
    pitch = play.legato_pitch(onsets, notes, glide_seconds=0.01, vibrato=0.004, vibrato_hz=vibrato_hz)
    amplitudes = np.array([1, rng.uniform(0.1, 0.4), rng.uniform(0.03, 0.12), rng.uniform(0.01, 0.04)])
    tremolo = 1 + rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * vibrato_hz * play.seconds)
    blown = tremolo * breaths(play.seconds, onsets, play.levels(onsets.size, 3), rng.uniform(0.03, 0.08), 0.03)
    breath = rng.uniform(0.06, 0.2) * play.noise(notes.mean() * 0.8, rng.uniform(4000, 8000))
    return play.at_audio_rate(blown) * (tones.harmonic(play.cycles(pitch), amplitudes) + breath)


def saxophone(play: Performance) -> np.ndarray:
    """Play a reed with broad formants; notes are scooped from below, and some growl."""
    rng = play.rng
    onsets = play.onsets(0.18, 0.6)
    notes = play.melody(onsets.size, *PITCH_HZ["Saxophone"])
    pitch = play.legato_pitch(onsets, notes, glide_seconds=0.01, vibrato=rng.uniform(0, 0.01), vibrato_hz=5.0)
    scoop = strikes(play.seconds, onsets, np.full(onsets.size, rng.uniform(0.03, 0.1)), 0.03)
    order = np.arange(1, int(9000 / notes.mean()))
    bore = (rng.uniform(500, 750), rng.uniform(1100, 1500), rng.uniform(2200, 3000))
    amplitudes = resonances(notes.mean() * order, bore, (250, 300, 400), 0.08) / order**0.5
    growl = 1 + rng.choice([0.0, 0.6]) * np.sin(2 * np.pi * rng.uniform(22, 40) * play.seconds)
    blown = growl * breaths(play.seconds, onsets, play.levels(onsets.size, 3), rng.uniform(0.015, 0.05), 0.03)
    reed = tones.harmonic(play.cycles(pitch * (1 - scoop)), amplitudes) + rng.uniform(0.02, 0.08) * play.noise(
        900, 5000
    )
    return play.at_audio_rate(blown) * reed


def trumpet(play: Performance) -> np.ndarray:
    """Play repeated brass notes with a hard attack; louder notes are brighter."""
    rng = play.rng
    onsets = play.onsets(0.12, 0.42)
    notes = play.melody(onsets.size, *PITCH_HZ["Trumpet"])
    pitch = play.legato_pitch(onsets, notes, glide_seconds=0.006, vibrato=rng.uniform(0, 0.006), vibrato_hz=5.5)
    order = np.arange(1, int(18_000 / notes.mean()))
    bell = resonances(notes.mean() * order, (1200, 2600), (700, 1200), 0.2)
    cycles = play.cycles(pitch)
    level = breaths(play.seconds, onsets, play.levels(onsets.size, 3), 0.015, 0.025)
    level = level * (0.5 + 0.5 * strikes(play.seconds, onsets, np.ones(onsets.size), rng.uniform(0.1, 0.4)))
    blown = play.at_audio_rate(level / level.max())
    dark = tones.harmonic(cycles, bell / order**2)
    bright = tones.harmonic(cycles, bell / order ** rng.uniform(0.3, 0.6))
    return blown * (dark + blown * bright)


def church_bell(play: Performance) -> np.ndarray:
    """Play one or several bells: hum, prime, minor third, fifth, nominal and higher partials, with long decays."""
    rng = play.rng
    onsets = play.onsets(0.35, 0.9)
    ring = play.melody(rng.integers(1, 5), *PITCH_HZ["Church bell"])
    notes = rng.choice(ring, onsets.size)
    ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.51, 2.66, 3.01, 4.17, 5.43, 6.8, 8.2, 9.7])
    ratios = ratios * rng.normal(1, 0.006, ratios.size)
    amplitudes = np.array([0.5, 0.8, 0.8, 0.4, 1, 0.5, 0.4, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15]) * rng.uniform(0.5, 1.5, 13)
    decays = rng.uniform(1, 2) * np.minimum(1.5, 2 / ratios)
    return play.struck(onsets, play.levels(onsets.size), 2.2, lambda i: (notes[i] * ratios, amplitudes, decays))


def gong(play: Performance) -> np.ndarray:
    """Play low, dense sounds: many inharmonic partials; the high ones swell after the stroke."""
    rng = play.rng
    onsets = play.onsets(0.7, 1.3)
    levels = play.levels(onsets.size)
    base = rng.uniform(60, 150)
    low = (base * np.exp(rng.uniform(0, 2.2, 30)), rng.uniform(0.2, 1, 30), rng.uniform(1, 2))
    swell = strikes(play.seconds, onsets, levels, 0.9) - strikes(play.seconds, onsets, levels, rng.uniform(0.08, 0.25))
    wash = play.noise(base * 5, rng.uniform(2000, 4500), 1.0)
    return play.struck(onsets, levels, 2.5, lambda i: low) + rng.uniform(0.8, 2.5) * play.at_audio_rate(swell) * wash


def hammer(play: Performance) -> np.ndarray:
    """Play uneven blows: a click, a thud of wood and a short clink of metal."""
    rng = play.rng
    onsets = play.onsets(0.16, 0.42, 0.3)
    levels = play.levels(onsets.size, 6)
    wood = np.exp(rng.uniform(np.log(250), np.log(1600), 6))
    metal = np.exp(rng.uniform(np.log(2200), np.log(9000), 8))
    hz = np.concatenate([wood, metal])
    amplitudes = np.concatenate([rng.uniform(0.5, 1, 6), rng.uniform(0.1, 0.5, 8)])
    decays = np.concatenate([rng.uniform(0.015, 0.04, 6), rng.uniform(0.03, 0.12, 8)])
    click = play.at_audio_rate(strikes(play.seconds, onsets, levels, 0.003))
    return play.struck(onsets, levels, 0.4, lambda i: (hz, amplitudes, decays)) + 1.5 * click * play.noise(800, 16_000)


def drill(play: Performance) -> np.ndarray:
    """Play the buzz and whine of a motor with grinding noise; its speed varies and drops under load."""
    rng = play.rng
    waver = np.interp(play.seconds, np.linspace(0, play.seconds[-1], 12), rng.normal(0, 0.05, 12))
    load = play.onsets(0.4, 1.2)
    speed = 1 + waver - rng.uniform(0, 0.3) * strikes(play.seconds, load, np.ones(load.size), 0.3)
    cycles = play.cycles(rng.uniform(70, 180) * np.maximum(speed, 0.3))
    buzz = tones.harmonic(cycles, rng.uniform(0.3, 1, 60) / np.arange(1, 61) ** rng.uniform(0.2, 0.6))
    whine = tones.harmonic(cycles * rng.integers(14, 30), np.array([1, 0.4, 0.3]))
    grind = play.noise(rng.uniform(800, 2000), rng.uniform(8000, 16_000))
    return buzz + rng.uniform(1, 4) * whine + rng.uniform(0.5, 2) * grind


def female_singing(play: Performance) -> np.ndarray:
    """Sing: wide vibrato, formants that change with the vowel, slides from note to note."""
    rng = play.rng
    onsets = play.onsets(0.28, 0.8)
    notes = play.melody(onsets.size, *PITCH_HZ["Female singing"])
    pitch = play.legato_pitch(
        onsets, notes, glide_seconds=0.05, vibrato=rng.uniform(0.012, 0.03), vibrato_hz=rng.uniform(5, 6.5)
    )
    vowels = ((850, 1400, 2900), (350, 2500, 3200), (450, 900, 2850), (600, 2100, 3000), (370, 800, 2800))
    order = np.arange(1, int(9000 / notes.mean()))
    cycles = play.cycles(pitch)
    sung = breaths(play.seconds, onsets, play.levels(onsets.size, 3), 0.06, 0.05)
    vowel = rng.integers(0, 2, onsets.size)
    mix = play.at_audio_rate(np.interp(play.seconds, onsets + 0.05, vowel))
    first, second = (
        tones.harmonic(cycles, resonances(notes.mean() * order, vowels[v], (90, 120, 200), 0.02) / order**0.7)
        for v in rng.choice(len(vowels), 2, replace=False)
    )
    breath = rng.uniform(0.01, 0.04) * play.noise(2500, 9000)
    return play.at_audio_rate(sung) * (first + mix * (second - first) + breath)


INSTRUMENTS = {
    "Acoustic guitar": acoustic_guitar,
    "Electric guitar": electric_guitar,
    "Violin, fiddle": violin,
    "Piano": piano,
    "Accordion": accordion,
    "Snare drum": snare_drum,
    "Bass drum": bass_drum,
    "Cymbal": cymbal,
    "Flute": flute,
    "Saxophone": saxophone,
    "Trumpet": trumpet,
    "Church bell": church_bell,
    "Gong": gong,
    "Hammer": hammer,
    "Drill": drill,
    "Female singing": female_singing,
}
