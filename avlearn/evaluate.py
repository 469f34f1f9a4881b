"""From a network to figures: one forward pass per pairing, arrays, evaluators, `results.json`.

The arrays are saved, so that evaluators can be run again without the network. See `collect` for what they hold.
"""

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from avlearn import parallel
from avlearn.types import Outputs

Arrays = dict[str, np.ndarray]
FIRST_DRAW, DRAWS = "avc", "avc_draws"  # pairings: balanced pairs, and the same with several draws of the negatives
PAIRS = frozenset(
    {"all_positive", FIRST_DRAW, DRAWS, "shifted", "negatives", "sources"}
)  # of the experiment's own dataset
# These stand beside the pairings, for evaluators that are fitted:
FIT = "fit"  # corresponding pairs of the training split
VALIDATION = "validation"  # pairs of the validation split, half of them corresponding
IMAGES_FIT = "images_fit"  # pictures of the training split
ABOUT = "about"  # and this: what the arrays are of
NOT_STATED = "not stated"
ARRAYS, FOR_REPORT = "arrays.npz", "report.npz"  # what figures are from, and what only the report shows
REFUSED = "refused"  # in place of figures: why an evaluator has none


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """One of avlearn/evaluators with its options.

    Attributes:
      name: of its file.
      needs: names of the arrays it reads.
      pairing: rows it is computed on: a key of the sources.
      evaluate: arrays to figures.
      options: keyword arguments of `evaluate`.
      optional: names of the arrays it reads where they are there.
      fit_needs: names of the arrays that it is fitted on; none where nothing is fitted.
      fit_on: which arrays those are: `FIT`, `VALIDATION` or `IMAGES_FIT`.
    """

    name: str
    needs: Sequence[str]
    pairing: str
    evaluate: Callable[..., dict]
    options: Mapping[str, Any]
    optional: Sequence[str] = ()
    fit_needs: Sequence[str] = ()
    fit_on: str = FIT

    @property
    def reads(self) -> dict[str, set[str]]:
        """Key of the arrays that it uses (its pairing, and what it is fitted on) to their names."""
        fit = {self.fit_on: {*self.fit_needs, *self.optional}} if self.fit_needs else {}
        return {self.pairing: {*self.needs, *self.optional}} | fit


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the arrays of a pairing come from.

    Attributes:
      dataset: "builder/config".
      split: its name; of several, all their names.
      clips: what an evaluation of it covers.
      collect: state of the network, and names of the arrays that are wanted, to arrays.
      rule: by which clips of the split were chosen.
    """

    dataset: str
    split: str
    clips: int
    collect: Callable[..., Arrays]
    rule: str = "all"

    @property
    def facts(self) -> dict[str, Any]:
        """What results say of it."""
        return {"dataset": self.dataset, "split": self.split, "clips": self.clips, "rule": self.rule}


def output_names(outputs: Outputs) -> set[str]:
    """The arrays that a network delivers; `outputs` may hold shapes only."""
    return {field.name for field in dataclasses.fields(outputs) if getattr(outputs, field.name) is not None}


def check_needs(evaluators: Iterable[Evaluator], available: set[str], network: str) -> None:
    """Checks before the first step that the network and the records deliver what evaluators read.

    Raises:
      ValueError: names the evaluator and what is missing.
    """
    for evaluator in evaluators:
        missing = [name for name in (*evaluator.needs, *evaluator.fit_needs) if name not in available]
        if missing:
            raise ValueError(
                f"the evaluator {evaluator.name} needs {', '.join(missing)}, which {network} does not deliver "
                f"(it delivers {', '.join(sorted(available))}). Leave it out of config.evaluation.evaluators."
            )


def collect(predict: Callable[[Any], Mapping], batches: Iterable[tuple[Any, Arrays]]) -> Arrays:
    """One pass over a split, padding dropped.

    Args:
      predict: batch of NumPy arrays to named arrays on the devices.
      batches: batches, padded at their end, with the annotations of their real rows.

    Returns:
      One row a pair: the annotations of the input pipeline (image_item, audio_item, clip_id, labels, boxes ...) and
      what the network said.
    """
    rows = []
    for batch, annotations in batches:
        real = len(next(iter(annotations.values())))
        predicted = parallel.to_host(predict(batch))
        rows.append({**annotations, **{name: array[:real] for name, array in predicted.items()}})
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def only(arrays: Arrays, names: Collection[str]) -> Arrays:
    """The named arrays, and what says whose rows they are."""
    return {name: array for name, array in arrays.items() if name in {*names, "image_item", "clip_id"}}


def first_draw_apart(arrays: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """Parts pairs of several draws: all arrays of the first as `avc`, of all draws what is one number a pair."""
    if DRAWS not in arrays:
        return dict(arrays)
    drawn = arrays[DRAWS]
    first = drawn["pair_draw"] <= 0
    return {
        **arrays,
        FIRST_DRAW: {name: array[first] for name, array in drawn.items()},
        DRAWS: {name: array for name, array in drawn.items() if array.ndim == 1 and name != "clip_id"},
    }


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
        raise ValueError(f"{ABOUT}/facts is no JSON ({error}); see docs/scoring.md") from error
    relevance = about.get("class_relevance", np.eye(classes, dtype=int))
    if relevance.dtype.kind not in "iu" or relevance.ndim != 2 or len(relevance) != relevance.shape[1]:
        raise ValueError(
            f"{ABOUT}/class_relevance is {relevance.dtype} {list(relevance.shape)}; it holds integers, with a row and "
            "a column for each class (docs/scoring.md)"
        )
    return relevance, facts


def results(evaluators: Iterable[Evaluator], arrays: Mapping[str, Arrays], about: Mapping) -> dict[str, dict]:
    """Figures, each with what it is of.

    Args:
      evaluators: what to compute.
      arrays: see `run`.
      about: network, checkpoint_step, seed, and sources: key of the arrays to dataset, split and clips (`Source`).
        What is not there is stated as such.

    Returns:
      Evaluator's name to its figures; of one that refuses its arrays, to the reason under `REFUSED`: it must not cost
      the others' figures (`check_refused`).
    """
    sources = about.get("sources", {})
    clips = {name: source.get("clips") for name, source in sources.items()}
    figures = {}
    stated = {name: about.get(name, NOT_STATED) for name in ("network", "checkpoint_step", "seed")}
    for evaluator in evaluators:
        source = sources.get(evaluator.pairing, {})
        try:
            # An evaluator that draws says its own seed.
            found = stated | run((evaluator,), arrays, clips=clips)[evaluator.name]
        except ValueError as error:
            figures[evaluator.name] = {REFUSED: str(error)}
            continue
        figures[evaluator.name] = found | {name: source.get(name, NOT_STATED) for name in ("dataset", "split")}
        if evaluator.fit_needs:
            fit = sources.get(evaluator.fit_on, {})
            names = {"dataset": "dataset", "split": "split", "clips": "clips_of_split", "rule": "rule"}
            found["fit"] |= {title: fit.get(name, NOT_STATED) for name, title in names.items()}
    return figures


def check_refused(results: Mapping[str, Mapping]) -> None:
    """Raises what evaluators had to say against their arrays, once the figures of the others are safe.

    Raises:
      ValueError: an evaluator has refused its arrays.
    """
    reasons = [figures[REFUSED] for figures in results.values() if REFUSED in figures]
    if reasons:
        raise ValueError("\n".join(reasons))


def run(
    evaluators: Iterable[Evaluator], arrays: Mapping[str, Arrays], *, clips: Mapping[str, int | None]
) -> dict[str, dict]:
    """Runs evaluators on collected arrays.

    Args:
      evaluators: what to compute.
      arrays: pairing to arrays; under `fit_on`, what evaluators with `fit_needs` are fitted on. Arrays
        that an evaluator makes, such as positions on a map, are added as `<evaluator>_<name>`.
      clips: pairing to the clips there should be; None: as many as are given.

    Returns:
      Evaluator's name to its figures.

    Raises:
      ValueError: the arrays of a pairing are missing, or an evaluator refuses them.
    """
    results = {}
    for evaluator in evaluators:
        figures = evaluator.evaluate(
            _of_pairing(evaluator, arrays, evaluator.pairing),
            _of_pairing(evaluator, arrays, evaluator.fit_on) if evaluator.fit_needs else None,
            items_expected=clips.get(evaluator.pairing),
            **evaluator.options,
        )
        for name, array in figures.pop("arrays", {}).items():
            arrays[evaluator.pairing][f"{evaluator.name}_{name}"] = array
        results[evaluator.name] = figures
    return results


def _of_pairing(evaluator: Evaluator, arrays: Mapping[str, Arrays], pairing: str) -> Arrays:
    if pairing not in arrays:
        needs = evaluator.needs if pairing == evaluator.pairing else evaluator.fit_needs
        raise ValueError(
            f"{evaluator.name}: no arrays {pairing}/..., 0 rows; there are {', '.join(sorted(arrays)) or 'none'}. They "
            f"should hold {', '.join(needs)} (docs/scoring.md)"
        )
    return arrays[pairing]


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
        raise ValueError(f"{path} cannot be read as an .npz of arrays ({error}); see docs/scoring.md") from error
    names = getattr(stored, "files", ["one array"])
    odd = [name for name in names if name.count("/") != 1]
    if odd:
        raise ValueError(f"{path}: {odd} are no names like all_positive/labels (docs/scoring.md)")
    arrays: dict[str, Arrays] = {}
    with stored:
        for key in names:
            pairing, name = key.split("/")
            if only is None or pairing in only:
                try:
                    arrays.setdefault(pairing, {})[name] = stored[key]
                except ValueError as error:  # Python objects
                    raise ValueError(f"{path}: {key} cannot be read ({error}); see docs/scoring.md") from error
    return arrays
