"""Decodes a moment of a media file: frames on a grid of times, and the sound on the same clock."""

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

# What a container declares and what it holds differ by encoder padding; more than this is a cut file.
DECLARED_TOLERANCE_SECONDS = 0.1
USUAL_FRAMES = 256  # ten seconds of 25; the room grows where there are more


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
class DecodedClip:
    """Frames and sound of one moment of a video, on one clock that starts at 0.

    Attributes:
      frames: RGB, upright, square pixels.
      frame_times_ms: when each frame is shown, `round(1000 * (first_frame_seconds + k / frames_per_second))`.
      waveform: mono in [-1, 1]; sample `n` is at `n / sample_rate_hz` seconds.
      sample_rate_hz: of the waveform.
      covered_seconds: how much of what was asked for both tracks hold: to the earlier end of the two.
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
    """Reads frames and sound of `[start_seconds, start_seconds + duration_seconds)`, aligned by their time stamps.

    Args:
      path: a file of any container and codec that FFmpeg reads; its first picture track and first sound track are used.
      start_seconds: from the start of the container, where its earliest track starts.
      duration_seconds: length; None reads to where the first of the two tracks ends.
      frames_per_second: grid of the frames. Frame `k` is the one on screen at `first_frame_seconds + k /
        frames_per_second`, or the next if that comes within half an interval of the faster of the two rates: of a fast
        source, the nearest. The grid holds no frame from before the picture starts or after it ends.
      first_frame_seconds: where the grid begins; 0.5 with one frame per second takes the mid-points of seconds.
      short_side: shorter side of the frames, pixels; the aspect is kept.
      sample_rate_hz: of the waveform, which has `round(duration_seconds * sample_rate_hz)` samples, silent where the
        file holds no sound.

    Raises:
      UnreadableClip: the file is missing, damaged or cut, lacks a track, or has nothing at that time.
      ValueError: an argument out of its range.
    """
    _check_time(start_seconds, duration_seconds)
    _check_positive(frames_per_second=frames_per_second, short_side=short_side, sample_rate_hz=sample_rate_hz)
    if not 0 <= first_frame_seconds < math.inf:
        raise ValueError(f"first_frame_seconds={first_frame_seconds}: want 0 or more, and finite")
    grid = fractions.Fraction(frames_per_second).limit_denominator(1001)
    first = fractions.Fraction(first_frame_seconds)
    with _opened(path) as container:
        video, audio = _video_track(path, container), _audio_track(path, container)
        zero = _zero(path, container, start_seconds)
        pictures = tracks.Pictures(video, zero + first, grid, short_side, _expected_frames(duration_seconds, grid))
        sound = tracks.Sound(audio, zero, sample_rate_hz)
        _decode(path, container, (pictures, sound), zero, duration_seconds)
        if not pictures.in_order:  # H.264 with B-frames in AVI, which states no times: libav's guess is frames off
            raise UnreadableClip(path, "unreadable", "the time stamps of its pictures go back; encode it anew, as mp4")
        slots, frames = pictures.finish()
        waveform = sound.finish()
    covered = float(min(pictures.end, sound.end) - zero)
    duration_seconds = covered if duration_seconds is None else duration_seconds
    times = [first_frame_seconds + slot / frames_per_second for slot in slots]
    shown = sum(time < duration_seconds - 1e-6 for time in times)
    if not shown or duration_seconds <= 0:
        raise UnreadableClip(path, "empty", f"no picture in what is asked for, from {start_seconds} s on")
    return DecodedClip(
        frames=frames[:shown],
        frame_times_ms=np.array([round(1000 * time) for time in times[:shown]], np.int64),
        waveform=_of_length(waveform, duration_seconds, sample_rate_hz),
        sample_rate_hz=sample_rate_hz,
        covered_seconds=max(0.0, min(covered, float(duration_seconds))),
    )


def read_sound(
    path: str | os.PathLike,
    *,
    start_seconds: int | float = 0.0,
    duration_seconds: int | float | None = None,
    sample_rate_hz: int = 48_000,
) -> Float32[np.ndarray, " samples"]:
    """Reads the sound of a file, which needs no picture; arguments, waveform and errors as of `read_clip`."""
    _check_time(start_seconds, duration_seconds)
    _check_positive(sample_rate_hz=sample_rate_hz)
    with _opened(path) as container:
        zero = _zero(path, container, start_seconds)
        sound = tracks.Sound(_audio_track(path, container), zero, sample_rate_hz)
        _decode(path, container, (sound,), zero, duration_seconds)
        waveform = sound.finish()
    if sound.end <= zero:
        raise UnreadableClip(path, "empty", f"no sound in what is asked for, from {start_seconds} s on")
    return _of_length(
        waveform, float(sound.end - zero) if duration_seconds is None else duration_seconds, sample_rate_hz
    )


def declared_seconds(path: str | os.PathLike) -> float | None:
    """Length of a file as its container states it, without decoding; None where it does not.

    Raises:
      UnreadableClip: the file is missing or damaged.
    """
    with _opened(path) as container:
        return _declared_seconds(container)


def _expected_frames(duration_seconds, frames_per_second) -> int:
    """Frames to make room for; what a container declares of itself is not to be trusted with memory."""
    return USUAL_FRAMES if duration_seconds is None else math.ceil(duration_seconds * frames_per_second) + 1


def _check_time(start_seconds, duration_seconds):
    if not 0 <= start_seconds < math.inf:
        raise ValueError(f"start_seconds={start_seconds}: want 0 or more, and finite")
    if duration_seconds is not None:
        _check_positive(duration_seconds=duration_seconds)


def _check_positive(**values):
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: want more than 0, and finite")


@contextlib.contextmanager
def _opened(path):
    """The container of a file; what libav finds wrong with it within becomes an UnreadableClip."""
    if not pathlib.Path(path).is_file():
        raise UnreadableClip(path, "missing", "there is no such file")
    try:
        with av.open(os.fspath(path)) as container:
            yield container
    except av.error.FFmpegError as error:
        raise UnreadableClip(path, "unreadable", f"not a media file, or damaged ({error.strerror})") from error


def _zero(path, container, start_seconds) -> fractions.Fraction:
    """Start of the clip on the container's clock, seconds."""
    seconds = _declared_seconds(container)
    if seconds is not None and start_seconds >= seconds:
        raise UnreadableClip(path, "empty", f"nothing from {start_seconds} s on: it is {seconds:.2f} s long")
    return fractions.Fraction(start_seconds) + _start(container)


def _start(container) -> fractions.Fraction:
    """When the earliest track starts on the container's clock, seconds."""
    return fractions.Fraction(container.start_time or 0, av.time_base)


def _declared_seconds(container) -> float | None:
    end = _declared_end(container)
    return None if end is None else float(end - _start(container))


def _declared_end(container) -> fractions.Fraction | None:
    """When the longest track ends on the container's clock, seconds, as the container states it."""
    if not container.duration:
        return None
    stated = fractions.Fraction(container.duration, av.time_base)
    # Matroska, WebM and Flash, whose tracks state no length, state the time of the end; the others state the length.
    of_end = not any(stream.duration for stream in container.streams) and stated > _start(container)
    return stated if of_end else _start(container) + stated


def _video_track(path, container):
    """First picture track; a cover picture of a music file is none."""
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        raise UnreadableClip(path, "no_video_track", "the file holds no moving picture")
    return _one_thread(videos[0])


def _audio_track(path, container):
    if not container.streams.audio:
        raise UnreadableClip(path, "no_audio_track", "the file holds no sound")
    return _one_thread(container.streams.audio[0])


def _one_thread(stream):
    stream.codec_context.thread_count = 1  # datasets are built by a process per core: threads would only contend
    return stream


def _decode(path, container, readers, zero, duration_seconds):
    """Feeds the readers what the file holds of `[zero, zero + duration_seconds)`, and refuses a file that is cut."""
    end = math.inf if duration_seconds is None else zero + fractions.Fraction(duration_seconds)
    if zero > _start(container):
        container.seek(math.floor(zero * av.time_base))
    _demux(path, container, {reader.stream.index: reader for reader in readers}, end)
    _check_whole(path, container, readers, end)


def _of_length(waveform, duration_seconds, sample_rate_hz):
    """The waveform cut or padded with silence to a length."""
    samples = round(duration_seconds * sample_rate_hz)
    return np.pad(waveform[:samples], (0, max(0, samples - waveform.size))).clip(-1, 1)


def _demux(path, container, readers, end):
    """Feeds decoded frames to the readers until both have reached `end` or the file ends."""
    running = set(readers)
    streams = [reader.stream for reader in readers.values()]
    for packet in container.demux(streams):
        if packet.is_corrupt:
            raise UnreadableClip(path, "truncated", "a packet of it is damaged or cut short; fetch it again")
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
        declared, reached = _declared_end_of_track(reader.stream), reader.end
        if declared is None:  # of the longest track only
            declared, reached = _declared_end(container), max(reader.end for reader in readers)
        if declared is not None and reached < min(declared, end) - DECLARED_TOLERANCE_SECONDS:
            raise UnreadableClip(
                path,
                "truncated",
                f"its {reader.stream.type} ends at {float(reached):.2f} s of a declared {float(declared):.2f} s; "
                "fetch it again",
            )


def _declared_end_of_track(stream) -> fractions.Fraction | None:
    if not stream.duration:
        return None
    return ((stream.start_time or 0) + stream.duration) * stream.time_base
