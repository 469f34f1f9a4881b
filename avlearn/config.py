"""Loads the config files of experiments by their names."""

import importlib.util
import pathlib

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
    return module.get_config(variant) if variant else module.get_config()  # some configs default to another variant
