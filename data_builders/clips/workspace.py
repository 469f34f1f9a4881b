"""The folder in which a dataset is built: its lock, its clean-up, and errors of its disk."""

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
    """The folder `<version>.unfinished` next to a dataset, for one build at a time.

    Args:
      dataset: folder of the finished dataset.

    Attributes:
      folder: folder to build in.
    """

    def __init__(self, dataset: pathlib.Path):
        self.folder = dataset.parent / f"{dataset.name}{UNFINISHED}"
        self._dataset = dataset
        self._lock = None

    def __enter__(self) -> "Workspace":
        """Lock the folder.

        Raises:
          ValueError: another build is using it, or has just finished the dataset.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ValueError(f"another build is using {self.folder}; wait for it, or stop it") from None
        if self._dataset.exists():
            self.close()
            raise ValueError(f"another build has just finished {self._dataset}; nothing is left to do")
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Unlock the folder after a failure; after success, `remove` unlocks it."""
        if kind is not None:
            self.close()

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Remove the folder, now that the dataset is complete."""
        shutil.rmtree(self.folder)
        self.close()

    def clean(self, wanted: Iterable[str], own: str) -> None:
        """Remove the files of builds that were killed or had another number of shards.

        Args:
          wanted: paths of the shards of this build.
          own: name of the temporary folder that TFDS made for this build.
        """
        names = {os.path.basename(path) for path in wanted} | {"lock", "plan.sqlite"}
        for path in self.folder.iterdir():
            if path.name not in names and path.name.removesuffix(path.suffix) not in names:
                path.unlink()
        for path in self.folder.parent.glob(f"incomplete.*_{self._dataset.name}"):
            if path.name != own:
                shutil.rmtree(path)

    def publish(self, name: str, target: pathlib.Path) -> None:
        """Link a finished file into the folder that TFDS renames to the dataset's; an interruption loses nothing."""
        try:
            os.link(self.folder / name, target / name)
        except OSError:
            shutil.copy(self.folder / name, target / name)


@contextlib.contextmanager
def explain_disk_errors(folder: pathlib.Path) -> Iterator[None]:
    """Add a remedy to errors about a full disk or an unwritable folder."""
    again = f"and run the same command again. Finished shards are kept in {folder}"
    try:
        yield
    except sqlite3.OperationalError as error:
        files = "the plan of the build, or a temporary file (in SQLITE_TMPDIR, or TMPDIR, or /var/tmp)"
        raise OSError(f"cannot write {files}: {error}. Free some space, {again}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, f"the disk is full: free some space, {again}") from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise OSError(error.errno, f"{error.strerror}: {error.filename}. Fix that, {again}") from error
        raise
