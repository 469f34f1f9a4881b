"""Loss, accuracy and predicted positives over the steps of training, as SVG that takes the page's colours."""

import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

# Legible on light and on dark ground, and told apart by colour-blind readers.
COLOURS = ("#3a86d0", "#e07b28", "#2a9d77", "#b35fb0", "#a08a2c", "#8a8f98")


@dataclasses.dataclass(frozen=True)
class Chart:
    """What one chart shows.

    Attributes:
      quantity: name in the rows of `metrics.jsonl`, after `train/` or `validation/`.
      title: heading of the chart.
      level: where a network that has learnt nothing stands.
      level_name: what that level is called.
      lowest: lower end of the axis; None: where the values end.
      highest: upper end of the axis; None: where the values end.
    """

    quantity: str
    title: str
    level: float
    level_name: str
    lowest: float | None = None
    highest: float | None = None


CHARTS = (
    Chart("loss", "Loss", math.log(2), "ln 2, chance", lowest=0.0),
    Chart("accuracy", "AVC accuracy", 0.5, "chance", highest=1.0),
    Chart("predicted_positive", "Predicted positives", 0.5, "half", lowest=0.0, highest=1.0),
)


def points(metrics: Sequence[Mapping[str, int | float]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have the key."""
    rows = [row for row in metrics if key in row]
    return [row["step"] for row in rows], [row[key] for row in rows]


def curves(metrics_by_run: Mapping[str, Sequence[Mapping[str, int | float]]], chart: Chart) -> str:
    """Draws one chart: each run in its colour of `COLOURS` (in order), training thin, validation thick.

    Returns:
      An `<svg>` element. Black is written as `currentColor`: axes and texts follow the page's light or dark ink.
    """
    style = {"svg.fonttype": "none", "svg.hashsalt": chart.quantity, "text.parse_math": False, "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.0, 2.7), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(chart.level, color="#000000", linewidth=1, linestyle=(0, (1, 2.5)), alpha=0.7)
        for number, metrics in enumerate(metrics_by_run.values()):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*points(metrics, f"train/{chart.quantity}"), color=colour, linewidth=1, alpha=0.45)
            axes.plot(*points(metrics, f"validation/{chart.quantity}"), color=colour, linewidth=2, marker="o", ms=2.5)
        axes.set_ylim(chart.lowest, chart.highest)
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
        axes.grid(color="#000000", alpha=0.1, linewidth=0.8)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        return _svg(figure, chart.quantity)


def _svg(figure: Figure, prefix: str) -> str:
    file = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue().replace("#000000", "currentColor")
    # Several charts share one page, and ids have to be unique in it.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    return text[text.index("<svg") :]
