"""Shows single units of conv4_2: the clips that activate each one most, and where (L3 figures 3 to 9)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avlearn.visuals import heatmap_overlay, spectrogram_image
from avlearn.visuals.album import SPECTROGRAM_PIXELS, Album, jpeg

UNITS = 6  # units shown for each mode
TOP = 5  # clips shown for each unit

Arrays = Mapping[str, np.ndarray]
Maps = Callable[[Sequence[int]], Float[np.ndarray, "items rows cols units"]]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit and the clips that activate it most.

    Attributes:
      number: channel of conv4_2.
      label: the most frequent class of these clips.
      agreement: number of these clips that have this class.
      rows: rows of these clips, strongest first.
      activation: activation of the unit on each clip, the maximum of its map.
    """

    number: int
    label: int
    agreement: int
    rows: tuple[int, ...]
    activation: tuple[float, ...]


def strongest(activation: Float[np.ndarray, "n units"], labels: Bool[np.ndarray, "n classes"]) -> list[Unit]:
    """Return every unit that is not dead, with its `TOP` clips; none if there are fewer clips than `TOP`.

    Clips of equal activation are ranked in a random order, the same for all units. (In a dataset sorted by class, the
    clips on which a unit is 0 would otherwise seem to agree.)

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


def select(units: list[Unit], count: int = UNITS) -> list[Unit]:
    """Select the units with the most agreement, one per class; of a tie, the unit with the lower number."""
    selected: dict[int, Unit] = {}
    for unit in sorted(units, key=lambda unit: (-unit.agreement, unit.number)):
        selected.setdefault(unit.label, unit)
    return list(selected.values())[:count]


def collect(clips: Arrays, mode: str, maps: Maps) -> dict[str, np.ndarray]:
    """Collect the units of a mode that the report shows, one row for each unit and clip, strongest clip first.

    Args:
      clips: arrays with each clip once: `image_item`, `labels`, and `image_pool4` or `audio_pool4`.
      mode: `image` or `audio`.
      maps: item numbers to their maps of conv4_2.

    Returns:
      unit, label, agreement and activation as in `Unit`; item, the clip; map `[rows, cols]`, the unit's map of the clip
      relative to the strongest activation, 0 to 1.
    """
    units = select(strongest(clips[f"{mode}_pool4"], clips["labels"]))
    rows = [
        (unit, row, activation) for unit in units for row, activation in zip(unit.rows, unit.activation, strict=True)
    ]
    item = clips["image_item"][[row for _, row, _ in rows]]
    unique, index = np.unique(item, return_inverse=True)
    found = maps(unique.tolist()) if len(unique) else np.zeros((0, 1, 1, 1), np.float32)
    return {
        "unit": np.array([unit.number for unit, _, _ in rows], int),
        "label": np.array([unit.label for unit, _, _ in rows], int),
        "agreement": np.array([unit.agreement for unit, _, _ in rows], int),
        "activation": np.array([activation for _, _, activation in rows], np.float32),
        "item": item,
        "map": np.stack(
            [
                np.clip(found[at, :, :, unit.number] / unit.activation[0], 0, 1)
                for at, (unit, _, _) in zip(index, rows, strict=True)
            ]
        )
        if rows
        else np.zeros((0, 1, 1), np.float32),
    }


@dataclasses.dataclass(frozen=True)
class UnitClip:
    """A clip that activates a unit: its number, the unit's map drawn over it, and its activation (strongest: 1)."""

    item: int
    image: str
    level: float


@dataclasses.dataclass(frozen=True)
class UnitFigure:
    """A unit as the page shows it."""

    number: int
    label: str
    agreement: int
    clips: tuple[UnitClip, ...]


def draw(arrays: Arrays, mode: str, album: Album, class_names: Sequence[str]) -> tuple[UnitFigure, ...]:
    """Draw the units that `collect` returned.

    Args:
      arrays: result of `collect`.
      mode: `image` or `audio`.
      album: the clips.
      class_names: names of the classes, in label order.
    """
    units = []
    for first in range(0, len(arrays["unit"]), TOP):
        rows = range(first, first + TOP)
        clips = tuple(_draw_clip(arrays, row, first, mode, album) for row in rows)
        label = class_names[int(arrays["label"][first])]
        units.append(UnitFigure(int(arrays["unit"][first]), label, int(arrays["agreement"][first]), clips))
    return tuple(units)


def _draw_clip(arrays: Arrays, row: int, first: int, mode: str, album: Album) -> UnitClip:
    item, level = int(arrays["item"][row]), arrays["map"][row]
    if mode == "image":
        image = over_frame(album.frames[item], level)
    else:
        image = over_spectrogram(album.log_spectrograms[item], level, SPECTROGRAM_PIXELS, SPECTROGRAM_PIXELS)
    return UnitClip(item, jpeg(image), float(arrays["activation"][row] / arrays["activation"][first]))


def over_frame(
    frame: UInt8[np.ndarray, "height width 3"], level: Float[np.ndarray, "rows cols"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Tint the greyscale frame where the unit is active.

    Args:
      frame: RGB, the network's input.
      level: the unit's map, 0 to 1.
    """
    return heatmap_overlay.tint(frame, heatmap_overlay.interpolate(level, frame.shape[:2]))


def over_spectrogram(
    log_spectrogram: Float[np.ndarray, "columns bins"], level: Float[np.ndarray, "rows cols"], height: int, width: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Tint the greyscale image of a log-spectrogram where the unit is active.

    Args:
      log_spectrogram: natural log of power, the network's input.
      level: the unit's map, 0 to 1: row 0 is the lowest frequency, time runs to the right.
      height: height of the image, pixels.
      width: width of the image, pixels.
    """
    image = spectrogram_image.draw(log_spectrogram, height, width)
    by_bin = heatmap_overlay.interpolate(level, (len(log_spectrogram.T), width))
    return heatmap_overlay.tint(image, spectrogram_image.stretch(by_bin, height))
