"""Finds the files of segments in a folder of clips, in any of the layouts that downloaders leave."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a")


@dataclasses.dataclass(frozen=True, slots=True)
class ClipFile:
    """A media file.

    Attributes:
      stem: its name without suffix.
      path: where it is.
      num_bytes, modified_ns: by which a file that was fetched anew is told from the old one.
    """

    stem: str
    path: str
    num_bytes: int
    modified_ns: int


def walk(folder: str | os.PathLike, suffixes: tuple[str, ...], skipped: list[str] | None = None) -> Iterator[ClipFile]:
    """Files below a folder with one of the suffixes; links to folders are followed, each folder is entered once.

    Args:
      folder: where to begin.
      suffixes: of the files wanted.
      skipped: takes the names that cannot be used, with the reason: links to nothing, names that are no text.

    Raises:
      OSError: a folder cannot be listed.
    """
    skipped = [] if skipped is None else skipped
    entered = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes:
                path = os.path.join(parent, name)
                try:
                    path.encode()
                    status = os.stat(path)
                except (OSError, UnicodeEncodeError) as error:
                    skipped.append(f"{os.fsencode(path)!r}: {type(error).__name__}")
                    continue
                yield ClipFile(stem, path, status.st_size, status.st_mtime_ns)


def _refuse(error: OSError):
    raise OSError(error.errno, f"the folder cannot be listed: {error.strerror}", error.filename) from error


def stems(video_id: str, start_seconds: float, duration_seconds: float | None) -> list[str]:
    """Names that a segment's file may have, without suffix, the most telling first; the last is `video_id` alone.

    Times are written as seconds (`30`, `30.0`, `30.000`), as seconds in six digits (`000030`) or as milliseconds
    (`30000`); `id_start_end` and `id_start-end` come before `id_start`. A time between two seconds is also looked for
    as the second before it.
    """
    if duration_seconds is None:
        return [video_id]
    starts = _written(start_seconds)
    ends = _written(start_seconds + duration_seconds)
    both = [f"{video_id}_{a}{join}{b}" for join in "_-" for a, b in zip(starts, ends, strict=True)]
    return list(dict.fromkeys([*both, *(f"{video_id}_{start}" for start in starts), video_id]))


def _written(time_seconds: float) -> list[str]:
    exact = [f"{time_seconds:.1f}", f"{time_seconds:.3f}", f"{round(1000 * time_seconds)}"]
    second = int(time_seconds)
    in_seconds = [f"{second}", f"{second:06d}"]
    return in_seconds + exact if second == time_seconds else exact + in_seconds


def what_is_there(folder: str | os.PathLike, suffixes: tuple[str, ...], count: int = 3) -> list[str]:
    """The first few media files of a folder, or, where it has none, the first few names in it."""
    found = [file.path for file in itertools.islice(walk(folder, suffixes), count)]
    return found or sorted(str(path) for path in pathlib.Path(folder).iterdir())[:count]
