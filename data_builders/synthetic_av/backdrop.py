"""Background of the objects: a textured, unevenly lit surface with clutter that makes no sound."""

import dataclasses

import cv2
import numpy as np

from data_builders.synthetic_av import pen, sprite

_MARGIN = 4  # pixels on every side, so that the camera can sway


@dataclasses.dataclass(frozen=True)
class Backdrop:
    """A background that sways with the camera and flickers with the light.

    Attributes:
      image: uint8 `[height + 8, width + 8, 3]`.
      sway_pixels, flicker: amplitudes; light is a factor of 1 +- flicker.
      rates_hz, phases: `[3]`, of swaying right, swaying down and flickering.
    """

    image: np.ndarray
    sway_pixels: float
    flicker: float
    rates_hz: np.ndarray
    phases: np.ndarray

    def frame(self, seconds: float) -> np.ndarray:
        """Return the background at a time: uint8 `[height, width, 3]`, a new array."""
        right, down, light = np.sin(2 * np.pi * self.rates_hz * seconds + self.phases)
        height, width = self.image.shape[0] - 2 * _MARGIN, self.image.shape[1] - 2 * _MARGIN
        corner = _MARGIN + self.sway_pixels * np.array([right, down])
        moved = cv2.warpAffine(
            self.image, np.column_stack([np.eye(2), -corner]), (width, height), flags=cv2.INTER_LINEAR
        )
        return cv2.convertScaleAbs(moved, alpha=1 + self.flicker * light)


def make_backdrop(
    height: int, width: int, clutter: tuple[int, int], clutter_side: tuple[float, float], rng: np.random.Generator
) -> Backdrop:
    """Draw a background for frames of `height` x `width` with between `clutter[0]` and `clutter[1]` pieces of clutter.

    `clutter_side`: smallest and largest size of a piece, as a share of the frame's shorter side.
    """
    shape = (height + 2 * _MARGIN, width + 2 * _MARGIN)
    light, pattern = _clouds(shape, rng), _pattern(shape, rng)
    colours = cv2.cvtColor(
        np.uint8([[[rng.uniform(0, 180), rng.uniform(15, 130), rng.uniform(70, 220)] for _ in range(3)]]),
        cv2.COLOR_HSV2RGB,
    )[0].astype(np.float32)
    mixed = colours[0] + light[..., None] * (colours[1] - colours[0])
    mixed += rng.uniform(0.1, 0.6) * pattern[..., None] * (colours[2] - mixed)
    mixed += cv2.resize(rng.normal(0, rng.uniform(1, 7), (64, 64)).astype(np.float32), shape[::-1])[..., None]
    image = np.uint8(np.clip(mixed, 0, 255))
    _scatter_clutter(image, int(rng.integers(clutter[0], clutter[1] + 1)), clutter_side, rng)
    return Backdrop(image, rng.uniform(0, 2.5), rng.uniform(0, 0.05), rng.uniform(0.1, 1.5, 3), rng.uniform(0, 6.3, 3))


def _clouds(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a slope with soft patches, 0 to 1."""
    across, down = rng.uniform(-1, 1, 2)
    slope = across * np.linspace(-0.5, 0.5, shape[1]) + down * np.linspace(-0.5, 0.5, shape[0])[:, None]
    cells = int(rng.integers(2, 6))
    patches = cv2.resize(
        rng.normal(0, 0.25, (cells, cells)).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    return np.clip(0.5 + slope.astype(np.float32) + patches, 0, 1)


def _pattern(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return stripes, checks, dots or nothing, as a mask from 0 to 1 with soft edges."""
    angle, cell = rng.uniform(0, np.pi), rng.uniform(0.06, 0.22) * min(shape)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    u = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (np.pi / cell))
    v = np.sin((y * np.cos(angle) - x * np.sin(angle)) * (np.pi / cell))
    match rng.integers(4):
        case 0:
            wave = u
        case 1:
            wave = u * v
        case 2:
            wave = np.abs(u * v) - 0.6
        case _:
            return np.zeros(shape, np.float32)
    return np.clip(0.5 + wave * (cell / 6), 0, 1).astype(np.float32)


def _scatter_clutter(image: np.ndarray, pieces: int, side: tuple[float, float], rng: np.random.Generator) -> None:
    short_side = min(image.shape[:2])
    for _ in range(pieces):
        piece = sprite.draw_clutter(short_side // 2, rng)
        unit = rng.uniform(*side) * short_side / np.ptp(piece.hull, axis=0).max()
        piece = sprite.resize(piece, round(2 * pen.REACH * unit))
        sprite.paste(piece, unit * np.eye(2), rng.uniform((0, 0), image.shape[1::-1]), image)
    for _ in range(rng.integers(0, 4)):
        ends = rng.uniform((0, 0), image.shape[1::-1], (2, 2)).astype(int).tolist()
        colour = rng.integers(20, 235, 3).tolist()
        cv2.line(image, *ends, colour, int(rng.integers(1, 1 + short_side // 40 + 1)), cv2.LINE_AA)
