"""Saves and loads evaluation arrays, so that evaluators can run again without the network (docs/metrics/scoring.md)."""

import json
import pathlib
import zipfile
from collections.abc import Collection, Mapping

import jax
import numpy as np

from avlearn.types import Arrays

ABOUT = "about"  # and this: what the arrays are of
ARRAYS, FOR_REPORT = "arrays.npz", "report.npz"  # what figures are from, and what only the report shows


def about_arrays(about: Mapping, relevance: np.ndarray | None) -> Arrays:
    """What the arrays are of, as arrays: `facts`, JSON, and `class_relevance` where it was asked for."""
    facts = {"facts": np.array(json.dumps(about))}
    return facts if relevance is None else facts | {"class_relevance": relevance}


def read_about(arrays: Mapping[str, Arrays]) -> tuple[np.ndarray, dict]:
    """Relevance between classes (that of equal classes only, where none is stored), and what the arrays are of.

    Raises:
      ValueError: the relevance is no table of integers, or the facts are no JSON.
    """
    about = arrays.get(ABOUT, {})
    classes = arrays.get("all_positive", {}).get("labels", np.zeros((0, 0))).shape[-1]
    try:
        facts = json.loads(str(about.get("facts", "{}")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{ABOUT}/facts is no JSON ({error}); see docs/metrics/scoring.md") from error
    relevance = about.get("class_relevance", np.eye(classes, dtype=int))
    if relevance.dtype.kind not in "iu" or relevance.ndim != 2 or len(relevance) != relevance.shape[1]:
        raise ValueError(
            f"{ABOUT}/class_relevance is {relevance.dtype} {list(relevance.shape)}; it holds integers, with a row and "
            "a column for each class (docs/metrics/scoring.md)"
        )
    return relevance, facts


def save(workdir: pathlib.Path, results: Mapping, arrays: Mapping[str, Arrays]) -> None:
    """Writes `results.json` and `arrays.npz` on the first process; what an earlier evaluation left to show goes."""
    if jax.process_index() == 0:
        save_results(workdir, results)
        (workdir / FOR_REPORT).unlink(missing_ok=True)
    save_arrays(workdir / ARRAYS, arrays)


def save_arrays(path: pathlib.Path, arrays: Mapping[str, Arrays]) -> None:
    """Writes an `.npz` on the first process; its keys are `pairing/name`, `fit/name` and the like."""
    if jax.process_index() == 0:
        np.savez(path, **{f"{key}/{name}": array for key, named in arrays.items() for name, array in named.items()})


def save_results(workdir: pathlib.Path, results: Mapping) -> None:
    """Writes `results.json`."""
    (workdir / "results.json").write_text(json.dumps(results, indent=2) + "\n")


def load_arrays(path: pathlib.Path, only: Collection[str] | None = None) -> dict[str, Arrays]:
    """The arrays that `save_arrays` wrote, or another system: pairing (or `FIT`) to name to array.

    Args:
      path: of the `.npz`.
      only: pairings to read; None: all.

    Raises:
      ValueError: it is no such file, or a key is not `pairing/name`.
    """
    try:
        stored = np.load(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as an .npz ({error}); see docs/metrics/scoring.md") from error
    names = getattr(stored, "files", ["one array"])
    odd = [name for name in names if name.count("/") != 1]
    if odd:
        raise ValueError(f"{path}: {odd} are no names like all_positive/labels (docs/metrics/scoring.md)")
    arrays: dict[str, Arrays] = {}
    with stored:
        for key in names:
            pairing, name = key.split("/")
            if only is None or pairing in only:
                try:
                    arrays.setdefault(pairing, {})[name] = stored[key]
                except ValueError as error:  # Python objects
                    raise ValueError(f"{path}: {key} cannot be read ({error}); see docs/metrics/scoring.md") from error
    return arrays
