"""Keeps what an evaluation has computed in a folder of the workdir, so that it resumes after an interruption."""

import hashlib
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable

import jax
import numpy as np

import avlearn
from avlearn import storage
from avlearn.devices import processes
from avlearn.runs.damage import is_full_disk
from avlearn.types import Arrays

LOG = logging.getLogger("avlearn")
FOLDER = "unfinished_evaluation"
Keep = Callable[[str, Callable[[], Arrays]], Arrays]  # from a name and a function to its arrays


def keep_nothing(_: str, compute: Callable[[], Arrays]) -> Arrays:
    """Compute the arrays: the `Keep` of an evaluation that is not resumed."""
    return compute()


def fingerprint(config: str, folders: Iterable[str | os.PathLike]) -> str:
    """Return a checksum of a config, avlearn's version, and the names, sizes and times of files in (local) folders."""
    found = hashlib.sha256(f"{avlearn.__version__} {config}".encode())
    for folder in folders:
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if path.is_file():
                found.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return found.hexdigest()


def _read(path: pathlib.Path) -> Arrays | None:
    try:
        with np.load(path) as kept:
            return dict(kept)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever zipfile and NumPy raise on damaged files
        LOG.warning("%s cannot be read (%s); it is computed again.", path, error)
        return None


class Unfinished:
    """The folder of an evaluation; anything in it that another evaluation has left is removed.

    Args:
      workdir: directory of the run.
      fingerprint: checksum of all that the arrays depend on.
    """

    def __init__(self, workdir: pathlib.Path, fingerprint: str):
        self._folder = workdir / FOLDER
        self._full = False
        marker = self._folder / "fingerprint"
        if jax.process_index() == 0 and not (marker.exists() and marker.read_text() == fingerprint):
            self.remove()
            self._folder.mkdir()
            storage.write_text(marker, fingerprint)

    def keep(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return the arrays that are kept under a name; compute and keep them if they are absent or damaged.

        Raises:
          ValueError: this process cannot read what the first one reads.
        """
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.npz"  # names may differ in [:9] alone
        kept = _read(path)
        if processes.agreed(kept is not None):
            if kept is None:
                raise ValueError(f"{path} cannot be read by process {jax.process_index()}. Start again.")
            LOG.info("%s: kept by the evaluation that was interrupted.", name.capitalize())
            return kept
        found = compute()
        if jax.process_index() == 0 and not self._full:
            self._write(path, found)
        return found

    def _write(self, path: pathlib.Path, arrays: Arrays) -> None:
        try:
            with storage.replaced(path) as [new]:
                storage.write_npz(new, arrays)
        except OSError as error:
            if not is_full_disk(error):
                raise
            LOG.warning("No space is left to keep what is computed: the evaluation cannot resume if it is interrupted.")
            self._full = True
            self.remove()

    def remove(self) -> None:
        """Remove the folder; call it when the evaluation has ended."""
        if jax.process_index() == 0:
            shutil.rmtree(self._folder, ignore_errors=True)
