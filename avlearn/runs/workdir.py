"""The directory of a run: checks that it can be used, and writes `config.json`."""

import errno
import json
import os
import pathlib
from collections.abc import Mapping

import jax
from ml_collections import ConfigDict

from avlearn.config import difference, flat
from avlearn.devices import processes

FILE = "config.json"
# Settings that determine the weights and the batches, and the exceptions among them.
DECISIVE = ("seed", "model", "loss", "inputs", "data")
DECISIVE += ("train.num_workers", "train.batch_per_worker", "train.initialise_from", "train.frozen")
MAY_CHANGE = ("data.data_dir", "data.threads")


def check_same_run(path: pathlib.Path, config: ConfigDict | Mapping) -> None:
    """Check that a directory is new, or holds a run with the same network and batches; writes nothing.

    Raises:
      ValueError: names the settings that differ.
    """
    if jax.process_index() > 0 or not holds_training(path):
        return
    # Keys that the config no longer declares have no effect.
    declared = flat(config)
    differing = [
        f"\n  {key}: {there} there, {here} now"
        for key, (there, here) in difference(json.loads((path / FILE).read_text()), config).items()
        if key in declared and key not in MAY_CHANGE and f"{key}.".startswith(tuple(f"{name}." for name in DECISIVE))
    ]
    if differing:
        raise ValueError(
            f"{path} holds a run with another config:{''.join(differing)}\n"
            "Choose another --workdir, or the settings of that run."
        )


def holds_training(path: pathlib.Path) -> bool:
    """Return whether training has been started in a directory."""
    return (path / "checkpoints").exists() and (path / FILE).exists()


def make(path: pathlib.Path) -> None:
    """Create the directory if it is absent, and check that all processes see it.

    Raises:
      ValueError: it cannot be written, or is not the same directory for all processes.
    """
    if jax.process_index() == 0:
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise ValueError(
                f"the workdir {path} cannot be written ({error.strerror}). Choose another with --workdir=DIRECTORY."
            ) from error
    processes.check_shared_directory(path)


def write_config(path: pathlib.Path, config: ConfigDict) -> None:
    """Write `config.json` atomically: if the process is killed, either the old file or the new one remains."""
    if jax.process_index() == 0:
        new = path / f"{FILE}.new"
        new.write_text(config.to_json(indent=2) + "\n")
        new.replace(path / FILE)
