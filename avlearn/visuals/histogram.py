"""Draws the distribution of a quantity over the clips of a dataset's splits."""

import math
from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Float

from avlearn.visuals import svg_chart

BINS = 20

Number = float | int
Tally = Mapping[Number, int]  # value to the number of clips that have it


def quantile(tally: Tally, share: Number) -> float:
    """Return the smallest value that a given share of the clips does not exceed."""
    values = np.array(sorted(tally))
    reached = np.cumsum([tally[value] for value in values.tolist()])
    return float(values[np.searchsorted(reached, share * reached[-1])])


def edges(lowest: Number, highest: Number, min_width: Number) -> Float[np.ndarray, " edges"]:
    """Return the edges of about `BINS` bins or fewer; width and first edge are multiples of `min_width`."""
    width = min_width * max(1, math.ceil((highest - lowest) / BINS / min_width))
    first = math.floor(lowest / width + 1e-9)
    return width * np.arange(first, math.floor(highest / width + 1e-9) + 2, dtype=np.float64)


def histogram(tallies: Mapping[str, Tally], name: str, unit: str, min_width: Number) -> str:
    """Draw the share of each split's clips in each bin, each split in its own colour (`svg_chart.colour`).

    Args:
      tallies: name of each split to its tally.
      name: id of the chart, unique on its page.
      unit: label of the horizontal axis.
      min_width: least width of a bin; bins start at multiples of it.

    Returns:
      An `<svg>` element, or an empty string if all values are equal.
    """
    values = {value for tally in tallies.values() for value in tally}
    if len(values) < 2:
        return ""
    bins = edges(min(values), max(values), min_width)
    with svg_chart.axes(name, width=5.2, height=2.6) as axes:
        numbers = [number for number, tally in enumerate(tallies.values()) if tally]
        filled = [tally for tally in tallies.values() if tally]
        axes.hist(
            # A value on an edge belongs to the bin that starts there, whatever its rounding error.
            [np.array(list(tally)) + 1e-6 * min_width for tally in filled],
            weights=[np.array(list(tally.values())) / sum(tally.values()) for tally in filled],
            bins=bins,
            color=[svg_chart.colour(number) for number in numbers],
        )
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.set_xlabel(unit)
        return svg_chart.svg(axes.figure, name)
