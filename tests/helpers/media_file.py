"""Real media files for tests: a flash and a click at known times, in any container and codec that PyAV writes."""

from fractions import Fraction

import av
import numpy as np

RATE = 48_000
CLOCK = 12_000  # of the pictures, 1 / s: fine, so that a track can start between two frames


def flashing(times, flash_seconds, size=(64, 96)):
    """One picture a time: grey that turns white for 0.2 s."""
    lit = [flash_seconds - 1e-6 <= t < flash_seconds + 0.2 for t in times]
    return [np.full((*size, 3), 235 if on else 60, np.uint8) for on in lit]


def clicking(seconds, click_seconds, rate=RATE, channels=1):
    waveform = np.random.default_rng(0).normal(0, 0.002, (channels, round(seconds * rate))).astype(np.float32)
    start = round(click_seconds * rate)
    waveform[:, start : start + rate // 200] += 0.8
    return waveform


def write(
    path,
    pictures=None,
    waveform=None,
    *,
    frames_per_second=25,
    rate=RATE,
    picture_start=0.0,
    sound_start=0.0,
    codecs=("libx264", "aac"),
    options=None,
    sound_format="fltp",
    times=None,
):
    """Writes the pictures at `picture_start + k / frames_per_second`, or at `times`; sound from `sound_start` on."""
    with av.open(str(path), "w", options=options or {}) as container:
        pieces = []
        if pictures is not None:
            video = container.add_stream(codecs[0], Fraction(frames_per_second))
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, CLOCK)
            for k, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.time_base = Fraction(1, CLOCK)
                time = picture_start + k / frames_per_second if times is None else times[k]
                frame.pts = round(time * CLOCK)
                frame.duration = round(CLOCK / frames_per_second)
                pieces.append((frame.pts / CLOCK, video, frame))
        if waveform is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[waveform.shape[0]]
            sound = container.add_stream(codecs[1], rate, layout=layout)
            for start in range(0, waveform.shape[1], 1024):
                piece = np.ascontiguousarray(waveform[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(piece, format=sound_format, layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(sound_start * rate)
                pieces.append((frame.pts / rate, sound, frame))
        for _, stream, frame in sorted(pieces, key=lambda piece: piece[0]):
            container.mux(stream.encode(frame))
        for stream in container.streams:
            container.mux(stream.encode())
    return path


def plain(path, seconds=2.0, **kwargs):
    times = np.arange(round(seconds * 25)) / 25
    return write(path, flashing(times, 0.8), clicking(seconds, 0.8), **kwargs)


def with_display_matrix(path, a, b, c, d):
    """Makes an mp4 say that a point (x, y) of its picture is shown at (a x + c y, b x + d y)."""

    def stored(a, b, c, d):
        one = 0x10000
        return np.array([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 0x40000000], ">i4").tobytes()

    data = path.read_bytes()
    at = data.index(stored(1, 0, 0, 1), data.index(b"tkhd"))
    path.write_bytes(data[:at] + stored(a, b, c, d) + data[at + 36 :])
    return path
