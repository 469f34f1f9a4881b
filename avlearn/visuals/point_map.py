"""Draws images as points and audio as crosses on one map, coloured by class (All that Sound, figure 6), as SVG."""

import colorsys
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from avlearn.visuals import svg_chart

OTHERS = svg_chart.COLOURS[-1]  # grey, for classes without their own colour


@dataclasses.dataclass(frozen=True)
class PointMap:
    """A map as an `<svg>` element, and the colour of each class by its name."""

    svg: str
    colours: Mapping[str, str]


def draw(
    image_position: Float[np.ndarray, "n 2"],
    audio_position: Float[np.ndarray, "n 2"],
    labels: Bool[np.ndarray, "n classes"],
    class_names: Sequence[str],
    *,
    name: str,
    max_colours: int = 10,
    max_clips: int = 1500,
) -> PointMap:
    """Draw a point for each clip's image and a cross for its audio.

    Args:
      image_position: positions of the images on the map, from `evaluators/tsne.py`.
      audio_position: positions of the audio on the map.
      labels: classes of each clip.
      class_names: names of the classes, in label order.
      name: id of the chart, unique on its page.
      max_colours: number of classes, the most frequent ones, that get their own colour; the others are grey.
      max_clips: number of clips to draw, evenly spaced, since each adds two elements to the page.

    Raises:
      ValueError: the map is empty, or the number of names differs from the number of classes.
    """
    if not len(labels) or len(class_names) != labels.shape[1]:
        raise ValueError(
            f"cannot draw a map of {len(labels)} clips in {labels.shape[1]} classes with {len(class_names)} class names"
        )
    kept = np.unique(np.linspace(0, len(labels) - 1, min(max_clips, len(labels))).astype(int))
    classes, class_of_clip = colour_classes(labels[kept], max_colours)
    colours = {}
    with svg_chart.axes(name, 5.2, 4.2) as axes:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        for number, label in enumerate([*classes, None]):
            clips = kept[class_of_clip == (-1 if label is None else number)]
            colour = OTHERS if label is None else hue(number, len(classes))
            title = "other classes" if label is None else class_names[label]
            if len(clips):
                colours[title] = colour
                axes.scatter(*image_position[clips].T, s=9, marker="o", color=colour, linewidths=0)
                axes.scatter(*audio_position[clips].T, s=12, marker="x", color=colour, linewidths=0.9)
        return PointMap(svg_chart.svg(axes.figure, name), colours)


def colour_classes(labels: Bool[np.ndarray, "n classes"], count: int) -> tuple[list[int], Int[np.ndarray, " n"]]:
    """Return the `count` most frequent classes, and for each clip its index in that list.

    A clip with several of these classes gets the most frequent one; a clip with none has index -1. Equally frequent
    classes are ranked in label order.
    """
    frequency = labels.sum(axis=0)
    ranked = np.argsort(-frequency, kind="stable")[:count]
    classes = ranked[frequency[ranked] > 0].tolist()
    has = labels[:, classes]
    return classes, np.where(has.any(axis=1), has.argmax(axis=1) if classes else -1, -1)


def hue(number: int, count: int) -> str:
    """Return one of `count` colours of evenly spaced hues, legible on light and dark backgrounds."""
    red, green, blue = colorsys.hls_to_rgb(number / count, (0.42, 0.58)[number % 2], 0.65)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
