"""Finds the files of segments in a folder of clips, in any of the layouts that downloaders leave."""

import os
import pathlib
from collections.abc import Iterator

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a")


def walk(folder: str | os.PathLike, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    """Files below a folder with one of the suffixes, as (stem, path, bytes); links to folders are followed."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes:
                path = os.path.join(parent, name)
                yield stem, path, os.stat(path).st_size


def stems(video_id: str, start_seconds: float, duration_seconds: float | None) -> list[str]:
    """Names that a segment's file may have, without suffix, the most telling first; the last is `video_id` alone.

    Times are written as seconds (`30`, `30.0`, `30.000`), as seconds in six digits (`000030`) or as milliseconds
    (`30000`); `id_start_end` comes before `id_start`.
    """
    if duration_seconds is None:
        return [video_id]
    starts = _written(start_seconds)
    both = [f"{video_id}_{a}_{b}" for a, b in zip(starts, _written(start_seconds + duration_seconds), strict=True)]
    return list(dict.fromkeys([*both, *(f"{video_id}_{start}" for start in starts), video_id]))


def _written(time_seconds: float) -> list[str]:
    whole = [f"{round(time_seconds)}", f"{round(time_seconds):06d}"] if time_seconds == round(time_seconds) else []
    plain = f"{time_seconds:g}"
    whole = whole or [plain, plain]
    return [*whole, f"{time_seconds:.1f}", f"{time_seconds:.3f}", f"{round(1000 * time_seconds)}"]


def what_is_there(folder: str | os.PathLike, suffixes: tuple[str, ...], count: int = 3) -> list[str]:
    """The first few media files of a folder, or, where it has none, the first few names in it."""
    found = [path for _, (_, path, _) in zip(range(count), walk(folder, suffixes), strict=False)]
    return found or sorted(str(path) for path in pathlib.Path(folder).iterdir())[:count]
