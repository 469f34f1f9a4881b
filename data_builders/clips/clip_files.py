"""Finds the files of segments in a folder of clips, in any layout that downloaders produce."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import sqlite3
import stat
from collections.abc import Callable, Iterator

from data_builders.clips import listing

VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp", ".3g2", ".f4v", ".ts", ".mts", ".m2ts", ".mpg"),
    *(".mpeg", ".vob", ".wmv", ".asf", ".ogv", ".mxf"),
)
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".oga", ".opus", ".aac", ".aif", ".aiff", ".wma")


@dataclasses.dataclass(frozen=True, slots=True)
class ClipFile:
    """A media file.

    Attributes:
      stem: name of the file without its suffix.
      path: path of the file.
      num_bytes, modified_ns: distinguish a file that was downloaded again from the old one.
    """

    stem: str
    path: str
    num_bytes: int
    modified_ns: int


def walk(
    folder: str | os.PathLike, suffixes: tuple[str, ...], skip: Callable[[str], None] = lambda text: None
) -> Iterator[ClipFile]:
    """Yield the files below a folder that have one of the suffixes: its own by name, then those of its subfolders.

    Links to folders are followed; each folder is entered once. Names that begin with a dot are skipped, such as the
    `._x.mp4` that a Mac leaves next to `x.mp4`, or a `.Trash`. Memory does not grow with the number of files.

    Args:
      folder: folder to search, or a single file.
      suffixes: suffixes of the wanted files.
      skip: called with a path and the reason for each file that is not used: hidden, not a regular file, not readable,
        a broken link, a name that is not Unicode; and for each subfolder that is hidden or cannot be listed.

    Raises:
      OSError: the folder cannot be listed.
    """
    if os.path.isfile(folder):
        yield from _usable_file(os.fspath(folder), skip)
        return
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
        elif not is_folder:
            yield from _usable_file(path, skip)
        else:
            files = _walk(path, suffixes, skip, entered)
            try:
                first = next(files, None)
            except PermissionError:
                skip(f"{path!r}: no permission to list it")
                continue
            if first is not None:
                yield first
                yield from files
            elif _has_suffix(name, suffixes):
                skip(f"{path!r}: a folder")


def _usable_file(path: str, skip: Callable[[str], None]) -> Iterator[ClipFile]:
    """Yield the file at a path, unless it is not a regular file that can be read; opening a pipe would hang."""
    try:
        path.encode()
        status = os.stat(path)
    except UnicodeEncodeError:
        skip(f"{path!r}: its name is not Unicode")
    except OSError as error:
        skip(f"{path!r}: {'a broken link' if os.path.islink(path) else error.strerror}")
    else:
        if not stat.S_ISREG(status.st_mode):
            skip(f"{path!r}: a pipe, socket or device")
        elif not os.access(path, os.R_OK):
            skip(f"{path!r}: no permission to read it")
        else:
            stem = os.path.splitext(os.path.basename(path))[0]
            yield ClipFile(stem, path, status.st_size, status.st_mtime_ns)


def _has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes


def _names(folder: str, suffixes: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    """Yield (is it a folder, name) for each entry: files first, then folders, each sorted by name, on disk."""
    with contextlib.closing(listing.temporary()) as names:
        names.execute("CREATE TABLE names (is_folder INTEGER, name BLOB, PRIMARY KEY (is_folder, name)) WITHOUT ROWID")
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = _is_folder(entry)
                    if is_folder or _has_suffix(entry.name, suffixes):
                        names.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (is_folder, os.fsencode(entry.name)))
        except OSError as error:
            raise OSError(error.errno, f"the folder cannot be listed: {error.strerror}", folder) from error
        for is_folder, name in names.execute("SELECT is_folder, name FROM names ORDER BY is_folder, name"):
            yield bool(is_folder), os.fsdecode(name)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def possible_stems(video_id: str, start_seconds: float, duration_seconds: float | None) -> list[str]:
    """Return the names that a segment's file may have, without suffix, the most specific first, `video_id` last.

    Times are written as seconds (`30`, `30.0`, `30.000`), as seconds in six digits (`000030`) or as milliseconds
    (`30000`); `id_start_end` and `id_start-end` come before `id_start`. A fractional time may also be rounded down.
    """
    if duration_seconds is None:
        return [video_id]
    starts = _time_formats(start_seconds)
    ends = _time_formats(start_seconds + duration_seconds)
    both = [f"{video_id}_{a}{join}{b}" for join in "_-" for a, b in zip(starts, ends, strict=True)]
    return list(dict.fromkeys([*both, *(f"{video_id}_{start}" for start in starts), video_id]))


def _time_formats(time_seconds: float) -> list[str]:
    exact = [f"{time_seconds:.1f}", f"{time_seconds:.3f}", f"{round(1000 * time_seconds)}"]
    second = int(time_seconds)
    in_seconds = [f"{second}", f"{second:06d}"]
    return in_seconds + exact if second == time_seconds else exact + in_seconds


def example_names(folder: str | os.PathLike, suffixes: tuple[str, ...], count: int = 3) -> list[str]:
    """Return the first few media files of a folder or, if it has none, the first few names in it."""
    found = [file.path for file in itertools.islice(walk(folder, suffixes), count)]
    return found or sorted(str(path) for path in pathlib.Path(folder).iterdir())[:count]
