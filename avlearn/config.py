"""Loads the config files of experiments by their names, and checks values of their keys."""

import importlib.util
import pathlib
from collections.abc import Collection

from ml_collections import ConfigDict

import avlearn

FOLDER = pathlib.Path(avlearn.__file__).parents[1] / "configs"


def names() -> list[str]:
    """Returns the names of the files in configs/, without `base`, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "base"))


def load(name: str, variant: str = "") -> ConfigDict:
    """Loads `configs/<name>.py`.

    Args:
      name: name of the file, such as `avenet`.
      variant: what follows the colon in `--config=configs/avenet.py:miniature`.

    Raises:
      ValueError: there is no such file, or no such variant.
    """
    if name not in names():
        raise ValueError(f"configs/ has no file {name!r}; it has {', '.join(names())}.")
    spec = importlib.util.spec_from_file_location(f"configs.{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def one_of(value: str, allowed: Collection[str], key: str) -> None:
    """Check the value of a key that takes one of several names.

    Args:
      value: value to check.
      allowed: names that the key takes.
      key: dotted key of the config, such as `evaluation.ndcg.gain`.

    Raises:
      ValueError: the value is not allowed.
    """
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; --config.{key} takes {', '.join(allowed)}.")
