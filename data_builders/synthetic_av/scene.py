"""Draws the frames of a clip: its objects, their positions and motion, and a box for every object."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_builders.synthetic_av import backdrop, instrument_classes, sprite

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Statistics:
    """The statistics of the clips, which make the dataset easier or harder.

    Attributes:
      two_sounding: share of clips with two visible sounding objects.
      off_screen: share of clips whose sounding object is not visible.
      silent_distractor: share of clips with a visible silent object of another class.
      object_side: longer side of an object's box, as a share of the frame's shorter side.
      overlap: maximal intersection over union of two objects' boxes.
      lean_degrees: maximal rotation of an object from upright.
      sway_degrees, drift, scaling: amplitude of the rotation, translation (share of the object's side) and scaling.
      jump: how far a sounding object rises with the loudness of the clip, as a share of its side; 0: it does not.
      clutter: minimal and maximal number of pieces of clutter.
      clutter_side: size of a piece, as a share of the frame's shorter side.
    """

    two_sounding: float = 0.15
    off_screen: float = 0.06
    silent_distractor: float = 0.3
    object_side: tuple[float, float] = (0.3, 0.44)
    overlap: float = 0.1
    lean_degrees: float = 15.0
    sway_degrees: tuple[float, float] = (1.0, 5.0)
    drift: tuple[float, float] = (0.01, 0.04)
    scaling: tuple[float, float] = (0.0, 0.03)
    jump: float = 0.0
    clutter: tuple[int, int] = (0, 3)
    clutter_side: tuple[float, float] = (0.06, 0.18)

    def __post_init__(self):
        if not 0 < self.object_side[0] <= self.object_side[1] <= 0.8:
            raise ValueError(
                f"object_side={self.object_side}: must be 0 < smallest <= largest <= 0.8, to move within the frame"
            )


@dataclasses.dataclass(frozen=True)
class Cast:
    """The audible and the visible classes of a clip.

    Attributes:
      audible: classes that sound.
      visible: classes of the visible objects, sounding or silent.
    """

    audible: tuple[str, ...]
    visible: tuple[str, ...]


def choose_cast(
    main: str, statistics: Statistics, rng: np.random.Generator, among: Sequence[str] = instrument_classes.NAMES
) -> Cast:
    """Draw the classes that accompany the class `main`, which always sounds; no class appears twice."""
    others = [name for name in rng.permutation(among).tolist() if name != main]
    kind = rng.uniform()
    off_screen = kind < statistics.off_screen
    two_sounding = not off_screen and kind < statistics.off_screen + statistics.two_sounding
    audible = (main, others.pop()) if two_sounding else (main,)
    visible = () if off_screen else audible
    if rng.uniform() < statistics.silent_distractor:
        visible = (*visible, others.pop())
    return Cast(audible, visible)


@dataclasses.dataclass(frozen=True)
class Motion:
    """A small periodic motion: amplitudes, and a rate and a phase each for rotation, x, y and scaling."""

    degrees: float
    drift: float
    scaling: float
    rates_hz: np.ndarray
    phases: np.ndarray

    def at(self, seconds: float | np.ndarray) -> np.ndarray:
        """Return rotation, x, y and scaling at the given times, each within +-1: `[..., 4]`."""
        return np.sin(2 * np.pi * np.multiply.outer(seconds, self.rates_hz) + self.phases)


@dataclasses.dataclass(frozen=True)
class Jump:
    """The rise of an object with its sound: `pixels` at the maximal loudness, which is given as 0 to 1 at `times`."""

    pixels: float
    times: np.ndarray
    loudness: np.ndarray

    def at(self, seconds: float | np.ndarray) -> np.ndarray:
        """Return the offset from the mean position at the given times, pixels (x, y), y downwards: `[..., 2]`."""
        rise = self.pixels * np.interp(seconds, self.times, self.loudness)
        return np.stack([np.zeros_like(rise), -rise], axis=-1)


@dataclasses.dataclass(frozen=True)
class Actor:
    """A visible object.

    Attributes:
      name: class.
      sounding: whether it is audible.
      drawing: its image.
      transform: `[2, 2]`, mean pose, from drawing coordinates to frame pixels.
      centre: mean position, pixels (x, y).
      motion: motion around this pose; its drift is in pixels.
      jump: rise with the sound; None: it does not rise.
    """

    name: str
    sounding: bool
    drawing: sprite.Sprite
    transform: np.ndarray
    centre: np.ndarray
    motion: Motion
    jump: Jump | None = None

    def pose(self, seconds: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `transform` `[..., 2, 2]` and `centre` `[..., 2]` at a time or at several."""
        motion = self.motion.at(seconds)
        size = 1 + self.motion.scaling * motion[..., 3, None, None]
        transform = size * _rotation(self.motion.degrees * motion[..., 0]) @ self.transform
        centre = self.centre + self.motion.drift * motion[..., 1:3]
        return transform, centre if self.jump is None else centre + self.jump.at(seconds)

    def bounds(self, duration_seconds: float) -> np.ndarray:
        """Return the bounds of everything it covers during the clip, pixels: left, top, right, bottom."""
        transforms, centres = dataclasses.replace(self, jump=None).pose(np.linspace(0, duration_seconds, 25))
        points = self.drawing.hull @ transforms.swapaxes(1, 2) + centres[:, None]
        bounds = np.concatenate([points.min(axis=(0, 1)), points.max(axis=(0, 1))])
        return bounds if self.jump is None else bounds - (0, self.jump.pixels, 0, 0)


@dataclasses.dataclass(frozen=True)
class Scene:
    """The frames of a clip: `frame(seconds)` draws one at any time."""

    height: int
    width: int
    background: backdrop.Backdrop
    actors: tuple[Actor, ...]

    def frame(self, seconds: float) -> tuple[np.ndarray, list[Box]]:
        """Draw the scene.

        Returns:
          uint8 RGB `[height, width, 3]`, and the tight bounds of each actor as if no other one covered it, normalised
          (ymin, xmin, ymax, xmax).
        """
        image = self.background.frame(seconds)
        size = np.array([self.height, self.width, self.height, self.width])
        boxes = []
        for actor in self.actors:
            bounds = sprite.paste(actor.drawing, *actor.pose(seconds), image)
            boxes.append(tuple((np.array(bounds) / size).tolist()))
        return image, boxes


def make_scene(
    cast: Cast,
    height: int,
    width: int,
    duration_seconds: float,
    statistics: Statistics,
    rng: np.random.Generator,
    loudness: np.ndarray | None = None,
) -> Scene:
    """Draw every object of the cast at a random position inside the frame, with little overlap.

    Args:
      cast: audible and visible classes.
      height, width: size of the frames, pixels.
      duration_seconds: length of the clip.
      statistics: statistics of the clips.
      rng: source of all randomness.
      loudness: loudness of equal parts of the clip, 0 to 1; None: nothing jumps.
    """
    background = backdrop.make_backdrop(height, width, statistics.clutter, statistics.clutter_side, rng)
    actors = [_actor(name, name in cast.audible, min(height, width), statistics, rng) for name in cast.visible]
    if loudness is not None:
        times = (np.arange(len(loudness)) + 0.5) * duration_seconds / len(loudness)
        actors = [_with_jump(actor, statistics.jump, times, loudness) if actor.sounding else actor for actor in actors]
    order = rng.permutation(len(actors))  # sounding objects are not always beneath silent ones
    actors = [actors[index] for index in order]
    return Scene(height, width, background, _place(actors, height, width, duration_seconds, statistics.overlap, rng))


def _actor(name: str, sounding: bool, short_side: int, statistics: Statistics, rng: np.random.Generator) -> Actor:
    drawing = sprite.draw_object(name, short_side * 3 // 2, rng)
    side = rng.uniform(*statistics.object_side) * short_side
    lean = _rotation(rng.uniform(-1, 1) * statistics.lean_degrees) @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
    unit = side / np.ptp(drawing.hull @ lean.T, axis=0).max()  # frame pixels per drawing coordinate
    motion = Motion(
        degrees=rng.uniform(*statistics.sway_degrees),
        drift=rng.uniform(*statistics.drift) * side,
        scaling=rng.uniform(*statistics.scaling),
        rates_hz=rng.uniform(0.2, 1.2, 4),
        phases=rng.uniform(0, 2 * np.pi, 4),
    )
    canvas = round(2 * sprite.pen.REACH * unit)  # one pixel of the canvas is one of the frame
    return Actor(name, sounding, sprite.resize(drawing, canvas), unit * lean, np.zeros(2), motion)


def _with_jump(actor: Actor, jump: float, times: np.ndarray, loudness: np.ndarray) -> Actor:
    side = np.ptp(actor.drawing.hull @ actor.transform.T, axis=0).max()
    return dataclasses.replace(actor, jump=Jump(jump * side, times, loudness))


def _place(
    actors: Sequence[Actor], height: int, width: int, duration_seconds: float, overlap: float, rng: np.random.Generator
) -> tuple[Actor, ...]:
    extents = [actor.bounds(duration_seconds) for actor in actors]
    ranges = [(1 - extent[:2], np.array([width, height]) - 1 - extent[2:]) for extent in extents]
    for _ in range(1000):
        centres = [rng.uniform(low, high) for low, high in ranges]
        boxes = [extent + np.tile(centre, 2) for extent, centre in zip(extents, centres, strict=True)]
        if all(_iou(a, b) <= overlap for n, a in enumerate(boxes) for b in boxes[:n]):
            return tuple(dataclasses.replace(a, centre=c) for a, c in zip(actors, centres, strict=True))
    raise ValueError(
        f"{len(actors)} objects do not fit in 1000 tries on {width} x {height} pixels with overlap <= {overlap}: "
        "lower Statistics.object_side or raise Statistics.overlap"
    )


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    both = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def _rotation(degrees: float | np.ndarray) -> np.ndarray:
    """Return the matrix of a clockwise rotation on the screen: `[..., 2, 2]`."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.stack([cos, -sin, sin, cos], axis=-1).reshape(*np.shape(degrees), 2, 2)
