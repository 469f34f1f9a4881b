"""Images as points and sounds as crosses on one map, coloured by class (All that Sound, figure 6), as SVG."""

import colorsys
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from avlearn.visuals import svg_chart

OTHERS = svg_chart.COLOURS[-1]  # grey: classes that have no colour of their own


@dataclasses.dataclass(frozen=True)
class PointMap:
    """The map as an `<svg>` element, and the colour of each class by its name."""

    picture: str
    colours: Mapping[str, str]


def draw(
    image_position: Float[np.ndarray, "n 2"],
    audio_position: Float[np.ndarray, "n 2"],
    labels: Bool[np.ndarray, "n classes"],
    class_names: Sequence[str],
    *,
    name: str,
    coloured: int = 10,
    most: int = 1500,
) -> PointMap:
    """The map: a point for each clip's image, a cross for its sound.

    Args:
      image_position: positions of the images on the map, from `evaluators/tsne.py`.
      audio_position: positions of the audio on the map.
      labels: classes of each clip.
      class_names: in the order of the labels.
      name: of the picture, unique on its page.
      coloured: classes with a colour of their own, the most frequent ones; all others are grey.
      most: clips that are drawn at most, evenly spaced in the order given; every one of them is an element of the page.

    Raises:
      ValueError: no clips, or as many names as there are not classes.
    """
    if not len(labels) or len(class_names) != labels.shape[1]:
        raise ValueError(f"a map of {len(labels)} clips in {labels.shape[1]} classes, with {len(class_names)} names")
    shown = np.unique(np.linspace(0, len(labels) - 1, min(most, len(labels))).astype(int))
    classes, of_clip = colouring(labels[shown], coloured)
    colours = {}
    with svg_chart.axes(name, 5.2, 4.2) as axes:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        for number, each in enumerate([*classes, None]):
            here = shown[of_clip == (-1 if each is None else number)]
            colour = OTHERS if each is None else hue(number, len(classes))
            title = "other classes" if each is None else class_names[each]
            if len(here):
                colours[title] = colour
                axes.scatter(*image_position[here].T, s=9, marker="o", color=colour, linewidths=0)
                axes.scatter(*audio_position[here].T, s=12, marker="x", color=colour, linewidths=0.9)
        return PointMap(svg_chart.svg(axes.figure, name), colours)


def colouring(labels: Bool[np.ndarray, "n classes"], coloured: int) -> tuple[list[int], Int[np.ndarray, " n"]]:
    """The most frequent classes, and which of them (by its place in that list) each clip is drawn as.

    A clip with several of them is drawn as its most frequent one, a clip with none as -1. Of equally frequent classes
    the first comes first.
    """
    frequency = labels.sum(axis=0)
    ranked = np.argsort(-frequency, kind="stable")[:coloured]
    classes = ranked[frequency[ranked] > 0].tolist()
    has = labels[:, classes]
    return classes, np.where(has.any(axis=1), has.argmax(axis=1) if classes else -1, -1)


def hue(number: int, count: int) -> str:
    """One of `count` colours of evenly spaced hues, legible on light and on dark ground."""
    red, green, blue = colorsys.hls_to_rgb(number / count, (0.42, 0.58)[number % 2], 0.65)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
