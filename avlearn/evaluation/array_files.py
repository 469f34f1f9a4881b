"""Saves and loads evaluation arrays, so that evaluators can rerun without the network (docs/metrics/scoring.md)."""

import json
import pathlib
import re
import zipfile
from collections.abc import Collection, Mapping

import jax
import numpy as np

from avlearn.types import Arrays

ABOUT = "about"  # key of the facts about the arrays
ARRAYS, FOR_REPORT = "arrays.npz", "report.npz"  # arrays for the metrics, and arrays that only the report shows


def about_arrays(about: Mapping, relevance: np.ndarray | None) -> Arrays:
    """Return facts about the arrays as arrays: `facts`, as JSON, and `class_relevance` unless it is None."""
    facts = {"facts": np.array(json.dumps(about))}
    return facts if relevance is None else facts | {"class_relevance": relevance}


def read_about(arrays: Mapping[str, Arrays]) -> tuple[np.ndarray, dict]:
    """Return the relevance between classes (the identity matrix if none is stored), and the facts about the arrays.

    Raises:
      ValueError: the relevance is not a square matrix of integers, or the facts are not JSON.
    """
    about = arrays.get(ABOUT, {})
    classes = arrays.get("all_positive", {}).get("labels", np.zeros((0, 0))).shape[-1]
    try:
        facts = json.loads(str(about.get("facts", "{}")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{ABOUT}/facts is not JSON ({error}); see docs/metrics/scoring.md") from error
    relevance = about.get("class_relevance", np.eye(classes, dtype=int))
    if relevance.dtype.kind not in "iu" or relevance.ndim != 2 or len(relevance) != relevance.shape[1]:
        raise ValueError(
            f"{ABOUT}/class_relevance is {relevance.dtype} {list(relevance.shape)}; it holds integers, with a row and "
            "a column for each class (docs/metrics/scoring.md)"
        )
    return relevance, facts


def save(
    workdir: pathlib.Path,
    results: Mapping,
    arrays: Mapping[str, Arrays],
    further_arrays: Mapping[str, Mapping[str, Arrays]] | None = None,
) -> None:
    """Write `results.json` and `arrays.npz` on the first process; remove the `report.npz` of an earlier evaluation.

    Args:
      workdir: directory of the run.
      results: see `scoring.results`.
      arrays: pairing to arrays.
      further_arrays: further dataset to its arrays; written to `arrays-<dataset>.npz`.
    """
    if jax.process_index() == 0:
        save_results(workdir, results)
        (workdir / FOR_REPORT).unlink(missing_ok=True)
    save_arrays(workdir / ARRAYS, arrays)
    for name, further in (further_arrays or {}).items():
        save_arrays(workdir / further_name(name), further)


def further_name(dataset: str) -> str:
    """Return the name of the file for a further dataset: `vgg_ss/full/test` gives `arrays-vgg_ss-full-test.npz`."""
    return "arrays-" + re.sub(r"[^\w.+:%[\]-]+", "-", dataset) + ".npz"


def save_arrays(path: pathlib.Path, arrays: Mapping[str, Arrays]) -> None:
    """Write an `.npz` on the first process, with keys such as `all_positive/labels`."""
    if jax.process_index() == 0:
        np.savez(path, **{f"{key}/{name}": array for key, named in arrays.items() for name, array in named.items()})


def save_results(workdir: pathlib.Path, results: Mapping) -> None:
    """Write `results.json`."""
    (workdir / "results.json").write_text(json.dumps(results, indent=2) + "\n")


def load_arrays(path: pathlib.Path, only: Collection[str] | None = None) -> dict[str, Arrays]:
    """Load the arrays that `save_arrays` or another system wrote: pairing (or `FIT`) to name to array.

    Args:
      path: path of the `.npz`.
      only: pairings to read; None: all.

    Raises:
      ValueError: the file is not an `.npz`, or a key is not `pairing/name`.
    """
    try:
        stored = np.load(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as an .npz ({error}); see docs/metrics/scoring.md") from error
    names = getattr(stored, "files", ["one array"])
    odd = [name for name in names if name.count("/") != 1]
    if odd:
        raise ValueError(f"{path}: {odd} are not names like all_positive/labels (docs/metrics/scoring.md)")
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
