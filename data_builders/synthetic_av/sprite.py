"""Images of an object or a piece of clutter on a transparent canvas, and how to paste them into a frame."""

import dataclasses

import cv2
import numpy as np

from data_builders.synthetic_av import pen, silhouettes

OUTLINE = 0.045  # width of the dark line around everything, in drawing coordinates
OPAQUE = 128  # pixels of at least this opacity (of 255) belong to the object


@dataclasses.dataclass(frozen=True)
class Sprite:
    """A drawing that can be posed.

    Attributes:
      image: uint8 `[pixels, pixels, 4]`, RGB premultiplied by the opacity in the fourth channel.
      hull: `[points, 2]`, convex hull of the opaque pixels (x, y), in drawing coordinates.
    """

    image: np.ndarray
    hull: np.ndarray


def draw_object(name: str, pixels: int, rng: np.random.Generator) -> Sprite:
    """Draw an object of the class `name` on a canvas of `pixels` x `pixels`."""
    hand, palette = pen.Pen(pixels), pen.random_palette(rng)
    silhouettes.DRAW[name](hand, palette, rng)
    return _add_outline(hand, palette.dark)


def draw_clutter(pixels: int, rng: np.random.Generator) -> Sprite:
    """Draw an object without a class or a sound: a few blobs, bars, rings and corners."""
    hand, palette = pen.Pen(pixels), pen.random_palette(rng)
    for colour in (palette.body, palette.trim, palette.light, palette.dark)[: rng.integers(1, 5)]:
        centre = rng.uniform(-0.4, 0.4, 2)
        size = rng.uniform(0.2, 0.55)
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        spokes = centre + size * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        match rng.integers(4):
            case 0:
                hand.polygon(pen.smooth(spokes), colour)
            case 1:
                hand.polygon(spokes, colour)
            case 2:
                hand.ellipse(centre, (size, size * rng.uniform(0.3, 1)), colour, degrees=rng.uniform(0, 180))
            case 3:
                hand.stroke(spokes, rng.uniform(0.08, 0.25), colour)
    return _add_outline(hand, palette.dark)


def _add_outline(hand: pen.Pen, colour: pen.Colour) -> Sprite:
    pixels = hand.canvas.shape[0]
    reach = max(1, round(OUTLINE * pixels / (2 * pen.REACH)))
    grown = cv2.dilate(
        hand.canvas[..., 3], cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    )
    under = cv2.multiply(grown, 255 - hand.canvas[..., 3], scale=1 / 255)
    outline = cv2.merge([cv2.convertScaleAbs(under, alpha=channel / 255) for channel in (*colour, 255)])
    contours, _ = cv2.findContours(np.uint8(grown >= OPAQUE), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(np.concatenate(contours))[:, 0]
    return Sprite(cv2.add(hand.canvas, outline), (hull + 0.5) * (2 * pen.REACH / pixels) - pen.REACH)


def resize(sprite: Sprite, pixels: int) -> Sprite:
    """Return the sprite on a smaller canvas, each pixel the mean of those it replaces."""
    return dataclasses.replace(sprite, image=cv2.resize(sprite.image, (pixels, pixels), interpolation=cv2.INTER_AREA))


def paste(
    sprite: Sprite, transform: np.ndarray, centre: np.ndarray, frame: np.ndarray
) -> tuple[int, int, int, int] | None:
    """Paste a sprite into a frame, in place.

    Args:
      sprite: the drawing.
      transform: `[2, 2]`, from drawing coordinates to frame pixels: rotation, size and mirroring.
      centre: the drawing's centre, pixels (x, y) from the frame's corner.
      frame: uint8 `[height, width, 3]`, changed.

    Returns:
      Tight bounds of the drawn pixels (top, left, bottom, right; the last two exclusive), or None if the sprite is
      outside of the frame.
    """
    height, width = frame.shape[:2]
    corners = sprite.hull @ transform.T + centre
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 2, 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, (width, height))
    if left >= right or top >= bottom:
        return None
    matrix = transform * (2 * pen.REACH / sprite.image.shape[0])
    # Pixel centres are at halves, on the canvas and on the frame.
    shift = centre - (left, top) - 0.5 - matrix @ np.full(2, (sprite.image.shape[0] - 1) / 2)
    cut = cv2.warpAffine(sprite.image, np.column_stack([matrix, shift]), (int(right - left), int(bottom - top)))
    opacity = cut[..., 3:]
    region = frame[top:bottom, left:right]
    region[:] = cut[..., :3] + (region * (255 - opacity.astype(np.uint16)) // 255).astype(np.uint8)
    return _bounds(opacity[..., 0] >= OPAQUE, top, left)


def _bounds(mask: np.ndarray, top: int, left: int) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return (int(top + rows[0]), int(left + columns[0]), int(top + rows[-1] + 1), int(left + columns[-1] + 1))
