"""Finds the files of segments in a folder of clips, in any of the layouts that downloaders leave."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator

from data_builders.clips import listing

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


def walk(
    folder: str | os.PathLike, suffixes: tuple[str, ...], skip: Callable[[str], None] = lambda text: None
) -> Iterator[ClipFile]:
    """Files below a folder with one of the suffixes: a folder's own by their names, then those of the folders in it.

    Links to folders are followed, each folder is entered once. What has a name that begins with a dot is no clip and no
    folder of clips, such as the `._x.mp4` that a Mac leaves beside `x.mp4`, or a `.Trash`. Nothing is held that grows
    with the number of files.

    Args:
      folder: where to begin.
      suffixes: of the files wanted.
      skip: takes each of them that is not used, with the reason: hidden, a link to nothing, no text.

    Raises:
      OSError: a folder cannot be listed.
    """
    with contextlib.closing(listing.temporary()) as entered:
        entered.execute("CREATE TABLE folders (device_and_inode TEXT PRIMARY KEY) WITHOUT ROWID")
        yield from _walk(os.fspath(folder), suffixes, skip, entered)


def _walk(folder: str, suffixes: tuple[str, ...], skip: Callable[[str], None], entered: sqlite3.Connection):
    status = os.stat(folder)
    row = (f"{status.st_dev} {status.st_ino}",)
    if not entered.execute("INSERT OR IGNORE INTO folders VALUES (?)", row).rowcount:
        return
    for is_folder, name in _names(folder, suffixes):
        path = os.path.join(folder, name)
        if name.startswith("."):
            skip(f"{path!r}: hidden")
            continue
        if is_folder:
            yield from _walk(path, suffixes, skip, entered)
            continue
        try:
            path.encode()
            status = os.stat(path)
        except (OSError, UnicodeEncodeError) as error:
            skip(f"{path!r}: {type(error).__name__}")
            continue
        yield ClipFile(os.path.splitext(name)[0], path, status.st_size, status.st_mtime_ns)


def _names(folder: str, suffixes: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    """Whether each is a folder, and its name: files with one of the suffixes, then folders, put in order on disk."""
    with contextlib.closing(listing.temporary()) as names:
        names.execute("CREATE TABLE names (is_folder INTEGER, name BLOB, PRIMARY KEY (is_folder, name)) WITHOUT ROWID")
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = _is_folder(entry)
                    if is_folder or os.path.splitext(entry.name)[1].lower() in suffixes:
                        names.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (is_folder, os.fsencode(entry.name)))
        except OSError as error:
            raise OSError(error.errno, f"the folder cannot be listed: {error.strerror}", folder) from error
        for is_folder, name in names.execute("SELECT is_folder, name FROM names ORDER BY is_folder, name"):
            yield bool(is_folder), os.fsdecode(name)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


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
