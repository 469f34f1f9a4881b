"""Tables of the scores of one or several networks, each with its baseline on the same items."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of an evaluator that the table shows.

    Attributes:
      evaluator: key in `results.json`.
      name: key in the evaluator's result, or a path in it such as `all/max_f1`.
      title: label in the table; `{k}` stands for the result's `k`.
      baseline: path in the result's `baselines` to the baseline, or to a mapping that holds it under `name`; or the
        name of another metric of the result.
      baseline_title: label of the baseline in the table.
      further_items: name of a count in the result: items that this metric covers in addition to `items`.
      decimals: number of decimals shown.
    """

    evaluator: str
    name: str
    title: str
    baseline: str
    baseline_title: str
    further_items: str | None = None
    decimals: int = 3


METRICS = (
    Metric("avc_accuracy", "accuracy", "AVC accuracy", "chance", "chance"),
    Metric("shift_accuracy", "accuracy", "Accuracy on shifted pairs", "chance", "chance"),
    Metric("ndcg", "im-im", "nDCG@{k} image → image", "chance", "chance"),
    Metric("ndcg", "im-aud", "nDCG@{k} image → sound", "chance", "chance"),
    Metric("ndcg", "aud-im", "nDCG@{k} sound → image", "chance", "chance"),
    Metric("ndcg", "aud-aud", "nDCG@{k} sound → sound", "chance", "chance"),
    Metric("cca", "im-im", "nDCG@{k} image → image, CCA {components}", "chance", "chance"),
    Metric("cca", "im-aud", "nDCG@{k} image → sound, CCA {components}", "chance", "chance"),
    Metric("cca", "aud-im", "nDCG@{k} sound → image, CCA {components}", "chance", "chance"),
    Metric("cca", "aud-aud", "nDCG@{k} sound → sound, CCA {components}", "chance", "chance"),
    Metric("pointing", "accuracy", "Pointing accuracy", "centre", "centre"),
    Metric(
        "pointing",
        "mean_maximum_matched",
        "Mean maximum of the heat map",
        "mean_maximum_mismatched",
        "mismatched sound",
        further_items="without_sounding_box",
    ),
    Metric("ciou", "ciou", "cIoU ({protocol})", "centre", "centre disc"),
    Metric("ciou", "auc", "AUC of cIoU ({protocol})", "centre", "centre disc"),
    Metric(
        "negatives",
        "all/average_precision",
        "Average precision with negatives",
        "constant/average_precision",
        "constant confidence",
    ),
    Metric("negatives", "all/max_f1", "Greatest F1 with negatives", "constant/max_f1", "constant confidence"),
    Metric("iiou", "iiou", "IIoU", "centre", "centre disc"),
    Metric("nmi", "image", "NMI of image clusters", "random", "random clusters"),
    Metric("nmi", "audio", "NMI of sound clusters", "random", "random clusters"),
    *(
        Metric(
            "unit_preference",
            f"{mode}/{level}/classes",
            f"Classes with {level} clips of {article} unit",
            "random",
            "random ranking",
            decimals=1,
        )
        for mode, article in (("image", "an image"), ("audio", "a sound"))
        for level in ("4 of 5", "3 of 5")
    ),
    Metric("sound_classification", "accuracy", "Sound classification", "chance", "chance"),
    Metric("linear_probe", "top1", "Linear probe, top-1", "majority", "most frequent class"),
    Metric("tsne", "class_agreement", "Neighbours of one class on the map", "chance", "chance"),
)
COLUMNS = ("network", "score", "value", "baseline", "baseline's value", "items")


@dataclasses.dataclass(frozen=True)
class Score:
    """One metric of one network.

    Attributes:
      network: name of the run.
      score: label of the metric.
      value: of the metric.
      interval: its 95 % interval, if the evaluator gives one.
      baseline: label of the baseline.
      baseline_value: value of the baseline on the same items.
      items: number of items scored.
      items_expected: number of items that the split has.
      decimals: number of decimals shown.
    """

    network: str
    score: str
    value: float
    interval: tuple[float, float] | None
    baseline: str
    baseline_value: float
    items: int
    items_expected: int
    decimals: int = 3


def scores(results_by_run: Mapping[str, Mapping]) -> Iterator[Score]:
    """Yield every metric of `METRICS` that the results hold, run by run.

    Args:
      results_by_run: name of the run to the content of its `results.json`.
    """
    for network, results in results_by_run.items():
        for metric in METRICS:
            # For a network without audio, ndcg has no score across modes.
            if _at(results, f"{metric.evaluator}/{metric.name}") is not None:
                yield _score(network, metric, results[metric.evaluator])


def table(results_by_run: Mapping[str, Mapping]) -> str:
    """Format the scores as a table for the terminal."""
    rows = [COLUMNS] + [
        (
            score.network,
            score.score,
            f"{score.value:.{score.decimals}f}",
            score.baseline,
            f"{score.baseline_value:.{score.decimals}f}",
            f"{score.items}/{score.items_expected}",
        )
        for score in scores(results_by_run)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    rows.insert(1, tuple("-" * width for width in widths))
    aligned = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def _score(network: str, metric: Metric, result: Mapping) -> Score:
    baseline = _at(result["baselines"], metric.baseline)
    baseline = result[metric.baseline] if baseline is None else baseline
    interval = result.get(f"{metric.name}_interval")
    return Score(
        network=network,
        score=metric.title.format_map(result),
        value=_at(result, metric.name),
        interval=None if interval is None else tuple(interval),
        baseline=metric.baseline_title,
        baseline_value=_at(baseline, metric.name) if isinstance(baseline, Mapping) else baseline,
        items=result["items"] + (0 if metric.further_items is None else result[metric.further_items]),
        items_expected=result["items_expected"],
        decimals=metric.decimals,
    )


def _at(nested: Mapping, path: str) -> Any:
    """Return the value at a path such as `all/max_f1`, or None."""
    for name in path.split("/"):
        nested = nested.get(name) if isinstance(nested, Mapping) else None
    return nested
