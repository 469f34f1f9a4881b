"""Drawing on a square transparent canvas; drawings fill coordinates from -1 to 1 (x right, y down)."""

import dataclasses

import cv2
import numpy as np

REACH = 1.15  # the canvas's edge, in drawing coordinates: room for the outline
_SHIFT = 5  # fractional bits of OpenCV's coordinates
Point = tuple[float, float]
Colour = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Palette:
    """The colours of one object, RGB. All classes use the same palettes, so colours do not reveal the class."""

    body: Colour
    trim: Colour
    dark: Colour
    light: Colour


def random_palette(rng: np.random.Generator) -> Palette:
    """Draw two strong colours of different hue, one that is nearly black and one that is nearly white."""
    hue = rng.uniform(0, 180)
    trim_hue = (hue + rng.uniform(40, 140)) % 180  # OpenCV's hue: half degrees
    hsv = np.array(
        [
            [hue, rng.uniform(110, 240), rng.uniform(140, 255)],
            [trim_hue, rng.uniform(60, 220), rng.uniform(120, 255)],
            [rng.uniform(0, 180), rng.uniform(0, 120), rng.uniform(20, 60)],
            [rng.uniform(0, 180), rng.uniform(0, 40), rng.uniform(225, 255)],
        ]
    )
    rgb = cv2.cvtColor(np.uint8(hsv)[None], cv2.COLOR_HSV2RGB)[0]
    return Palette(*(tuple(int(channel) for channel in colour) for colour in rgb))


class Pen:
    """Draws antialiased shapes; colours are premultiplied by their opacity because the canvas starts transparent."""

    def __init__(self, pixels: int):
        """Create a transparent canvas with a side of `pixels`."""
        self.canvas = np.zeros((pixels, pixels, 4), np.uint8)
        self._unit = pixels / (2 * REACH)

    def _pixels(self, points) -> np.ndarray:
        return np.round((np.asarray(points, float) + REACH) * self._unit * 2**_SHIFT).astype(np.int32)

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.canvas, [self._pixels(points)], (*colour, 255), cv2.LINE_AA, _SHIFT)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(
        self, centre: Point, radii: Point, colour: Colour, *, degrees: float = 0, width: float | None = None
    ) -> None:
        """Fill an ellipse rotated clockwise by `degrees`, or draw its outline in the given `width`."""
        axes = np.round(np.array(radii) * self._unit * 2**_SHIFT).astype(int).tolist()
        thickness = cv2.FILLED if width is None else self._thickness(width)
        middle = self._pixels(centre).tolist()
        cv2.ellipse(self.canvas, middle, axes, degrees, 0, 360, (*colour, 255), thickness, cv2.LINE_AA, _SHIFT)

    def stroke(self, points: list[Point], width: float, colour: Colour) -> None:
        """Draw a line with round ends and corners through the points."""
        path = [self._pixels(points)]
        cv2.polylines(self.canvas, path, False, (*colour, 255), self._thickness(width), cv2.LINE_AA, _SHIFT)

    def cone(self, points: list[Point], widths: list[float], colour: Colour) -> None:
        """Draw a line whose width changes linearly from point to point: a tube that opens."""
        widths = np.asarray(widths, float)
        for start, end, first, last in zip(points, points[1:], widths, widths[1:], strict=False):
            along = np.subtract(end, start)
            across = np.array([-along[1], along[0]]) / (2 * np.hypot(*along))
            self.polygon(
                [start + across * first, end + across * last, end - across * last, start - across * first], colour
            )
            self.ellipse(end, (last / 2, last / 2), colour)

    def _thickness(self, width: float) -> int:
        return max(1, round(width * self._unit))


def smooth(points: list[Point], samples: int = 8) -> list[Point]:
    """Return a closed curve through the points (Catmull-Rom), with `samples` points for each given one."""
    p = np.asarray(points, float)
    before, here, after, next_after = (np.roll(p, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    t = (np.arange(samples) / samples)[None, :, None]
    curve = (
        2 * here
        + (after - before) * t
        + (2 * before - 5 * here + 4 * after - next_after) * t**2
        + (3 * here - before - 3 * after + next_after) * t**3
    ) / 2
    return [tuple(point) for point in curve.reshape(-1, 2)]


def mirror(right_side: list[Point]) -> list[Point]:
    """Close an outline, given from top to bottom on the right, by its mirror image on the left."""
    return [*right_side, *((-x, y) for x, y in reversed(right_side))]
