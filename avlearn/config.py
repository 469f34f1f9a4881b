"""Compares configs, checks their values, and loads the files of configs/ by name."""

import importlib.util
import pathlib
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

import avlearn

FOLDER = pathlib.Path(avlearn.__file__).parents[1] / "configs"


def one_of(value, allowed: Collection, key: str) -> None:
    """Check a value that has a fixed set of choices.

    Args:
      value: value of the config.
      allowed: the choices.
      key: dotted key of the value, such as `train.schedule`.

    Raises:
      ValueError: the value is not one of the choices.
    """
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; --config.{key} takes {', '.join(map(str, allowed))}.")


def flat(config: ConfigDict | Mapping) -> dict[str, Any]:
    """Return a config as dotted keys and values; tuples become lists, so that it compares equal to a config.json."""
    values = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            values |= {f"{name}.{key}": inner for key, inner in flat(value).items()}
        else:
            values[name] = list(value) if isinstance(value, tuple) else value
    return values


def difference(a: ConfigDict | Mapping, b: ConfigDict | Mapping) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys in which two configs differ, with both values; None stands for a key that is absent."""
    first, second = flat(a), flat(b)
    both = {key: (first.get(key), second.get(key)) for key in sorted(first.keys() | second.keys())}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def summary(config: ConfigDict, base: ConfigDict) -> str:
    """List the settings in which a config differs from a base config, one line for each section."""
    sections: dict[str, list[str]] = {}
    for key, (_, value) in difference(base, config).items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, []).append(f"{name}={value}")
    titles = {section: f"{section}: " if section else "" for section in sections}  # the seed is in no section
    return "\n".join(f"  {titles[section]}{', '.join(settings)}" for section, settings in sections.items())


def names() -> list[str]:
    """Return the names of the files in configs/ except `base`, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "base"))


def load(name: str, variant: str = "") -> ConfigDict:
    """Load `configs/<name>.py`.

    Args:
      name: name of the file, such as `avenet`.
      variant: what follows the colon in `--config=configs/avenet.py:miniature`; empty: the default of the file.

    Raises:
      ValueError: the file or the variant does not exist.
    """
    if name not in names():
        raise ValueError(f"configs/ has no file {name!r}; it has {', '.join(names())}.")
    get_config = _module(name).get_config
    return get_config(variant) if variant else get_config()  # some files default to another variant than ""


def defaults() -> ConfigDict:
    """Load configs/base.py: the papers' settings that all configs start from."""
    return _module("base").get_config()


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"configs.{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
