"""The folder in which a dataset is built, until it is whole: its lock, what earlier builds left, and a full disk."""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator

UNFINISHED = ".unfinished"


class Workspace:
    """`<version>.unfinished` beside a dataset; one build at a time works in it.

    Args:
      dataset: folder of the dataset that will stand in the end.

    Attributes:
      folder: where to work.
    """

    def __init__(self, dataset: pathlib.Path):
        self.folder = dataset.parent / f"{dataset.name}{UNFINISHED}"
        self._dataset = dataset
        self._lock = None

    def __enter__(self) -> "Workspace":
        """Locks the folder.

        Raises:
          ValueError: another build is at work in it, or finished it meanwhile.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ValueError(f"another build is at work in {self.folder}; wait for it, or end it") from None
        if self._dataset.exists():
            self.close()
            raise ValueError(f"another build has just finished {self._dataset}; there is nothing left to do")
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Unlocks the folder after a failure; after success, `remove` does."""
        if kind is not None:
            self.close()

    def close(self) -> None:
        """Unlocks the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Removes the folder, now that the dataset stands."""
        shutil.rmtree(self.folder)
        self.close()

    def clean(self, wanted: Iterable[str], own: str) -> None:
        """Removes what builds that were ended, or asked for another division into shards, left behind.

        Args:
          wanted: paths of the shards of this build.
          own: name of the folder that TFDS made for this one.
        """
        names = {os.path.basename(path) for path in wanted} | {"lock", "plan.sqlite"}
        for path in self.folder.iterdir():
            if path.name not in names and path.name.removesuffix(path.suffix) not in names:
                path.unlink()
        for path in self.folder.parent.glob(f"incomplete.*_{self._dataset.name}"):
            if path.name != own:
                shutil.rmtree(path)

    def publish(self, name: str, target: pathlib.Path) -> None:
        """Puts a finished file where TFDS makes the dataset of it; by a link, so that an interruption loses nothing."""
        try:
            os.link(self.folder / name, target / name)
        except OSError:
            shutil.copy(self.folder / name, target / name)


@contextlib.contextmanager
def explained(folder: pathlib.Path) -> Iterator[None]:
    """Within it, a disk that is full, or a folder that cannot be written, is said with what to do."""
    again = f"and run the same command again. Finished shards are kept in {folder}"
    try:
        yield
    except sqlite3.OperationalError as error:
        files = "the plan of the build, or a temporary file (in SQLITE_TMPDIR, or TMPDIR, or /var/tmp)"
        raise OSError(f"cannot write {files}: {error}. Make room, {again}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, f"the disk is full: make room, {again}") from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise OSError(error.errno, f"{error.strerror}: {error.filename}. Mend that, {again}") from error
        raise
