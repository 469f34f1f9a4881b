"""Makes the record of a clip from its file, or refuses the file."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from avlearn.media import decode, jpeg, optical_flow
from avlearn.media.log_spectrogram import FRONT_ENDS, log_spectrogram
from data_builders.clips.segments import Located

# A file is the complete video if it reaches the segment's end and exceeds the segment's length by more than this.
WHOLE_VIDEO_SLACK_SECONDS = 0.5
SILENCE_PEAK = 1e-3  # -60 dB of full scale
STILL_CHANGE = 1.0  # nothing moves if the mean absolute difference of two frames, out of 255, is below this
STILL_SHARE = 0.9  # a clip is still if nothing moves in this share of the pairs of successive frames
STILL_PIXELS = 64  # frames are compared at this size
STILL_STEP_MS = 200  # frames that are compared are at least this far apart
# Environment of a process that makes records; one such process runs on each core.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
DROPPABLE = ("silent_audio", "still_frames")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a record's contents; the fields are those of a builder's config.

    Their names, and those of `Segment`, `Box` and `Located`, are part of the fingerprints of unfinished shards.

    Attributes:
      frames_per_second: rate of the stored frames; at 1 and below they are at the mid-points of their intervals.
      short_side: shorter side of the stored frames, pixels.
      front_end: audio front end, a name in `avlearn.media.log_spectrogram.FRONT_ENDS`.
      optical_flow: whether the flow from each stored frame to the next is stored.
      waveform_hz: sample rate of the stored waveform; 0: none is stored.
      min_seconds: shorter clips are refused.
      max_seconds: files without a start and an end in the annotations are refused if they are longer.
      drop: other reasons to refuse a clip: `silent_audio` (peak below -60 dB of full scale), `still_frames` (nothing
        moves between nine out of ten successive frames).
      sound_only: whether the files have only audio.

    Raises:
      ValueError: a value that is not allowed.
    """

    frames_per_second: float = 25
    short_side: int = 256
    front_end: str = "l3"
    optical_flow: bool = False
    waveform_hz: int = 0
    min_seconds: float = 2.0
    max_seconds: float = 60.0
    drop: tuple[str, ...] = ("silent_audio",)
    sound_only: bool = False

    def __post_init__(self):
        if self.front_end not in FRONT_ENDS:
            raise ValueError(f"front_end={self.front_end!r} is unknown; it is one of {', '.join(FRONT_ENDS)}")
        unknown = [reason for reason in self.drop if reason not in DROPPABLE]
        if unknown:
            raise ValueError(f"drop={self.drop!r}: {unknown[0]!r} is unknown; use some of {DROPPABLE}")
        if self.sound_only and (self.optical_flow or "still_frames" in self.drop):
            key = "optical_flow=True" if self.optical_flow else f"drop={self.drop!r}"
            raise ValueError(f"{key}: this dataset has only audio")
        least = {"frames_per_second": 0.1, "short_side": 16, "waveform_hz": 0, "min_seconds": 1, "max_seconds": 1}
        for key, bound in least.items():
            value = getattr(self, key)
            if not bound <= value < math.inf:
                raise ValueError(f"{key}={value} is out of range: it must be {bound} or more")
        if self.max_seconds < self.min_seconds:
            raise ValueError(f"max_seconds={self.max_seconds} is less than min_seconds={self.min_seconds}")

    @property
    def first_frame_seconds(self) -> float:
        """Time of the first frame; at one frame per second the mid-points of seconds, as in All that Sound."""
        return 0.5 / self.frames_per_second if self.frames_per_second <= 1 else 0.0


class Source(NamedTuple):
    """What a record was made from.

    Attributes:
      from_video: whether it was cut from a longer video.
      tracks: which tracks were chosen from several; see `avlearn.media.decode.DecodedClip`.
    """

    from_video: bool
    tracks: str = ""


def make_record(located: Located, class_ids: dict[str, int], settings: Settings) -> tuple[dict, Source]:
    """Read a segment from its file.

    Args:
      located: the segment and its file.
      class_ids: class id to label.
      settings: what to store.

    Returns:
      The record, of `avlearn.data.schema.features`, and what it was made from.

    Raises:
      decode.UnreadableClip: the file cannot be read, is too short, or is dropped for a reason in `settings.drop`.
    """
    cv2.setNumThreads(1)  # there is a process per core
    segment, path = located.segment, located.file.path
    start, seconds, from_video = part_of_file(located, lambda: decode.length(path).seconds, settings.max_seconds)
    record = {
        "clip_id": segment.clip_id,
        "video_id": segment.video_id,
        "start_ms": round(1000 * segment.start_seconds),
        "labels": [class_ids[label] for label in segment.labels],
    }
    if settings.sound_only:
        return {**record, **_read_audio(path, start, seconds, settings)}, Source(from_video)
    media, covered_seconds, tracks = _read_clip(path, start, seconds, settings)
    times = media["frame_times_ms"]

    def frame_at(seconds: float) -> int:
        return int(times[np.abs(times - 1000 * seconds).argmin()])

    boxes = [
        {
            "bbox": box.bbox,
            "label": class_ids[box.label],
            "sounding": True,
            "time_ms": frame_at(covered_seconds / 2 if box.time_seconds is None else box.time_seconds),
            "annotator": box.annotator,
        }
        for box in segment.boxes
    ]
    return {**record, **media, "boxes": boxes}, Source(from_video, tracks)


def part_of_file(located: Located, file_length: Callable[[], float], max_seconds: float) -> tuple[float, float, bool]:
    """Return a segment's start in a file, its maximum length, and whether the file is the complete video.

    A file whose name states the segment's start is the segment. A file named after the video alone is the complete
    video if it is longer than the segment and reaches the segment's end; otherwise it is the segment.

    Args:
      located: the segment and its file.
      file_length: returns the length of the file, seconds; called only if it matters, since it may read the file.
      max_seconds: maximum length of a segment without its own length.

    Raises:
      decode.UnreadableClip: `too_long`; or `neither_clip_nor_video`: it is too long for the segment and too short to
        reach its end.
    """
    segment, path = located.segment, located.file.path
    if segment.duration_seconds is None:
        file_seconds = file_length()
        if file_seconds > max_seconds:
            raise decode.UnreadableClip(path, "too_long", f"it is {file_seconds:.2f} s long, above {max_seconds} s")
        return 0.0, file_seconds, False
    duration, end = segment.duration_seconds, segment.start_seconds + segment.duration_seconds
    if segment.of_whole_video:
        return segment.start_seconds, duration, True
    if located.cut or segment.start_seconds == 0:
        return 0.0, duration, False
    file_seconds = file_length()
    if file_seconds <= duration + WHOLE_VIDEO_SLACK_SECONDS:
        return 0.0, duration, False
    if file_seconds >= end - WHOLE_VIDEO_SLACK_SECONDS:
        return segment.start_seconds, duration, True
    raise decode.UnreadableClip(
        path,
        "neither_clip_nor_video",
        f"it is {file_seconds:.2f} s long; the segment is {segment.start_seconds} to {end} s. If the file is "
        f"the segment alone, name it {segment.video_id}_{segment.start_seconds:g}",
    )


def media_features(clip: decode.DecodedClip, front_end: str) -> dict:
    """Return the frames and the log-spectrogram of a clip as features of a record."""
    return {
        "frames": [jpeg.encode(image) for image in clip.frames],
        "frame_times_ms": clip.frame_times_ms,
        "log_spectrogram": log_spectrogram(clip.waveform, front_end).astype(np.float16),
    }


def flow_images(frames: np.ndarray) -> list[bytes]:
    """Return the optical flow from each frame to the next, as the JPEGs that a record stores."""
    return [jpeg.encode(image) for image in optical_flow.to_images(optical_flow.tv_l1(frames))]


def stored_waveform(path: pathlib.Path, start_seconds: float, seconds: float, waveform_hz: int) -> np.ndarray:
    """Return the audio of a file as the int16 samples that a record stores."""
    waveform = decode.read_audio(
        path, start_seconds=start_seconds, duration_seconds=seconds, sample_rate_hz=waveform_hz
    )
    return np.round(waveform * np.iinfo(np.int16).max).astype(np.int16)


def _read_clip(path, start, duration_seconds, settings) -> tuple[dict, float, str]:
    rate = FRONT_ENDS[settings.front_end].sample_rate_hz
    clip = decode.read_clip(
        path,
        start_seconds=start,
        duration_seconds=duration_seconds,
        frames_per_second=settings.frames_per_second,
        first_frame_seconds=settings.first_frame_seconds,
        short_side=settings.short_side,
        sample_rate_hz=rate,
    )
    covered = clip.covered_seconds
    if covered < (duration_seconds or 0):  # padding is not stored
        shown = clip.frame_times_ms < 1000 * covered
        clip = dataclasses.replace(
            clip,
            frames=clip.frames[shown],
            frame_times_ms=clip.frame_times_ms[shown],
            waveform=clip.waveform[: round(covered * rate)],
        )
    _refuse_short(path, covered, settings)
    _refuse_silence(path, clip.waveform, settings)
    if "still_frames" in settings.drop and is_still(clip.frames, clip.frame_times_ms):
        raise decode.UnreadableClip(path, "still_frames", "nothing moves between nine out of ten frames")
    media = media_features(clip, settings.front_end)
    if settings.optical_flow:
        media["optical_flow"] = flow_images(clip.frames)
    if settings.waveform_hz:
        media["waveform"] = stored_waveform(path, start, covered, settings.waveform_hz)
    return media, covered, clip.tracks


def _read_audio(path, start, duration_seconds, settings) -> dict:
    rate = FRONT_ENDS[settings.front_end].sample_rate_hz
    waveform = decode.read_audio(
        path, start_seconds=start, duration_seconds=duration_seconds, sample_rate_hz=rate, padded=False
    )
    covered = waveform.size / rate
    _refuse_short(path, covered, settings)
    _refuse_silence(path, waveform, settings)
    features = {"log_spectrogram": log_spectrogram(waveform, settings.front_end).astype(np.float16)}
    if settings.waveform_hz:
        features["waveform"] = stored_waveform(path, start, covered, settings.waveform_hz)
    return features


def _refuse_short(path, covered_seconds, settings):
    if covered_seconds < settings.min_seconds:
        raise decode.UnreadableClip(
            path, "too_short", f"video and audio cover {covered_seconds:.2f} s, less than {settings.min_seconds} s"
        )


def _refuse_silence(path, waveform, settings):
    peak = np.abs(waveform).max(initial=0)
    if "silent_audio" in settings.drop and peak < SILENCE_PEAK:
        raise decode.UnreadableClip(path, "silent_audio", f"peak {peak:.2g} of full scale, below {SILENCE_PEAK}")


def is_still(frames: np.ndarray, frame_times_ms: np.ndarray) -> bool:
    """Return whether nothing moves between nine out of ten successive frames, taken at least 0.2 s apart.

    Args:
      frames: uint8 `[frames, height, width, 3]`.
      frame_times_ms: time of each frame.
    """
    kept, last = [], -math.inf
    for frame, time in zip(frames, frame_times_ms, strict=True):
        if time - last >= STILL_STEP_MS:
            small = cv2.resize(frame, (STILL_PIXELS, STILL_PIXELS), interpolation=cv2.INTER_AREA)
            kept.append(small.astype(np.float32))
            last = time
    changes = [np.abs(b - a).mean() for a, b in itertools.pairwise(kept)]
    return bool(changes) and float(np.mean([change < STILL_CHANGE for change in changes])) >= STILL_SHARE
