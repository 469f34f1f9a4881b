"""Draws nDCG@K against K and against the number of CCA directions (OtS figures 10 and 9), as SVG."""

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib

from avlearn.visuals import svg_chart

COMBINATIONS = ("im-im", "im-aud", "aud-im", "aud-aud")
PUBLISHED_K = 30
PUBLISHED_CHANCE = 0.407


@dataclasses.dataclass(frozen=True)
class Published:
    """A row of OtS table 1: nDCG@30 on AudioSet-Instruments, in the order of `COMBINATIONS`."""

    name: str
    values: tuple[float, ...]

    def value(self, combination: str) -> float | None:
        """Return the nDCG of one combination, or None if the row lacks it."""
        return dict(zip(COMBINATIONS, self.values, strict=False)).get(combination)


@dataclasses.dataclass(frozen=True)
class RetrievalChart:
    """A figure of the paper, one chart for each combination of query and database.

    Attributes:
      evaluator: key in `results.json`.
      series: key in the evaluator's result: position on the axis to the nDCG of the combinations.
      title: heading.
      source: the paper's figure.
      axis: label of the horizontal axis.
      published: network (config.model.name) to its row of the paper's table 1.
      published_at: position of that row on the axis; None, for a horizontal line, if the paper does not state it.
    """

    evaluator: str
    series: str
    title: str
    source: str
    axis: str
    published: Mapping[str, Published]
    published_at: int | None


CHARTS = (
    RetrievalChart(
        "ndcg",
        "by_k",
        "nDCG@K against K",
        "Objects that Sound, figure 10",
        "K",
        {
            "l3net": Published("L3-Net", (0.567, 0.418, 0.385, 0.653)),
            "avenet": Published("AVE-Net", (0.604, 0.561, 0.587, 0.665)),
            "vgg16": Published("VGG16", (0.600,)),
        },
        PUBLISHED_K,
    ),
    RetrievalChart(
        "cca",
        "by_components",
        "nDCG against the directions of CCA",
        "Objects that Sound, figure 9",
        "directions",
        {
            "l3net": Published("L3-Net with CCA", (0.578, 0.531, 0.560, 0.649)),
            "vgg16": Published("VGG16 and L3-Net audio with CCA", (0.493, 0.458, 0.464, 0.618)),
        },
        None,
    ),
)


@dataclasses.dataclass(frozen=True)
class Curve:
    """One run in one chart: positions on the axis, values and chance at each, and the paper's row for its network."""

    run: str
    colour: str
    at: tuple[int, ...]
    values: tuple[float, ...]
    chance: tuple[float, ...]
    published: Published | None


@dataclasses.dataclass(frozen=True)
class RetrievalFigure:
    """A chart as the page shows it.

    Attributes:
      chart: the quantities shown.
      svgs: combination of query and database to an `<svg>` element.
      runs: name of each run in the chart to its colour.
      published: name of each row of the paper in the chart to its colour.
    """

    chart: RetrievalChart
    svgs: Mapping[str, str]
    runs: Mapping[str, str]
    published: Mapping[str, str]


def draw(results_by_run: Mapping[str, Mapping], networks: Sequence[str]) -> list[RetrievalFigure]:
    """Draw the charts of `CHARTS` for which some run was evaluated at two or more positions on the axis.

    Args:
      results_by_run: name of the run to the content of its `results.json`, in the order of the runs' colours.
      networks: config.model.name of each run.
    """
    figures = []
    for chart in CHARTS:
        curves = {each: _curves(results_by_run, networks, chart, each) for each in COMBINATIONS}
        svgs = {each: _svg(found, chart, each) for each, found in curves.items() if found}
        all_curves = [curve for found in curves.values() for curve in found]
        runs = {curve.run: curve.colour for curve in all_curves}
        published = {curve.published.name: curve.colour for curve in all_curves if curve.published is not None}
        if svgs:
            figures.append(RetrievalFigure(chart, svgs, runs, published))
    return figures


def _svg(curves: Sequence[Curve], chart: RetrievalChart, combination: str) -> str:
    """Draw each run in its own colour, with its chance level dotted.

    The paper's score is a diamond on a stem that starts at the paper's chance level, or a dashed horizontal line.
    """
    name = f"{chart.series}-{combination}"
    with svg_chart.axes(name, 5.2, 2.9) as axes:
        for curve in curves:
            colour = curve.colour
            axes.plot(curve.at, curve.values, color=colour, linewidth=2, marker="o", ms=3)
            axes.plot(curve.at, curve.chance, color=colour, linewidth=1.2, linestyle=(0, (1, 2.5)))
            published = None if curve.published is None else curve.published.value(combination)
            if published is not None and chart.published_at is None:
                axes.axhline(published, color=colour, linewidth=1.2, linestyle=(0, (5, 3)))
            elif published is not None:
                stem = {"color": colour, "linewidth": 1, "marker": "_", "alpha": 0.7}
                axes.plot(2 * [chart.published_at], [PUBLISHED_CHANCE, published], **stem)
                axes.plot(chart.published_at, published, color=colour, marker="D", ms=6, mfc="none", mew=1.5)
        ticks = sorted({at for curve in curves for at in curve.at})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
        axes.set_ylim(0, 1.05 * axes.dataLim.y1)  # because Matplotlib gives flat curves no margin
        axes.set_xlabel(chart.axis)
        return svg_chart.svg(axes.figure, name)


def _curves(
    results_by_run: Mapping[str, Mapping], networks: Sequence[str], chart: RetrievalChart, combination: str
) -> list[Curve]:
    """Return the curves of the runs that have this combination at two or more positions on the axis."""
    found = []
    for number, ((run, results), network) in enumerate(zip(results_by_run.items(), networks, strict=True)):
        series = results.get(chart.evaluator, {}).get(chart.series, {})
        rows = {int(at): row for at, row in series.items() if combination in row}
        if len(rows) < 2:
            continue
        at = tuple(sorted(rows))
        chance = results[chart.evaluator]["baselines"]["chance"]
        found.append(
            Curve(
                run=run,
                colour=svg_chart.colour(number),
                at=at,
                values=tuple(rows[each][combination] for each in at),
                chance=tuple(rows[each].get("chance", chance)[combination] for each in at),
                published=chart.published.get(network),
            )
        )
    return found
