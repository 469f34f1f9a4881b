"""What single units of conv4_2 answer to: the clips that excite each most, and where in them (L3 figures 3 to 9)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avlearn.visuals import heatmap_overlay, spectrogram_picture
from avlearn.visuals.album import SPECTROGRAM_PIXELS, Album, jpeg

UNITS = 6  # of each mode
TOP = 5

Arrays = Mapping[str, np.ndarray]
Maps = Callable[[Sequence[int]], Float[np.ndarray, "items rows cols units"]]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit and the clips that excite it most.

    Attributes:
      number: channel of conv4_2.
      label: the class that most of these clips have.
      agreement: how many of them have it.
      rows: the clips, the strongest first.
      activation: of the unit on each, the maximum of its map.
    """

    number: int
    label: int
    agreement: int
    rows: tuple[int, ...]
    activation: tuple[float, ...]


def strongest(activation: Float[np.ndarray, "n units"], labels: Bool[np.ndarray, "n classes"]) -> list[Unit]:
    """Every unit that is not dead, with its `TOP` clips; none where there are fewer clips.

    Equal clips rank in one random order, the same for all units. (In the order of a dataset
    that is sorted by class, the clips on which a unit is 0 would make an agreement.)

    Args:
      activation: maximum of each unit's map over each clip (pool4).
      labels: classes of each clip.
    """
    if len(activation) < TOP:
        return []
    shuffled = np.random.default_rng(0).permutation(len(activation))
    order = shuffled[np.argsort(-activation[shuffled], axis=0, kind="stable")[:TOP].T]
    counts = labels[order].sum(axis=1)
    alive = np.flatnonzero(activation.max(axis=0) > activation.min(axis=0))
    return [
        Unit(
            number=unit,
            label=int(counts[unit].argmax()),
            agreement=int(counts[unit].max()),
            rows=tuple(order[unit].tolist()),
            activation=tuple(activation[order[unit], unit].tolist()),
        )
        for unit in alive.tolist()
    ]


def choose(units: list[Unit], count: int = UNITS) -> list[Unit]:
    """The units of most agreement, each of another class; of equals the first."""
    chosen: dict[int, Unit] = {}
    for unit in sorted(units, key=lambda unit: (-unit.agreement, unit.number)):
        chosen.setdefault(unit.label, unit)
    return list(chosen.values())[:count]


def collect(clips: Arrays, mode: str, maps: Maps) -> dict[str, np.ndarray]:
    """The units to show of a mode, in rows of one unit and one clip each, the strongest clip first.

    Args:
      clips: arrays of all clips once: `image_item`, `labels`, and `image_pool4` or `audio_pool4`.
      mode: `image` or `audio`.
      maps: numbers of clips to their maps of conv4_2.

    Returns:
      unit, label, agreement and activation as in `Unit`; item, the clip; map `[rows, cols]`, the unit's map of the clip
      relative to the strongest activation, 0 to 1.
    """
    units = choose(strongest(clips[f"{mode}_pool4"], clips["labels"]))
    rows = [
        (unit, row, activation) for unit in units for row, activation in zip(unit.rows, unit.activation, strict=True)
    ]
    item = clips["image_item"][[row for _, row, _ in rows]]
    needed, place = np.unique(item, return_inverse=True)
    found = maps(needed.tolist()) if len(needed) else np.zeros((0, 1, 1, 1), np.float32)
    return {
        "unit": np.array([unit.number for unit, _, _ in rows], int),
        "label": np.array([unit.label for unit, _, _ in rows], int),
        "agreement": np.array([unit.agreement for unit, _, _ in rows], int),
        "activation": np.array([activation for _, _, activation in rows], np.float32),
        "item": item,
        "map": np.stack(
            [
                np.clip(found[at, :, :, unit.number] / unit.activation[0], 0, 1)
                for at, (unit, _, _) in zip(place, rows, strict=True)
            ]
        )
        if rows
        else np.zeros((0, 1, 1), np.float32),
    }


@dataclasses.dataclass(frozen=True)
class Excited:
    """A clip that excites a unit: its number, the unit's map over it as a picture, and how far (1: the strongest)."""

    item: int
    picture: str
    level: float


@dataclasses.dataclass(frozen=True)
class ShownUnit:
    """A unit as the page shows it."""

    number: int
    label: str
    agreement: int
    clips: tuple[Excited, ...]


def shown(arrays: Arrays, mode: str, album: Album, class_names: Sequence[str]) -> tuple[ShownUnit, ...]:
    """The units of `collect`, with pictures.

    Args:
      arrays: what `collect` returned.
      mode: `image` or `audio`.
      album: of the clips.
      class_names: in the order of the labels.
    """
    units = []
    for first in range(0, len(arrays["unit"]), TOP):
        rows = range(first, first + TOP)
        clips = tuple(_excited(arrays, row, first, mode, album) for row in rows)
        label = class_names[int(arrays["label"][first])]
        units.append(ShownUnit(int(arrays["unit"][first]), label, int(arrays["agreement"][first]), clips))
    return tuple(units)


def _excited(arrays: Arrays, row: int, first: int, mode: str, album: Album) -> Excited:
    item = int(arrays["item"][row])
    if mode == "image":
        picture = of_image(album.frames[item], arrays["map"][row])
    else:
        picture = of_sound(album.log_spectrograms[item], arrays["map"][row], SPECTROGRAM_PIXELS, SPECTROGRAM_PIXELS)
    return Excited(item, jpeg(picture), float(arrays["activation"][row] / arrays["activation"][first]))


def of_image(
    frame: UInt8[np.ndarray, "height width 3"], level: Float[np.ndarray, "rows cols"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in grey, tinted where the unit is active.

    Args:
      frame: RGB, what the network saw.
      level: the unit's map, 0 to 1.
    """
    return heatmap_overlay.tinted(frame, heatmap_overlay.interpolated(level, frame.shape[:2]))


def of_sound(
    log_spectrogram: Float[np.ndarray, "columns bins"], level: Float[np.ndarray, "rows cols"], height: int, width: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of the sound in grey, tinted where the unit is active.

    Args:
      log_spectrogram: natural log of power, of the sound that the network heard.
      level: the unit's map, 0 to 1: frequency upwards from row 0, time to the right.
      height: height of the image, pixels.
      width: width of the image, pixels.
    """
    picture = spectrogram_picture.picture(log_spectrogram, height, width)
    even = heatmap_overlay.interpolated(level, (len(log_spectrogram.T), width))
    return heatmap_overlay.tinted(picture, spectrogram_picture.stretched(even, height))
