"""SVG charts that adopt the page's colours and font."""

import contextlib
import io
import re
from collections.abc import Iterator

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Legible on light and dark backgrounds, and distinct for colour-blind readers.
COLOURS = ("#3a86d0", "#e07b28", "#2a9d77", "#b35fb0", "#a08a2c", "#8a8f98")


def colour(number: int) -> str:
    """Return the colour of the run or split with this number; the six colours repeat."""
    return COLOURS[number % len(COLOURS)]


@contextlib.contextmanager
def axes(name: str, width: float = 4.0, height: float = 2.7) -> Iterator[Axes]:
    """Open axes of a new figure in the style of the pages. Draw and export the chart inside the context.

    Args:
      name: name of the chart, unique on its page.
      width: width in inches of 72 pixels; the page stretches the chart.
      height: height in inches of 72 pixels.
    """
    style = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False, "font.size": 9}
    with matplotlib.rc_context(style):
        plain = Figure(figsize=(width, height), layout="constrained").add_subplot()
        plain.grid(color="#000000", alpha=0.1, linewidth=0.8)
        plain.spines[:].set_visible(False)
        plain.tick_params(length=0)
        yield plain


def svg(figure: Figure, prefix: str) -> str:
    """Export a figure as an `<svg>` element whose ids start with `prefix`.

    Black becomes `currentColor`, so that axes and labels follow the page's light or dark theme.
    """
    file = io.StringIO()
    no_metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    text = file.getvalue().replace("#000000", "currentColor")
    # Ids must be unique in a page, and a page has several charts.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    return text[text.index("<svg") :]
