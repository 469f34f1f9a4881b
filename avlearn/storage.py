"""Files that are replaced as a whole, and JSON files whose errors name the file."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np


@contextlib.contextmanager
def replaced(*paths: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Yield a new file beside each path to write to; once all are on disk, they take the places of the old ones.

    After an error while they are written, such as a full disk, or if the process is killed then, the old files remain.
    The renames follow one after another: a process that is killed between two leaves some files old and some new.
    """
    new = [path.with_name(f"{path.name}.new") for path in paths]
    try:
        yield new
        for each in new:
            with each.open("rb+") as file:
                os.fsync(file.fileno())
        for each, path in zip(new, paths, strict=True):
            each.replace(path)
    finally:
        for each in new:
            each.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file, or replace it as a whole."""
    with replaced(path) as [new]:
        new.write_text(text, encoding="utf-8")


def write_npz(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` under exactly this name; NumPy adds a suffix."""
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_json(path: pathlib.Path, remedy: str) -> dict:
    """Read a file that holds a JSON object.

    Args:
      path: path of the file.
      remedy: sentence for the error: what to do if the file is damaged.

    Raises:
      ValueError: the file is damaged or cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}). {remedy}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). {remedy}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (it does not hold a JSON object). {remedy}")
    return found
