"""Tabulates the scores of one or several networks, each with its baseline on the same items."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avlearn.types import TableRow, per_evaluator

COLUMNS = ("network", "dataset", "score", "value", "baseline", "baseline's value", "items")


@dataclasses.dataclass(frozen=True)
class Score:
    """One score of one network.

    Attributes:
      network: name of the run.
      dataset: dataset and split, as `builder/config/split`; "not stated" if the results do not state them.
      score: title of the metric.
      value: its value.
      interval: its 95 % interval; None if the evaluator gives none.
      baseline: title of the baseline.
      baseline_value: the baseline's value on the same items.
      items: number of items covered.
      items_expected: number of items expected.
      decimals: decimals to show.
    """

    network: str
    dataset: str
    score: str
    value: float
    interval: tuple[float, float] | None
    baseline: str
    baseline_value: float
    items: int
    items_expected: int
    decimals: int = 3


def scores(
    results_by_run: Mapping[str, Mapping], rows_of_evaluator: Mapping[str, Sequence[TableRow]]
) -> Iterator[Score]:
    """Yield a score for every table row that the runs' results have a value for, run by run.

    Args:
      results_by_run: name of the run to the content of its `results.json`.
      rows_of_evaluator: name of the evaluator to its rows; an evaluator without rows is left out.
    """
    for network, results in results_by_run.items():
        for name, found in per_evaluator(results):
            for row in rows_of_evaluator.get(name, ()):
                # For a network that takes no audio, ndcg has no metric across modes.
                if _at(found, row.name) is not None:
                    yield _score(network, row, found)


def table(results_by_run: Mapping[str, Mapping], rows_of_evaluator: Mapping[str, Sequence[TableRow]]) -> str:
    """Format `scores` as lines of text for a terminal, columns aligned."""
    rows = [COLUMNS] + [
        (
            score.network,
            score.dataset,
            score.score,
            f"{score.value:.{score.decimals}f}",
            score.baseline,
            f"{score.baseline_value:.{score.decimals}f}",
            f"{score.items}/{score.items_expected}",
        )
        for score in scores(results_by_run, rows_of_evaluator)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    rows.insert(1, tuple("-" * width for width in widths))
    aligned = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def _score(network: str, row: TableRow, result: Mapping) -> Score:
    baseline = _at(result["baselines"], row.baseline)
    baseline = result[row.baseline] if baseline is None else baseline
    interval = result.get(f"{row.name}_interval")
    return Score(
        network=network,
        dataset=_dataset(result),
        score=row.title.format_map(result),
        value=_at(result, row.name),
        interval=None if interval is None else tuple(interval),
        baseline=row.baseline_title,
        baseline_value=_at(baseline, row.name) if isinstance(baseline, Mapping) else baseline,
        items=result["items"] + (0 if row.further_items is None else result[row.further_items]),
        items_expected=result["items_expected"],
        decimals=row.decimals,
    )


def _dataset(result: Mapping) -> str:
    """Return dataset and split; several splits are separated by commas."""
    stated = [result.get(name, "not stated") for name in ("dataset", "split")]
    return "not stated" if "not stated" in stated else "/".join(stated)


def _at(nested: Mapping, path: str) -> Any:
    """Return the value at a path such as `all/max_f1`; None if it is missing."""
    for name in path.split("/"):
        nested = nested.get(name) if isinstance(nested, Mapping) else None
    return nested
