"""Reads `config.evaluation.also_on`: further datasets to evaluate a checkpoint on, and how their settings differ."""

import ast
import re
from typing import Any

from ml_collections import ConfigDict

from avlearn.evaluation import collect, registry


def configs(config: ConfigDict) -> dict[str, ConfigDict]:
    """Return the config of the evaluation on each further dataset.

    An entry of `also_on` is `builder/config/split`, then settings as on the command line, without the prefix
    `--config.evaluation.`: `vgg_ss/full/test evaluators=ciou,pointing ciou.protocol=adaptive`. Without `evaluators=`,
    the evaluators of the config run, except those with a dataset of their own.

    Returns:
      `builder/config/split` to a copy of the config with these settings.

    Raises:
      ValueError: an entry of another form or without evaluators, a repeated dataset, or a setting that is unknown or
        cannot differ.
    """
    found = {}
    own = tuple(each.evaluator for each in registry.needs(config) if each.pairing in collect.PAIRS)
    for entry in config.evaluation.also_on:
        name, *settings = entry.split() or [""]
        if not re.fullmatch(r"[^/]+/[^/]+/[^/]+", name):
            raise ValueError(
                f"evaluation.also_on: {entry!r} does not begin with builder/config/split, such as vgg_ss/full/test."
            )
        if name in found:
            raise ValueError(f"evaluation.also_on names {name} twice.")
        other = config.copy_and_resolve_references()
        other.evaluation.dataset, other.evaluation.split = name.rsplit("/", 1)
        other.evaluation.also_on = ()
        other.evaluation.evaluators = own
        for setting in settings:
            _apply(other.evaluation, setting, entry)
        if not other.evaluation.evaluators:
            raise ValueError(
                f"evaluation.also_on: no evaluator would run on {name}; add evaluators=NAME,NAME to {entry!r}."
            )
        found[name] = other
    return found


def with_own_evaluators(config: ConfigDict) -> set[str]:
    """Return the further datasets whose entries name their evaluators."""
    entries = (entry.split() for entry in config.evaluation.also_on)
    return {name for name, *settings in entries if any(each.startswith("evaluators=") for each in settings)}


def _apply(evaluation: ConfigDict, setting: str, entry: str) -> None:
    """Apply one setting, such as `ciou.protocol=half`, to the section `evaluation`."""
    key, equals, text = setting.partition("=")
    section, _, option = key.rpartition(".")
    target = evaluation.get(section) if section else evaluation
    known = key == "evaluators" or (isinstance(target, ConfigDict) and section and option in target)
    if not (known and equals):
        raise ValueError(
            f"evaluation.also_on: {setting!r} in {entry!r} is unknown; after the dataset it takes evaluators=NAME,NAME "
            "and options of evaluators, such as ciou.ground_truth=consensus."
        )
    try:
        target[option] = _parsed(text, target[option])
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"evaluation.also_on: {setting!r} in {entry!r} cannot be read: {error}") from error


def _parsed(text: str, present: Any) -> Any:
    """Parse a value that has the type of the present one; commas separate the items of a tuple."""
    if isinstance(present, str):
        return text
    if isinstance(present, tuple):
        return tuple(_literal(item) for item in text.split(",") if item)
    return ast.literal_eval(text)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
