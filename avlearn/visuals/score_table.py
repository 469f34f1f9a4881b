"""The scores of one or several networks, each beside its baseline on the same items."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of an evaluator that the table shows.

    Attributes:
      evaluator: key in `results.json`.
      name: of the figure, key in the evaluator's result; of nested ones the path, such as `all/max_f1`.
      title: how the table calls it; `{k}` is the result's `k`.
      baseline: its baseline: a path in the result's `baselines`, to it or to what holds it by the figure's name; or the
        name of another figure of the result.
      baseline_title: how the table calls that.
      further_items: name of a count in the result: items that this figure covers beyond `items`.
      decimals: that are shown.
    """

    evaluator: str
    name: str
    title: str
    baseline: str
    baseline_title: str
    further_items: str | None = None
    decimals: int = 3


FIGURES = (
    Figure("avc_accuracy", "accuracy", "AVC accuracy", "chance", "chance"),
    Figure("shift_accuracy", "accuracy", "Accuracy on shifted pairs", "chance", "chance"),
    Figure("ndcg", "im-im", "nDCG@{k} image → image", "chance", "chance"),
    Figure("ndcg", "im-aud", "nDCG@{k} image → sound", "chance", "chance"),
    Figure("ndcg", "aud-im", "nDCG@{k} sound → image", "chance", "chance"),
    Figure("ndcg", "aud-aud", "nDCG@{k} sound → sound", "chance", "chance"),
    Figure("cca", "im-im", "nDCG@{k} image → image, CCA {components}", "chance", "chance"),
    Figure("cca", "im-aud", "nDCG@{k} image → sound, CCA {components}", "chance", "chance"),
    Figure("cca", "aud-im", "nDCG@{k} sound → image, CCA {components}", "chance", "chance"),
    Figure("cca", "aud-aud", "nDCG@{k} sound → sound, CCA {components}", "chance", "chance"),
    Figure("pointing", "accuracy", "Pointing accuracy", "centre", "centre"),
    Figure(
        "pointing",
        "mean_maximum_matched",
        "Mean maximum of the heat map",
        "mean_maximum_mismatched",
        "mismatched sound",
        further_items="without_sounding_box",
    ),
    Figure("ciou", "ciou", "cIoU ({protocol})", "centre", "centre disc"),
    Figure("ciou", "auc", "AUC of cIoU ({protocol})", "centre", "centre disc"),
    Figure(
        "negatives",
        "all/average_precision",
        "Average precision with negatives",
        "constant/average_precision",
        "constant confidence",
    ),
    Figure("negatives", "all/max_f1", "Greatest F1 with negatives", "constant/max_f1", "constant confidence"),
    Figure("iiou", "iiou", "IIoU", "centre", "centre disc"),
    Figure("nmi", "image", "NMI of image clusters", "random", "random clusters"),
    Figure("nmi", "audio", "NMI of sound clusters", "random", "random clusters"),
    *(
        Figure(
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
    Figure("sound_classification", "accuracy", "Sound classification", "chance", "chance"),
    Figure("linear_probe", "top1", "Linear probe, top-1", "majority", "most frequent class"),
    Figure("tsne", "class_agreement", "Neighbours of one class on the map", "chance", "chance"),
)
COLUMNS = ("network", "score", "value", "baseline", "baseline's value", "items")


@dataclasses.dataclass(frozen=True)
class Score:
    """One figure of one network.

    Attributes:
      network: name of the run.
      score: what was measured.
      value: the figure.
      interval: its 95 % interval, where the evaluator gives one.
      baseline: name of what it is compared with.
      baseline_value: the baseline's figure on the same items.
      items: items covered.
      items_expected: items that should have been.
      decimals: that are shown.
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
    """Every figure of `FIGURES` that the runs' results hold, run by run.

    Args:
      results_by_run: name of the run to the content of its `results.json`.
    """
    for network, results in results_by_run.items():
        for figure in FIGURES:
            # Of a network that does not hear, ndcg has no figure across modes.
            if _at(results, f"{figure.evaluator}/{figure.name}") is not None:
                yield _score(network, figure, results[figure.evaluator])


def table(results_by_run: Mapping[str, Mapping]) -> str:
    """The scores as lines of text for a terminal, columns aligned."""
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


def _score(network: str, figure: Figure, result: Mapping) -> Score:
    baseline = _at(result["baselines"], figure.baseline)
    baseline = result[figure.baseline] if baseline is None else baseline
    interval = result.get(f"{figure.name}_interval")
    return Score(
        network=network,
        score=figure.title.format_map(result),
        value=_at(result, figure.name),
        interval=None if interval is None else tuple(interval),
        baseline=figure.baseline_title,
        baseline_value=_at(baseline, figure.name) if isinstance(baseline, Mapping) else baseline,
        items=result["items"] + (0 if figure.further_items is None else result[figure.further_items]),
        items_expected=result["items_expected"],
        decimals=figure.decimals,
    )


def _at(nested: Mapping, path: str) -> Any:
    """What stands at a path such as `all/max_f1`; None where there is nothing."""
    for name in path.split("/"):
        nested = nested.get(name) if isinstance(nested, Mapping) else None
    return nested
