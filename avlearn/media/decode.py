"""Decodes a moment of a media file: frames on a grid of times, and the sound on the same clock."""

import dataclasses
import fractions
import math
import os
import pathlib

import av
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from avlearn.media import tracks

# What a container declares and what it holds differ by encoder padding; more than this is a cut file.
DECLARED_TOLERANCE_SECONDS = 0.1


class UnreadableClip(ValueError):
    """A media file that cannot give the clip asked for.

    Attributes:
      path: the file.
      reason: `missing`, `unreadable` (no media file, or damaged), `truncated`, `no_video_track`, `no_audio_track` or
        `empty` (the file has nothing at the time asked for): a key to count by.
    """

    def __init__(self, path: str | os.PathLike, reason: str, detail: str):
        super().__init__(path, reason, detail)  # all of them, so that it can pass from a worker process
        self.path = path
        self.reason = reason
        self.detail = detail

    def __str__(self):
        return f"{os.fspath(self.path)}: {self.reason}: {self.detail}"


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames and sound of one moment of a video, on one clock that starts at 0.

    Attributes:
      frames: RGB, upright, square pixels.
      frame_times_ms: when each frame is shown, on the grid `round(1000 * k / frames_per_second)`.
      waveform: mono in [-1, 1]; sample `n` is at `n / sample_rate_hz` seconds.
      sample_rate_hz: of the waveform.
    """

    frames: UInt8[np.ndarray, "frames height width 3"]
    frame_times_ms: Int64[np.ndarray, " frames"]
    waveform: Float32[np.ndarray, " samples"]
    sample_rate_hz: int


def read_clip(
    path: str | os.PathLike,
    *,
    start_seconds: int | float = 0.0,
    duration_seconds: int | float | None = None,
    frames_per_second: int | float = 25,
    short_side: int = 256,
    sample_rate_hz: int = 48_000,
) -> Clip:
    """Reads frames and sound of `[start_seconds, start_seconds + duration_seconds)`, aligned by their time stamps.

    Args:
      path: a file of any container and codec that FFmpeg reads; its first picture track and first sound track are used.
      start_seconds: from the start of the container, where its earliest track starts.
      duration_seconds: length; None reads to where the first of the two tracks ends.
      frames_per_second: grid of the frames. Frame `k` is the one on screen at `k / frames_per_second`, or the next if
        that comes within half an interval of the faster of the two rates: of a fast source, the nearest. The grid
        holds no frame from before the picture starts or after it ends.
      short_side: shorter side of the frames, pixels; the aspect is kept.
      sample_rate_hz: of the waveform, which has `round(duration_seconds * sample_rate_hz)` samples, silent where the
        file holds no sound.

    Raises:
      UnreadableClip: the file is missing, damaged or cut, lacks a track, or has nothing at that time.
      ValueError: an argument out of its range.
    """
    _check_arguments(start_seconds, duration_seconds, frames_per_second, short_side, sample_rate_hz)
    if not pathlib.Path(path).is_file():
        raise UnreadableClip(path, "missing", "there is no such file")
    try:
        with av.open(os.fspath(path)) as container:
            return _read(
                path, container, start_seconds, duration_seconds, frames_per_second, short_side, sample_rate_hz
            )
    except av.error.FFmpegError as error:
        raise UnreadableClip(path, "unreadable", f"not a media file, or damaged ({error.strerror})") from error


def _check_arguments(start_seconds, duration_seconds, frames_per_second, short_side, sample_rate_hz):
    if not 0 <= start_seconds < math.inf:
        raise ValueError(f"start_seconds={start_seconds}: want 0 or more, and finite")
    positive = {"frames_per_second": frames_per_second, "short_side": short_side, "sample_rate_hz": sample_rate_hz}
    if duration_seconds is not None:
        positive["duration_seconds"] = duration_seconds
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: want more than 0, and finite")


def _read(path, container, start_seconds, duration_seconds, frames_per_second, short_side, sample_rate_hz) -> Clip:
    video, audio = _tracks(path, container)
    zero = fractions.Fraction(start_seconds) + fractions.Fraction(container.start_time or 0, av.time_base)
    if container.duration and start_seconds * av.time_base >= container.duration:
        raise UnreadableClip(
            path, "empty", f"nothing from {start_seconds} s on: it is {container.duration / av.time_base:.2f} s long"
        )
    end = math.inf if duration_seconds is None else zero + fractions.Fraction(duration_seconds)
    pictures = tracks.Pictures(video, zero, fractions.Fraction(frames_per_second).limit_denominator(1001), short_side)
    sound = tracks.Sound(audio, zero, sample_rate_hz)
    if start_seconds > 0:
        container.seek(math.floor(zero * av.time_base))
    _demux(path, container, {video.index: pictures, audio.index: sound}, end)
    _check_whole(path, container, (pictures, sound), end)

    slots, frames = pictures.finish()
    waveform = sound.finish()
    if duration_seconds is None:
        duration_seconds = float(min(pictures.end, sound.end) - zero)
    shown = [i for i, slot in enumerate(slots) if slot < duration_seconds * frames_per_second - 1e-6]
    if not shown or duration_seconds <= 0:
        raise UnreadableClip(path, "empty", f"no picture in what is asked for, from {start_seconds} s on")
    samples = round(duration_seconds * sample_rate_hz)
    return Clip(
        frames=np.stack([frames[i] for i in shown]),
        frame_times_ms=np.array([round(1000 * slots[i] / frames_per_second) for i in shown], np.int64),
        waveform=np.pad(waveform[:samples], (0, max(0, samples - waveform.size))).clip(-1, 1),
        sample_rate_hz=sample_rate_hz,
    )


def _tracks(path, container):
    """First picture track and first sound track; a cover picture of a music file is no picture track."""
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        raise UnreadableClip(path, "no_video_track", "the file holds no moving picture")
    if not container.streams.audio:
        raise UnreadableClip(path, "no_audio_track", "the file holds no sound")
    for stream in (videos[0], container.streams.audio[0]):
        stream.codec_context.thread_count = 1  # datasets are built by a process per core: threads would only contend
    return videos[0], container.streams.audio[0]


def _demux(path, container, readers, end):
    """Feeds decoded frames to the readers until both have reached `end` or the file ends."""
    running = set(readers)
    streams = [reader.stream for reader in readers.values()]
    for packet in container.demux(streams):
        if packet.is_corrupt:
            raise UnreadableClip(path, "truncated", "the file ends within a packet; fetch it again")
        reader = readers[packet.stream_index]
        if packet.stream_index not in running:
            continue
        for frame in packet.decode():
            reader.add(frame)
        if reader.end >= end:
            running.discard(packet.stream_index)
            if not running:
                return


def _check_whole(path, container, readers, end):
    """Refuses a file that ends before what it declares, as far as it was asked for."""
    for reader in readers:
        declared = _declared_end(reader.stream)
        if declared is None:
            # Matroska declares the end of its longest track only.
            declared = fractions.Fraction((container.start_time or 0) + (container.duration or 0), av.time_base)
            reached = max(reader.end for reader in readers)
        else:
            reached = reader.end
        if reached < min(declared, end) - DECLARED_TOLERANCE_SECONDS:
            raise UnreadableClip(
                path,
                "truncated",
                f"its {reader.stream.type} ends at {float(reached):.2f} s of a declared {float(declared):.2f} s; "
                "fetch it again",
            )


def _declared_end(stream) -> fractions.Fraction | None:
    if not stream.duration:
        return None
    return ((stream.start_time or 0) + stream.duration) * stream.time_base
