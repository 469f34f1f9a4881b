"""Draws loss, accuracy and predicted positives over the training steps, as SVG."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import matplotlib

from avlearn.visuals import svg_chart


@dataclasses.dataclass(frozen=True)
class TrainingChart:
    """A chart of one quantity over the training steps.

    Attributes:
      quantity: name in the rows of `metrics.jsonl`, after `train/` or `validation/`.
      title: heading of the chart.
      level: value of an untrained network, drawn as a dotted line; None if it depends on the run.
      level_name: label of that line.
      lowest, highest: ends of the vertical axis; None: the range of the values.
    """

    quantity: str
    title: str
    level: float | None
    level_name: str
    lowest: float | None = None
    highest: float | None = None


LOSS = TrainingChart("loss", "Loss", math.log(2), "ln 2, chance for losses on single pairs", lowest=0.0)
ACCURACY = TrainingChart("accuracy", "AVC accuracy", 0.5, "chance", highest=1.0)
PREDICTED_POSITIVE = TrainingChart("predicted_positive", "Predicted positives", 0.5, "half", lowest=0.0, highest=1.0)
ON_PAIRS = ("avc", "all_pairs", "shifted")  # pairings whose loss classifies each pair, with balanced classes


def select_charts(pairings: Collection[str]) -> tuple[TrainingChart, ...]:
    """Return the charts for runs trained with these pairings; only for some of them is ln 2 the chance level."""
    with_level = any(pairing in ON_PAIRS for pairing in pairings)
    return (LOSS if with_level else dataclasses.replace(LOSS, level=None), ACCURACY, PREDICTED_POSITIVE)


def points(metrics: Sequence[Mapping[str, int | float]], key: str) -> tuple[list[int], list[float]]:
    """Return steps and values of the rows that have the key."""
    rows = [row for row in metrics if key in row]
    return [row["step"] for row in rows], [row[key] for row in rows]


def curves(metrics_by_run: Mapping[str, Sequence[Mapping[str, int | float]]], chart: TrainingChart) -> str:
    """Draw one chart: each run in its own colour, training thin, validation thick.

    Returns:
      An `<svg>` element (see `svg_chart.svg`).
    """
    with svg_chart.axes(chart.quantity) as axes:
        if chart.level is not None:
            axes.axhline(chart.level, color="#000000", linewidth=1, linestyle=(0, (1, 2.5)), alpha=0.7)
        for number, metrics in enumerate(metrics_by_run.values()):
            colour = svg_chart.colour(number)
            axes.plot(*points(metrics, f"train/{chart.quantity}"), color=colour, linewidth=1, alpha=0.45)
            axes.plot(*points(metrics, f"validation/{chart.quantity}"), color=colour, linewidth=2, marker="o", ms=2.5)
        axes.set_ylim(chart.lowest, chart.highest)
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
        return svg_chart.svg(axes.figure, chart.quantity)
