"""Decodes part of a media file: frames on a grid of times, and audio on the same clock."""

import contextlib
import dataclasses
import fractions
import math
import os
import pathlib

import av
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from avlearn.media import tracks

# Encoder padding makes a track differ from its declared length; a larger difference means a truncated file.
DECLARED_TOLERANCE_SECONDS = 0.1
USUAL_FRAMES = 256  # ten seconds at 25 frames per second; the array grows if there are more


class UnreadableClip(ValueError):
    """A media file that does not provide the requested clip.

    Attributes:
      path: the file.
      reason: category of the fault: `missing`, `unreadable` (not a media file, or damaged), `truncated`,
        `no_video_track`, `no_audio_track` or `empty` (the file has nothing at the requested time).
    """

    def __init__(self, path: str | os.PathLike, reason: str, detail: str):
        super().__init__(path, reason, detail)  # pass all arguments, so that a worker process can pickle the error
        self.path = path
        self.reason = reason
        self.detail = detail

    def __str__(self):
        return f"{os.fspath(self.path)}: {self.reason}: {self.detail}"


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """Frames and audio of a part of a video, on one clock that starts at 0.

    Attributes:
      frames: RGB, upright, square pixels.
      frame_times_ms: time of each frame, `round(1000 * (first_frame_seconds + k / frames_per_second))`.
      waveform: mono in [-1, 1]; sample `n` is at `n / sample_rate_hz` seconds.
      sample_rate_hz: sample rate of the waveform.
      covered_seconds: seconds of the requested clip that both tracks cover.
    """

    frames: UInt8[np.ndarray, "frames height width 3"]
    frame_times_ms: Int64[np.ndarray, " frames"]
    waveform: Float32[np.ndarray, " samples"]
    sample_rate_hz: int
    covered_seconds: float


def read_clip(
    path: str | os.PathLike,
    *,
    start_seconds: int | float = 0.0,
    duration_seconds: int | float | None = None,
    frames_per_second: int | float = 25,
    first_frame_seconds: int | float = 0.0,
    short_side: int = 256,
    sample_rate_hz: int = 48_000,
) -> DecodedClip:
    """Read frames and audio of `[start_seconds, start_seconds + duration_seconds)`, aligned by their time stamps.

    Args:
      path: a file of any container and codec that FFmpeg reads; its first video and audio tracks are used.
      start_seconds: time from the start of the container, which is the start of its earliest track.
      duration_seconds: length; None reads to the end of the shorter track.
      frames_per_second: rate of the frame grid. Frame `k` is the one on screen at `first_frame_seconds + k /
        frames_per_second`, or the next one if it follows within half an interval of the faster of the two rates (the
        grid's and the source's); for a fast source this is the nearest frame. The grid has no frames before the video
        track starts or after it ends.
      first_frame_seconds: start of the grid; 0.5 with one frame per second takes the mid-points of seconds.
      short_side: shorter side of the frames, pixels; the aspect ratio is kept.
      sample_rate_hz: sample rate of the waveform, which has `round(duration_seconds * sample_rate_hz)` samples, silent
        outside the audio track.

    Raises:
      UnreadableClip: the file is missing, damaged or truncated, lacks a track, or has nothing at the requested time.
      ValueError: an argument is out of range.
    """
    _check_time(start_seconds, duration_seconds)
    _check_positive(frames_per_second=frames_per_second, short_side=short_side, sample_rate_hz=sample_rate_hz)
    if not 0 <= first_frame_seconds < math.inf:
        raise ValueError(f"first_frame_seconds={first_frame_seconds}: use a finite number, 0 or more")
    grid = fractions.Fraction(frames_per_second).limit_denominator(1001)
    first = fractions.Fraction(first_frame_seconds)
    with _opened(path) as container:
        video, audio = _video_track(path, container), _audio_track(path, container)
        zero = _zero(path, container, start_seconds)
        frame_reader = tracks.VideoReader(
            video, zero + first, grid, short_side, _expected_frames(duration_seconds, grid)
        )
        audio_reader = tracks.AudioReader(audio, zero, sample_rate_hz)
        _decode(path, container, (frame_reader, audio_reader), zero, duration_seconds)
        if not frame_reader.in_order:  # H.264 with B-frames in AVI, which has no time stamps: libav guesses wrong ones
            raise UnreadableClip(path, "unreadable", "the time stamps of its frames go backwards; re-encode it as mp4")
        slots, frames = frame_reader.finish()
        waveform = audio_reader.finish()
    covered = float(min(frame_reader.end, audio_reader.end) - zero)
    duration_seconds = covered if duration_seconds is None else duration_seconds
    times = [first_frame_seconds + slot / frames_per_second for slot in slots]
    shown = sum(time < duration_seconds - 1e-6 for time in times)
    if not shown or duration_seconds <= 0:
        raise UnreadableClip(path, "empty", f"no frame in the requested part, from {start_seconds} s on")
    return DecodedClip(
        frames=frames[:shown],
        frame_times_ms=np.array([round(1000 * time) for time in times[:shown]], np.int64),
        waveform=_cut_or_pad(waveform, duration_seconds, sample_rate_hz),
        sample_rate_hz=sample_rate_hz,
        covered_seconds=max(0.0, min(covered, float(duration_seconds))),
    )


def read_audio(
    path: str | os.PathLike,
    *,
    start_seconds: int | float = 0.0,
    duration_seconds: int | float | None = None,
    sample_rate_hz: int = 48_000,
) -> Float32[np.ndarray, " samples"]:
    """Read the audio of a file with or without video; arguments, waveform and errors are those of `read_clip`."""
    _check_time(start_seconds, duration_seconds)
    _check_positive(sample_rate_hz=sample_rate_hz)
    with _opened(path) as container:
        zero = _zero(path, container, start_seconds)
        reader = tracks.AudioReader(_audio_track(path, container), zero, sample_rate_hz)
        _decode(path, container, (reader,), zero, duration_seconds)
        waveform = reader.finish()
    if reader.end <= zero:
        raise UnreadableClip(path, "empty", f"no audio in the requested part, from {start_seconds} s on")
    return _cut_or_pad(
        waveform, float(reader.end - zero) if duration_seconds is None else duration_seconds, sample_rate_hz
    )


def declared_seconds(path: str | os.PathLike) -> float | None:
    """Return the length that a file's container states, or None if it states none; nothing is decoded.

    Raises:
      UnreadableClip: the file is missing or damaged.
    """
    with _opened(path) as container:
        return _declared_seconds(container)


def _expected_frames(duration_seconds, frames_per_second) -> int:
    """Return how many frames to allocate; the declared length is not used, since a wrong one could exhaust memory."""
    return USUAL_FRAMES if duration_seconds is None else math.ceil(duration_seconds * frames_per_second) + 1


def _check_time(start_seconds, duration_seconds):
    if not 0 <= start_seconds < math.inf:
        raise ValueError(f"start_seconds={start_seconds}: use a finite number, 0 or more")
    if duration_seconds is not None:
        _check_positive(duration_seconds=duration_seconds)


def _check_positive(**values):
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: use a finite number above 0")


@contextlib.contextmanager
def _opened(path):
    """Open the container of a file; errors of libav in the context become an UnreadableClip."""
    if not pathlib.Path(path).is_file():
        raise UnreadableClip(path, "missing", "the file does not exist")
    try:
        with av.open(os.fspath(path)) as container:
            yield container
    except av.error.FFmpegError as error:
        raise UnreadableClip(path, "unreadable", f"not a media file, or damaged ({error.strerror})") from error


def _zero(path, container, start_seconds) -> fractions.Fraction:
    """Return the start of the clip on the container's clock, seconds."""
    seconds = _declared_seconds(container)
    if seconds is not None and start_seconds >= seconds:
        raise UnreadableClip(path, "empty", f"nothing from {start_seconds} s on: the file is {seconds:.2f} s long")
    return fractions.Fraction(start_seconds) + _start(container)


def _start(container) -> fractions.Fraction:
    """Return the start of the earliest track on the container's clock, seconds."""
    return fractions.Fraction(container.start_time or 0, av.time_base)


def _declared_seconds(container) -> float | None:
    end = _declared_end(container)
    return None if end is None else float(end - _start(container))


def _declared_end(container) -> fractions.Fraction | None:
    """Return the declared end of the longest track on the container's clock, seconds."""
    if not container.duration:
        return None
    stated = fractions.Fraction(container.duration, av.time_base)
    # Matroska, WebM and Flash, whose tracks declare no length, declare the end time; other containers the length.
    states_end = not any(stream.duration for stream in container.streams) and stated > _start(container)
    return stated if states_end else _start(container) + stated


def _video_track(path, container):
    """Return the first video track; the cover image of a music file does not count."""
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        raise UnreadableClip(path, "no_video_track", "the file has no video track")
    return _one_thread(videos[0])


def _audio_track(path, container):
    if not container.streams.audio:
        raise UnreadableClip(path, "no_audio_track", "the file has no audio track")
    return _one_thread(container.streams.audio[0])


def _one_thread(stream):
    stream.codec_context.thread_count = 1  # dataset builders run one process per core: threads would only contend
    return stream


def _decode(path, container, readers, zero, duration_seconds):
    """Decode `[zero, zero + duration_seconds)` of the file into the readers; refuse a truncated file."""
    end = math.inf if duration_seconds is None else zero + fractions.Fraction(duration_seconds)
    if zero > _start(container):
        container.seek(math.floor(zero * av.time_base))
    _demux(path, container, {reader.stream.index: reader for reader in readers}, end)
    _check_complete(path, container, readers, end)


def _cut_or_pad(waveform, duration_seconds, sample_rate_hz):
    """Cut the waveform or pad it with silence to a length."""
    samples = round(duration_seconds * sample_rate_hz)
    return np.pad(waveform[:samples], (0, max(0, samples - waveform.size))).clip(-1, 1)


def _demux(path, container, readers, end):
    """Add decoded frames to the readers until all have reached `end` or the file ends."""
    running = set(readers)
    streams = [reader.stream for reader in readers.values()]
    for packet in container.demux(streams):
        if packet.is_corrupt:
            raise UnreadableClip(path, "truncated", "one of its packets is damaged or cut short; download it again")
        reader = readers[packet.stream_index]
        if packet.stream_index not in running:
            continue
        for frame in packet.decode():
            reader.add(frame)
        if reader.end >= end:
            running.discard(packet.stream_index)
            if not running:
                return


def _check_complete(path, container, readers, end):
    """Refuse a file that ends within the requested part and before its declared end."""
    for reader in readers:
        declared, reached = _declared_end_of_track(reader.stream), reader.end
        if declared is None:  # only the longest track's end is declared
            declared, reached = _declared_end(container), max(reader.end for reader in readers)
        if declared is not None and reached < min(declared, end) - DECLARED_TOLERANCE_SECONDS:
            raise UnreadableClip(
                path,
                "truncated",
                f"its {reader.stream.type} ends at {float(reached):.2f} s of a declared {float(declared):.2f} s; "
                "download it again",
            )


def _declared_end_of_track(stream) -> fractions.Fraction | None:
    if not stream.duration:
        return None
    return ((stream.start_time or 0) + stream.duration) * stream.time_base
