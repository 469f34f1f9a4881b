"""From a network to figures: one forward pass per pairing, arrays, evaluators, `results.json`.

The arrays are saved, so that evaluators can be run again without the network. See `collect` for what they hold.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from avlearn import parallel
from avlearn.types import Batch, Outputs

Arrays = dict[str, np.ndarray]
# These stand beside the pairings, for evaluators that are fitted:
FIT = "fit"  # corresponding pairs of the training split
VALIDATION = "validation"  # pairs of the validation split, half of them corresponding


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """One of avlearn/evaluators with its options.

    Attributes:
      name: of its file.
      needs: names of the arrays it reads.
      pairing: pairs it is computed on, `avc`, `shifted` or `all_positive`.
      evaluate: arrays to figures.
      options: keyword arguments of `evaluate`.
      fit_needs: names of the arrays that it is fitted on; none where nothing is fitted.
      fit_on: which arrays those are, `FIT` or `VALIDATION`.
    """

    name: str
    needs: Sequence[str]
    pairing: str
    evaluate: Callable[..., dict]
    options: Mapping[str, Any]
    fit_needs: Sequence[str] = ()
    fit_on: str = FIT


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


def collect(predict: Callable[[Batch], Outputs], batches: Iterable[tuple[Batch, Arrays]]) -> Arrays:
    """One pass over a split, padding dropped.

    Args:
      predict: batch of NumPy arrays to outputs on the devices.
      batches: batches with the annotations of their real rows.

    Returns:
      One row a pair: the annotations of the input pipeline (image_item, audio_item, clip_id, labels, boxes ...),
      `corresponds`, and every array of `Outputs`.
    """
    rows = []
    for batch, annotations in batches:
        real = batch.weight > 0
        outputs = parallel.to_host(predict(batch))
        predicted = {name: getattr(outputs, name)[real] for name in sorted(output_names(outputs))}
        rows.append({**annotations, "corresponds": batch.corresponds[real], **predicted})
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def run(evaluators: Iterable[Evaluator], arrays: Mapping[str, Arrays], *, clips: int) -> dict[str, dict]:
    """Runs evaluators on collected arrays.

    Args:
      evaluators: what to compute.
      arrays: pairing to arrays; under `FIT` and `VALIDATION`, what evaluators with `fit_needs` are fitted on. Arrays
        that an evaluator makes, such as positions on a map, are added as `<evaluator>_<name>`.
      clips: clips of the split; `avc` and `shifted` have two pairs for each.

    Returns:
      Evaluator's name to its figures.
    """
    pairs_per_clip = {"avc": 2, "shifted": 2, "all_positive": 1}
    results = {}
    for evaluator in evaluators:
        figures = evaluator.evaluate(
            arrays[evaluator.pairing],
            arrays[evaluator.fit_on] if evaluator.fit_needs else None,
            items_expected=clips * pairs_per_clip[evaluator.pairing],
            **evaluator.options,
        )
        for name, array in figures.pop("arrays", {}).items():
            arrays[evaluator.pairing][f"{evaluator.name}_{name}"] = array
        results[evaluator.name] = figures
    return results


def save(workdir: pathlib.Path, results: Mapping, arrays: Mapping[str, Arrays]) -> None:
    """Writes `results.json` and `arrays.npz` on the first process; keys are `pairing/name`, `fit/name` and the like."""
    if jax.process_index() == 0:
        (workdir / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        flat = {f"{pairing}/{name}": array for pairing, named in arrays.items() for name, array in named.items()}
        np.savez(workdir / "arrays.npz", **flat)


def load_arrays(path: pathlib.Path) -> dict[str, Arrays]:
    """The arrays that `save` wrote: pairing (or `FIT`, `VALIDATION`) to name to array."""
    arrays: dict[str, Arrays] = {}
    with np.load(path) as stored:
        for key in stored.files:
            pairing, name = key.split("/")
            arrays.setdefault(pairing, {})[name] = stored[key]
    return arrays
