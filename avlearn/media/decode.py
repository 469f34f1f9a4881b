"""Decodes part of a media file: frames on a grid of times, and audio on the same clock."""

import dataclasses
import fractions
import math
import os
from typing import NamedTuple

import av
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from avlearn.media import tracks
from avlearn.media.media_file import DECLARED_TOLERANCE_SECONDS, MediaFile, UnreadableClip, opened

USUAL_FRAMES = 256  # ten seconds at 25 frames per second; the array grows if there are more


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """Frames and audio of a part of a video, on one clock that starts at 0.

    Attributes:
      frames: RGB, upright, square pixels.
      frame_times_ms: time of each frame, `round(1000 * (first_frame_seconds + k / frames_per_second))`.
      waveform: mono in [-1, 1]; sample `n` is at `n / sample_rate_hz` seconds.
      sample_rate_hz: sample rate of the waveform.
      covered_seconds: seconds of the requested clip that both tracks cover.
      tracks: which tracks were chosen from several, for example `audio track 2 of 3`; empty without a choice.
    """

    frames: UInt8[np.ndarray, "frames height width 3"]
    frame_times_ms: Int64[np.ndarray, " frames"]
    waveform: Float32[np.ndarray, " samples"]
    sample_rate_hz: int
    covered_seconds: float
    tracks: str = ""


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
      path: a file of any container and codec that FFmpeg reads. Of several tracks, the default one is used, otherwise
        the first (see `media_file.MediaFile.track`); channels are mixed by `downmix.to_mono`.
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
    with opened(path) as file:
        video, audio = file.track("video"), file.track("audio")
        zero = _zero(file, start_seconds)
        end = _end(zero, duration_seconds)
        frame_reader = tracks.VideoReader(
            video, zero + first, end, grid, short_side, _expected_frames(duration_seconds, grid)
        )
        audio_reader = tracks.AudioReader(audio, zero, end, sample_rate_hz)
        _decode(file, (frame_reader, audio_reader), zero, end)
        if not frame_reader.in_order:  # H.264 with B-frames in AVI, which has no time stamps: libav guesses wrong ones
            raise UnreadableClip(path, "unreadable", "the time stamps of its frames go backwards; re-encode it as mp4")
        if audio_reader.end == -math.inf:
            raise UnreadableClip(path, "empty", f"no sound in the requested part, from {start_seconds} s on")
        video_end = _video_end(file, frame_reader)
        slots, frames = frame_reader.finish(min(video_end, audio_reader.end) if end == math.inf else video_end)
        waveform = audio_reader.finish()
    covered = float(min(video_end, audio_reader.end) - zero)
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
        tracks=file.tracks,
    )


def read_audio(
    path: str | os.PathLike,
    *,
    start_seconds: int | float = 0.0,
    duration_seconds: int | float | None = None,
    sample_rate_hz: int = 48_000,
    padded: bool = True,
) -> Float32[np.ndarray, " samples"]:
    """Read the audio of a file with or without video; arguments, waveform and errors are those of `read_clip`.

    If `padded` is false, the waveform ends with the audio track.
    """
    _check_time(start_seconds, duration_seconds)
    _check_positive(sample_rate_hz=sample_rate_hz)
    with opened(path) as file:
        zero = _zero(file, start_seconds)
        end = _end(zero, duration_seconds)
        reader = tracks.AudioReader(file.track("audio"), zero, end, sample_rate_hz)
        _decode(file, (reader,), zero, end)
        waveform = reader.finish()
    if reader.end <= zero:
        raise UnreadableClip(path, "empty", f"no audio in the requested part, from {start_seconds} s on")
    covered = float(min(reader.end, end) - zero)
    return _cut_or_pad(waveform, duration_seconds if padded and duration_seconds else covered, sample_rate_hz)


class Length(NamedTuple):
    """Length of a file.

    Attributes:
      seconds: length that the file declares; that of its packets if it declares none, as a browser's recording.
      present_seconds: length of what is there, which is less if the end of the file is missing.
    """

    seconds: float
    present_seconds: float


def length(path: str | os.PathLike) -> Length:
    """Return the length of a file; nothing is decoded.

    Raises:
      UnreadableClip: the file is missing or damaged.
    """
    with opened(path) as file:
        declared = file.declared_seconds
        present = file.measured_seconds() if declared is None or file.cut_short else declared
    if not declared and not present:
        raise UnreadableClip(path, "empty", "it has no frame and no sound")
    return Length(present if declared is None else declared, present)


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


def _zero(file: MediaFile, start_seconds) -> fractions.Fraction:
    """Return the start of the clip on the container's clock, seconds."""
    seconds = file.declared_seconds
    if seconds is not None and start_seconds >= seconds:
        raise UnreadableClip(file.path, "empty", f"nothing from {start_seconds} s on: the file is {seconds:.2f} s long")
    return fractions.Fraction(start_seconds) + file.start


def _end(zero, duration_seconds):
    return math.inf if duration_seconds is None else zero + fractions.Fraction(duration_seconds)


def _decode(file, readers, zero, end):
    """Decode `[zero, end)` of the file into the readers; refuse a truncated file."""
    if zero > file.start:
        file.seek(readers[0].stream, zero)
    _demux(file, {reader.stream.index: reader for reader in readers})
    _check_complete(file, readers, end)


def _cut_or_pad(waveform, duration_seconds, sample_rate_hz):
    """Cut the waveform or pad it with silence to a length."""
    samples = round(duration_seconds * sample_rate_hz)
    return np.pad(waveform[:samples], (0, max(0, samples - waveform.size))).clip(-1, 1)


def _demux(file, readers):
    """Add decoded frames to the readers until all have reached the end of the clip or the file ends."""
    running, faults = set(readers), {}
    for packet in file.packets([reader.stream for reader in readers.values()]):
        index = packet.stream.index  # `stream_index` of the packets that flush the decoders is always 0
        if index not in running:
            continue
        if packet.is_corrupt and file.flags_damage:
            raise UnreadableClip(
                file.path, "truncated", "one of its packets is damaged or cut short; download it again"
            )
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            if readers[index].end > -math.inf:
                raise
            faults[index], frames = error, []  # packets before the first frame may be parts of one, after a jump
        for frame in frames:
            readers[index].add(frame)
        if readers[index].is_complete:
            running.discard(index)
            if not running:
                return
    for index, error in faults.items():
        if readers[index].end == -math.inf:
            raise error


def _check_complete(file, readers, end):
    """Refuse a file that ends within the requested part and before its declared end."""
    for reader in readers:
        declared, reached = file.track_end(reader.stream), reader.end
        if declared is None:  # only the longest track's end is declared
            declared, reached = file.end, max(reader.end for reader in readers)
        if declared is None or reached >= min(declared, end) - DECLARED_TOLERANCE_SECONDS or file.is_whole:
            continue
        kind = reader.stream.type
        ends = (
            f"its {kind} ends at {float(reached):.2f} s"
            if reached > -math.inf
            else "it ends before the requested part,"
        )
        raise UnreadableClip(file.path, "truncated", f"{ends} of a declared {float(declared):.2f} s; download it again")


def _video_end(file, reader):
    """Return the end of the last frame: as it states itself, unless the container states another end of its track.

    A single picture of a track whose end is not stated, such as the cover of a song, is shown until the file's end.
    """
    stated = file.track_end(reader.stream)
    if stated is None:
        is_still = reader.first_time == reader.time <= (reader.stream.start_time or 0) * reader.stream.time_base
        stated = file.end if is_still else None
    if stated is None or stated <= reader.time or 0 <= stated - reader.end <= DECLARED_TOLERANCE_SECONDS:
        return reader.end
    return stated
