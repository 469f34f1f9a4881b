"""Media files for tests: a flash and a click at known times, in any container and codec that PyAV writes."""

import dataclasses
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


@dataclasses.dataclass
class Video:
    """A video track: images at `start + k / frames_per_second`, or at `times`."""

    images: list
    codec: str = "libx264"
    frames_per_second: float | Fraction = 25
    start: float = 0.0
    times: list | np.ndarray | None = None
    disposition: int = 0

    def add_to(self, container):
        """Add the track to a container; return it."""
        stream = container.add_stream(self.codec, Fraction(self.frames_per_second))
        stream.height, stream.width = self.images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if self.codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK_HZ)
        return stream

    def frames(self):
        """Yield the frames."""
        for k, image in enumerate(self.images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = Fraction(1, CLOCK_HZ)
            time = self.start + k / self.frames_per_second if self.times is None else self.times[k]
            frame.pts = round(time * CLOCK_HZ)
            frame.duration = round(CLOCK_HZ / self.frames_per_second)
            yield frame


@dataclasses.dataclass
class Audio:
    """An audio track: a waveform `[channels, samples]` from `start` on."""

    waveform: np.ndarray
    codec: str = "aac"
    rate: int = RATE
    start: float = 0.0
    format: str = "fltp"
    layout: str = ""
    disposition: int = 0

    def add_to(self, container):
        """Add the track to a container; return it."""
        self.layout = self.layout or {1: "mono", 2: "stereo", 6: "5.1"}[len(self.waveform)]
        options = {"mapping_family": "2"} if "ambisonic" in self.layout else {}
        return container.add_stream(self.codec, self.rate, layout=self.layout, options=options)

    def frames(self):
        """Yield the frames."""
        for start in range(0, self.waveform.shape[1], 1024):
            samples = self.waveform[:, start : start + 1024]
            if self.format == "s16":
                samples = (samples.T.reshape(1, -1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=self.format, layout=self.layout)
            frame.sample_rate, frame.time_base = self.rate, Fraction(1, self.rate)
            frame.pts = start + round(self.start * self.rate)
            yield frame


def write_tracks(path, *tracks, options=None):
    """Write tracks in this order; return the path."""
    with av.open(str(path), "w", options=options or {}) as container:
        frames = []
        for track in tracks:
            stream = track.add_to(container)
            stream.disposition = track.disposition
            frames += [(frame.pts * frame.time_base, stream, frame) for frame in track.frames()]
        for _, stream, frame in sorted(frames, key=lambda timed: timed[0]):
            container.mux(stream.encode(frame))
        for stream in container.streams:
            container.mux(stream.encode())
    return path


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
    """Write a video track, an audio track, or both; return the path."""
    tracks = []
    if images is not None:
        tracks.append(Video(images, codecs[0], frames_per_second, video_start, times))
    if waveform is not None:
        tracks.append(Audio(waveform, codecs[1], rate, audio_start, audio_format))
    return write_tracks(path, *tracks, options=options)


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
