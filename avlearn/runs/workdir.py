"""The directory of a run: checks that it can be used, takes it, and writes `config.json`."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator, Mapping

import jax
from ml_collections import ConfigDict

from avlearn import storage
from avlearn.config import difference, flat
from avlearn.devices import processes
from avlearn.runs import lock

FILE = "config.json"
# Settings that determine the weights, the batches and the optimizer's state, and the exceptions among them.
DECISIVE = ("seed", "model", "loss", "inputs", "data")
DECISIVE += ("train.num_workers", "train.batch_per_worker", "train.initialise_from", "train.frozen")
DECISIVE += ("train.weight_decay_kind",)
MAY_CHANGE = ("data.data_dir", "data.threads")


def check_same_run(path: pathlib.Path, config: ConfigDict | Mapping) -> None:
    """Check that a directory is new, or holds a run with the same network, batches and optimizer; writes nothing.

    Raises:
      ValueError: names the settings that differ.
    """
    if jax.process_index() > 0 or not holds_training(path):
        return
    there = storage.read_json(path / FILE, "Restore it from a copy, or choose another --workdir.")
    # Keys that the config no longer declares have no effect.
    declared = flat(config)
    differing = [
        f"\n  {key}: {old} there, {new} now"
        for key, (old, new) in difference(there, config).items()
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


def check_writable(path: pathlib.Path) -> None:
    """Check that a directory can be written, or created if it is absent; writes nothing.

    Raises:
      ValueError: it cannot.
    """
    nearest = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if jax.process_index() == 0 and not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise _not_writable(path, errno.EACCES if nearest.is_dir() else errno.ENOTDIR)


@contextlib.contextmanager
def taken(path: pathlib.Path, config: ConfigDict | None = None) -> Iterator[None]:
    """Create the directory if it is absent, and hold it (`lock.held`) so that no other run writes there.

    Args:
      path: path of the directory.
      config: config of the run, to check that nobody has started another run there before; None: any.

    Raises:
      ValueError: it cannot be written, is not the same for all processes, is in use, or holds another run.
    """
    make(path)
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            try:
                stack.enter_context(lock.held(path))
            except PermissionError as error:
                raise _not_writable(path, error.errno) from error
        if config is not None:
            check_same_run(path, config)
        yield


def make(path: pathlib.Path) -> None:
    """Create the directory if it is absent, and check that all processes see it.

    Raises:
      ValueError: it cannot be written, or is not the same directory for all processes.
    """
    if jax.process_index() == 0:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(path, error.errno) from error
        check_writable(path)
    processes.check_shared_directory(path)


def write_config(path: pathlib.Path, config: ConfigDict) -> None:
    """Write `config.json`, or replace it as a whole."""
    if jax.process_index() == 0:
        storage.write_text(path / FILE, text_of(config))


def text_of(config: ConfigDict) -> str:
    """Return the text of a `config.json`."""
    return config.to_json(indent=2) + "\n"


def trained_with(path: pathlib.Path) -> dict[str, dict] | None:
    """Return the settings that a run was trained with and that a report states; None if no `config.json` has them."""
    if not (path / FILE).is_file():
        return None
    config = storage.read_json(path / FILE, "Restore it from a copy.")
    stated = {"data": ("dataset", "train_split"), "train": ("steps", "num_workers", "batch_per_worker")}
    try:
        return {section: {name: config[section][name] for name in names} for section, names in stated.items()}
    except (KeyError, TypeError):
        return None


def _not_writable(path: pathlib.Path, number: int) -> ValueError:
    return ValueError(
        f"the workdir {path} cannot be written ({os.strerror(number)}). Choose another with --workdir=DIRECTORY."
    )
