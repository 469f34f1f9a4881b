"""Media files for tests: a flash and a click at known times, in any container and codec that PyAV writes."""

from fractions import Fraction

import av
import numpy as np

RATE = 48_000
CLOCK_HZ = 12_000  # of the video track; fine enough for a track to start between two frames


def flashing(times, flash_seconds, size=(64, 96)):
    """Return an image for each time: grey, and white for 0.2 s from the flash on."""
    lit = [flash_seconds - 1e-6 <= t < flash_seconds + 0.2 for t in times]
    return [np.full((*size, 3), 235 if on else 60, np.uint8) for on in lit]


def clicking(seconds, click_seconds, rate=RATE, channels=1):
    """Return a waveform `[channels, samples]` of noise with a click."""
    waveform = np.random.default_rng(0).normal(0, 0.002, (channels, round(seconds * rate))).astype(np.float32)
    start = round(click_seconds * rate)
    waveform[:, start : start + rate // 200] += 0.8
    return waveform


def write(
    path,
    images=None,
    waveform=None,
    *,
    frames_per_second=25,
    rate=RATE,
    video_start=0.0,
    audio_start=0.0,
    codecs=("libx264", "aac"),
    options=None,
    audio_format="fltp",
    times=None,
):
    """Write images at `video_start + k / frames_per_second`, or at `times`, and audio from `audio_start` on."""
    with av.open(str(path), "w", options=options or {}) as container:
        frames = []
        if images is not None:
            video = container.add_stream(codecs[0], Fraction(frames_per_second))
            video.height, video.width = images[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, CLOCK_HZ)
            for k, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.time_base = Fraction(1, CLOCK_HZ)
                time = video_start + k / frames_per_second if times is None else times[k]
                frame.pts = round(time * CLOCK_HZ)
                frame.duration = round(CLOCK_HZ / frames_per_second)
                frames.append((frame.pts / CLOCK_HZ, video, frame))
        if waveform is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[waveform.shape[0]]
            audio = container.add_stream(codecs[1], rate, layout=layout)
            for start in range(0, waveform.shape[1], 1024):
                samples = np.ascontiguousarray(waveform[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(samples, format=audio_format, layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(audio_start * rate)
                frames.append((frame.pts / rate, audio, frame))
        for _, stream, frame in sorted(frames, key=lambda timed: timed[0]):
            container.mux(stream.encode(frame))
        for stream in container.streams:
            container.mux(stream.encode())
    return path


def plain(path, seconds=2.0, **kwargs):
    """Write a clip whose flash and click are at 0.8 s."""
    times = np.arange(round(seconds * 25)) / 25
    return write(path, flashing(times, 0.8), clicking(seconds, 0.8), **kwargs)


def with_display_matrix(path, a, b, c, d):
    """Set an mp4's display matrix: a point (x, y) of a frame is shown at (a x + c y, b x + d y)."""

    def encoded(a, b, c, d):
        one = 0x10000
        return np.array([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 0x40000000], ">i4").tobytes()

    data = path.read_bytes()
    offset = data.index(encoded(1, 0, 0, 1), data.index(b"tkhd"))
    path.write_bytes(data[:offset] + encoded(a, b, c, d) + data[offset + 36 :])
    return path
