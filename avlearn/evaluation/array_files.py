"""Saves and loads evaluation arrays, so that evaluators can rerun without the network (docs/metrics/scoring.md)."""

import json
import pathlib
import re
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from avlearn import storage
from avlearn.types import Arrays

ABOUT = "about"  # key of the facts about the arrays
ARRAYS, FOR_REPORT = "arrays.npz", "report.npz"  # arrays for the metrics, and arrays that only the report shows
# Facts about the arrays, and about the source of a pairing: each with its type and that type in words.
FACTS = {
    "network": (str, "text"),
    "checkpoint_step": (int, "a whole number from 0"),
    "seed": (int, "a whole number from 0"),
    "sources": (dict, "an object"),
}
SOURCE = {
    "dataset": (str, "text"),
    "split": (str, "text"),
    "clips": (int, "a whole number from 0"),
    "rule": (str, "text"),
}


def about_arrays(about: Mapping, relevance: np.ndarray | None) -> Arrays:
    """Return facts about the arrays as arrays: `facts`, as JSON, and `class_relevance` unless it is None."""
    facts = {"facts": np.array(json.dumps(about))}
    return facts if relevance is None else facts | {"class_relevance": relevance}


def read_about(arrays: Mapping[str, Arrays]) -> tuple[np.ndarray | None, dict]:
    """Return the relevance between classes (None if it is not stored), and the facts about the arrays.

    Raises:
      ValueError: the facts are not JSON of the documented form.
    """
    about = arrays.get(ABOUT, {})
    where = f"{ABOUT}/facts"
    try:
        facts = json.loads(str(about.get("facts", "{}")), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({error}); see docs/metrics/scoring.md") from error
    _check_facts(where, facts, FACTS)
    for pairing, source in facts.get("sources", {}).items():
        _check_facts(f"{where}: sources.{pairing}", source, SOURCE)
    return about.get("class_relevance"), facts


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _check_facts(where: str, facts: Any, known: Mapping[str, tuple[type, str]]) -> None:
    if not isinstance(facts, dict):
        raise ValueError(f"{where} is {reprlib.repr(facts)}; expected an object (docs/metrics/scoring.md)")
    for name, (kind, words) in known.items():
        value = facts.get(name, kind())
        if type(value) is not kind or (kind is int and value < 0):
            raise ValueError(f"{where}: {name} is {reprlib.repr(value)}; expected {words} (docs/metrics/scoring.md)")


def save(
    workdir: pathlib.Path,
    results: Mapping,
    arrays: Mapping[str, Arrays] | None = None,
    further_arrays: Mapping[str, Mapping[str, Arrays]] | None = None,
    config: str | None = None,
) -> None:
    """Write the files of an evaluation on the first process: all of them or, if there is no space, none.

    The `report.npz` of an earlier evaluation is removed together with its `arrays.npz`.

    Args:
      workdir: directory of the run.
      results: see `scoring.results`; written to `results.json`.
      arrays: pairing to arrays; written to `arrays.npz`.
      further_arrays: further dataset to its arrays; written to `arrays-<dataset>.npz`.
      config: text of `config.json`; None: it stays as it is.
    """
    if jax.process_index() > 0:
        return
    texts = {"results.json": json.dumps(results, indent=2) + "\n"} | ({} if config is None else {"config.json": config})
    npz = {} if arrays is None else {ARRAYS: arrays}
    npz |= {further_name(name): further for name, further in (further_arrays or {}).items()}
    with storage.replaced(*(workdir / name for name in (*npz, *texts))) as new:
        for path, named in zip(new, npz.values(), strict=False):
            storage.write_npz(path, _flat(named))
        for path, text in zip(new[len(npz) :], texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
    if arrays is not None:
        (workdir / FOR_REPORT).unlink(missing_ok=True)


def further_name(dataset: str) -> str:
    """Return the name of the file for a further dataset: `vgg_ss/full/test` gives `arrays-vgg_ss-full-test.npz`."""
    return "arrays-" + re.sub(r"[^\w.+:%[\]-]+", "-", dataset) + ".npz"


def save_arrays(path: pathlib.Path, arrays: Mapping[str, Arrays]) -> None:
    """Write an `.npz` on the first process, with keys such as `all_positive/labels`."""
    if jax.process_index() == 0:
        with storage.replaced(path) as [new]:
            storage.write_npz(new, _flat(arrays))


def _flat(arrays: Mapping[str, Arrays]) -> Arrays:
    return {f"{key}/{name}": array for key, named in arrays.items() for name, array in named.items()}


def load_arrays(path: pathlib.Path, only: Collection[str] | None = None) -> dict[str, Arrays]:
    """Load the arrays that `save_arrays` wrote: pairing (or `FIT`) to name to array.

    Args:
      path: path of the `.npz`.
      only: pairings to read; None: all.

    Raises:
      ValueError: the file is not an `.npz`, a key is not `pairing/name`, or an array cannot be read.
    """
    arrays, unreadable = read_arrays(path, only)
    if unreadable:
        raise ValueError(f"{path}: {'; '.join(unreadable.values())}; see docs/metrics/scoring.md")
    return arrays


def read_arrays(path: pathlib.Path, only: Collection[str] | None = None) -> tuple[dict[str, Arrays], dict[str, str]]:
    """Read the arrays that this or another system saved, and the reasons why some cannot be read.

    Args:
      path: path of the `.npz`.
      only: pairings to read; None: all.

    Returns:
      Pairing (or `FIT`) to name to array, and `pairing/name` to the reason.

    Raises:
      ValueError: the file is not an `.npz`, or a key is not `pairing/name`.
    """
    try:
        stored = np.load(path)
    except Exception as error:  # whatever zipfile and NumPy raise on damaged files
        raise ValueError(f"{path} cannot be read as an .npz ({error}); see docs/metrics/scoring.md") from error
    names = getattr(stored, "files", ["one array"])
    odd = [name for name in names if name.count("/") != 1]
    if odd:
        raise ValueError(f"{path}: {odd} are not names like all_positive/labels (docs/metrics/scoring.md)")
    arrays: dict[str, Arrays] = {}
    unreadable = {}
    with stored:
        for key in names:
            pairing, name = key.split("/")
            if only is not None and pairing not in only:
                continue
            try:
                arrays.setdefault(pairing, {})[name] = _read_array(stored, key)
            except Exception as error:  # damaged, or Python objects, which could run code
                unreadable[key] = f"{key} cannot be read ({str(error) or repr(error)})"
    return arrays, unreadable


def _read_array(stored: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    if stored.files.count(key) > 1:
        raise ValueError("it is stored twice")
    array = stored[key]
    if not isinstance(array, np.ndarray):  # NpzFile returns the bytes of other files
        raise ValueError("it is not an .npy file")
    return array
