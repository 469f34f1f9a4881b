"""Who is in a clip, where each stands and how it moves; frames of it with the boxes of what they show."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_builders.synthetic_av import backdrop, instrument_classes, sprite

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Statistics:
    """How often and how much: the knobs that make the world easier or harder.

    Attributes:
      two_sounding: share of clips in which two objects are seen and heard.
      off_screen: share of clips whose sounding object is not seen.
      silent_distractor: share of clips in which an object of another class is seen and not heard.
      object_side: longer side of an object's box, as a share of the frame's shorter side.
      overlap: greatest intersection over union of two objects' boxes.
      lean_degrees: an object stands within so much of upright.
      sway_degrees, drift, breath: amplitude of the motion: turning, moving (share of the object's side), growing.
      jump: how far a sounding object rises with the loudness of the clip, as a share of its side; 0: it does not.
      junk: fewest and most pieces of junk.
      junk_side: size of a piece, as a share of the frame's shorter side.
    """

    two_sounding: float = 0.15
    off_screen: float = 0.06
    silent_distractor: float = 0.3
    object_side: tuple[float, float] = (0.3, 0.44)
    overlap: float = 0.1
    lean_degrees: float = 15.0
    sway_degrees: tuple[float, float] = (1.0, 5.0)
    drift: tuple[float, float] = (0.01, 0.04)
    breath: tuple[float, float] = (0.0, 0.03)
    jump: float = 0.0
    junk: tuple[int, int] = (0, 3)
    junk_side: tuple[float, float] = (0.06, 0.18)

    def __post_init__(self):
        if not 0 < self.object_side[0] <= self.object_side[1] <= 0.8:
            raise ValueError(
                f"object_side={self.object_side}: want 0 < least <= greatest <= 0.8, to move within the frame"
            )


@dataclasses.dataclass(frozen=True)
class Cast:
    """What is heard and what is seen.

    Attributes:
      heard: classes that sound.
      seen: classes of the visible objects, each heard or silent.
    """

    heard: tuple[str, ...]
    seen: tuple[str, ...]


def choose_cast(
    main: str, statistics: Statistics, rng: np.random.Generator, among: Sequence[str] = instrument_classes.NAMES
) -> Cast:
    """Draws who of the classes `among` joins the class `main`, which always sounds; no class appears twice."""
    others = [name for name in rng.permutation(among).tolist() if name != main]
    kind = rng.uniform()
    off_screen = kind < statistics.off_screen
    two_sounding = not off_screen and kind < statistics.off_screen + statistics.two_sounding
    heard = (main, others.pop()) if two_sounding else (main,)
    seen = () if off_screen else heard
    if rng.uniform() < statistics.silent_distractor:
        seen = (*seen, others.pop())
    return Cast(heard, seen)


@dataclasses.dataclass(frozen=True)
class Motion:
    """A small periodic motion: amplitudes, and for each of turning, x, y and growing a rate and a phase."""

    degrees: float
    drift: float
    breath: float
    rates_hz: np.ndarray
    phases: np.ndarray

    def at(self, seconds: float | np.ndarray) -> np.ndarray:
        """Turning, x, y and growing at the given times, each within +-1: `[..., 4]`."""
        return np.sin(2 * np.pi * np.multiply.outer(seconds, self.rates_hz) + self.phases)


@dataclasses.dataclass(frozen=True)
class Jump:
    """How an object rises with the sound: `pixels` at the greatest loudness, which is given 0 to 1 at `times`."""

    pixels: float
    times: np.ndarray
    loudness: np.ndarray

    def at(self, seconds: float | np.ndarray) -> np.ndarray:
        """Departure from the mean place at the given times, pixels (x, y): `[..., 2]`, y negative: upwards."""
        rise = self.pixels * np.interp(seconds, self.times, self.loudness)
        return np.stack([np.zeros_like(rise), -rise], axis=-1)


@dataclasses.dataclass(frozen=True)
class Actor:
    """A visible object.

    Attributes:
      name: its class.
      sounding: whether it is heard.
      picture: its drawing.
      turn: `[2, 2]`, its mean pose, from drawing coordinates to frame pixels.
      centre: its mean place, pixels (x, y).
      motion: how it departs from these; drift in pixels.
      jump: how it departs with the sound; None: not at all.
    """

    name: str
    sounding: bool
    picture: sprite.Sprite
    turn: np.ndarray
    centre: np.ndarray
    motion: Motion
    jump: Jump | None = None

    def pose(self, seconds: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`turn` `[..., 2, 2]` and `centre` `[..., 2]` at a moment or at many."""
        motion = self.motion.at(seconds)
        size = 1 + self.motion.breath * motion[..., 3, None, None]
        turn = size * _rotation(self.motion.degrees * motion[..., 0]) @ self.turn
        centre = self.centre + self.motion.drift * motion[..., 1:3]
        return turn, centre if self.jump is None else centre + self.jump.at(seconds)

    def bounds(self, duration_seconds: float) -> np.ndarray:
        """Bounds of everything it covers during the clip, pixels: left, top, right, bottom."""
        turns, centres = dataclasses.replace(self, jump=None).pose(np.linspace(0, duration_seconds, 25))
        points = self.picture.hull @ turns.swapaxes(1, 2) + centres[:, None]
        bounds = np.concatenate([points.min(axis=(0, 1)), points.max(axis=(0, 1))])
        return bounds if self.jump is None else bounds - (0, self.jump.pixels, 0, 0)


@dataclasses.dataclass(frozen=True)
class Scene:
    """A clip's picture: `frame(seconds)` draws it at any moment."""

    height: int
    width: int
    ground: backdrop.Backdrop
    actors: tuple[Actor, ...]

    def frame(self, seconds: float) -> tuple[np.ndarray, list[Box]]:
        """Draws the scene.

        Returns:
          uint8 RGB `[height, width, 3]`, and for each actor the tight bounds of what was drawn of it before others
          covered it, normalised (ymin, xmin, ymax, xmax).
        """
        image = self.ground.frame(seconds)
        size = np.array([self.height, self.width, self.height, self.width])
        boxes = []
        for actor in self.actors:
            bounds = sprite.lay(actor.picture, *actor.pose(seconds), image)
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
    """Draws every object of the cast, and places them at random, inside the frame and hardly overlapping.

    Args:
      cast: who is heard and seen.
      height, width: of the frames, pixels.
      duration_seconds: of the clip.
      statistics: how often and how much.
      rng: source of every draw.
      loudness: of the clip, 0 to 1, in each of so many equal parts of it; None: nothing jumps.
    """
    ground = backdrop.make_backdrop(height, width, statistics.junk, statistics.junk_side, rng)
    actors = [_actor(name, name in cast.heard, min(height, width), statistics, rng) for name in cast.seen]
    if loudness is not None:
        times = (np.arange(len(loudness)) + 0.5) * duration_seconds / len(loudness)
        actors = [_jumping(actor, statistics.jump, times, loudness) if actor.sounding else actor for actor in actors]
    order = rng.permutation(len(actors))  # what sounds is not always beneath what does not
    actors = [actors[index] for index in order]
    return Scene(height, width, ground, _placed(actors, height, width, duration_seconds, statistics.overlap, rng))


def _actor(name: str, sounding: bool, short_side: int, statistics: Statistics, rng: np.random.Generator) -> Actor:
    picture = sprite.of_class(name, short_side * 3 // 2, rng)
    side = rng.uniform(*statistics.object_side) * short_side
    lean = _rotation(rng.uniform(-1, 1) * statistics.lean_degrees) @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
    unit = side / np.ptp(picture.hull @ lean.T, axis=0).max()  # frame pixels per drawing coordinate
    motion = Motion(
        degrees=rng.uniform(*statistics.sway_degrees),
        drift=rng.uniform(*statistics.drift) * side,
        breath=rng.uniform(*statistics.breath),
        rates_hz=rng.uniform(0.2, 1.2, 4),
        phases=rng.uniform(0, 2 * np.pi, 4),
    )
    paper = round(2 * sprite.pen.REACH * unit)  # one pixel of paper to one of the frame
    return Actor(name, sounding, sprite.resized(picture, paper), unit * lean, np.zeros(2), motion)


def _jumping(actor: Actor, jump: float, times: np.ndarray, loudness: np.ndarray) -> Actor:
    side = np.ptp(actor.picture.hull @ actor.turn.T, axis=0).max()
    return dataclasses.replace(actor, jump=Jump(jump * side, times, loudness))


def _placed(
    actors: Sequence[Actor], height: int, width: int, duration_seconds: float, overlap: float, rng: np.random.Generator
) -> tuple[Actor, ...]:
    reaches = [actor.bounds(duration_seconds) for actor in actors]
    rooms = [(1 - reach[:2], np.array([width, height]) - 1 - reach[2:]) for reach in reaches]
    for _ in range(1000):
        centres = [rng.uniform(low, high) for low, high in rooms]
        boxes = [reach + np.tile(centre, 2) for reach, centre in zip(reaches, centres, strict=True)]
        if all(_iou(a, b) <= overlap for n, a in enumerate(boxes) for b in boxes[:n]):
            return tuple(dataclasses.replace(a, centre=c) for a, c in zip(actors, centres, strict=True))
    raise ValueError(
        f"{len(actors)} objects found no place in 1000 tries on {width} x {height} pixels with overlap <= {overlap}: "
        "lower Statistics.object_side or raise Statistics.overlap"
    )


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    both = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def _rotation(degrees: float | np.ndarray) -> np.ndarray:
    """Clockwise on the screen: `[..., 2, 2]`."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.stack([cos, -sin, sin, cos], axis=-1).reshape(*np.shape(degrees), 2, 2)
