"""Charts as SVG that takes the page's colours and font."""

import contextlib
import io
import re
from collections.abc import Iterator

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Legible on light and on dark ground, and told apart by colour-blind readers.
COLOURS = ("#3a86d0", "#e07b28", "#2a9d77", "#b35fb0", "#a08a2c", "#8a8f98")


def colour(number: int) -> str:
    """Colour of the run or split of this number; there are six, and then they begin anew."""
    return COLOURS[number % len(COLOURS)]


@contextlib.contextmanager
def axes(name: str, width: float = 4.0, height: float = 2.7) -> Iterator[Axes]:
    """Axes of a new figure, with a chart's looks: everything that is drawn with them is to be drawn within the context.

    Args:
      name: unique among the charts of a page.
      width: inches at 72 pixels; a page stretches the chart.
      height: inches at 72 pixels.
    """
    style = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False, "font.size": 9}
    with matplotlib.rc_context(style):
        plain = Figure(figsize=(width, height), layout="constrained").add_subplot()
        plain.grid(color="#000000", alpha=0.1, linewidth=0.8)
        plain.spines[:].set_visible(False)
        plain.tick_params(length=0)
        yield plain


def svg(figure: Figure, prefix: str) -> str:
    """The figure as an `<svg>` element, its ids after a prefix of its own.

    Black is written as `currentColor`: axes and texts follow the page's light or dark ink.
    """
    file = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue().replace("#000000", "currentColor")
    # Several charts share one page, and ids have to be unique in it.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    return text[text.index("<svg") :]
