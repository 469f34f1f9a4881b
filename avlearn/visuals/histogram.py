"""How a quantity is distributed over the clips of a dataset's splits."""

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
    """The smallest value that at least this share of the clips does not exceed."""
    values = np.array(sorted(tally))
    reached = np.cumsum([tally[value] for value in values.tolist()])
    return float(values[np.searchsorted(reached, share * reached[-1])])


def edges(lowest: Number, highest: Number, least_width: Number) -> Float[np.ndarray, " edges"]:
    """Limits of at most some twenty bins of one width, a multiple of `least_width`, that begin at a multiple of it."""
    width = least_width * max(1, math.ceil((highest - lowest) / BINS / least_width))
    first = math.floor(lowest / width + 1e-9)
    return width * np.arange(first, math.floor(highest / width + 1e-9) + 2, dtype=np.float64)


def histogram(tallies: Mapping[str, Tally], name: str, unit: str, least_width: Number) -> str:
    """Share of each split's clips in each bin, each split in its own colour (see `svg_chart.colour`), in order.

    Args:
      tallies: split to its values.
      name: unique among the charts of a page.
      unit: what stands below the axis.
      least_width: of a bin: bins begin at multiples of it.

    Returns:
      An `<svg>` element; empty where all values are one.
    """
    every = {value for tally in tallies.values() for value in tally}
    if len(every) < 2:
        return ""
    limits = edges(min(every), max(every), least_width)
    with svg_chart.axes(name, width=5.2, height=2.6) as axes:
        numbers = [number for number, tally in enumerate(tallies.values()) if tally]
        filled = [tally for tally in tallies.values() if tally]
        axes.hist(
            # A value that lies on a limit belongs to the bin that begins there, whatever its last bit.
            [np.array(list(tally)) + 1e-6 * least_width for tally in filled],
            weights=[np.array(list(tally.values())) / sum(tally.values()) for tally in filled],
            bins=limits,
            color=[svg_chart.colour(number) for number in numbers],
        )
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.set_xlabel(unit)
        return svg_chart.svg(axes.figure, name)
