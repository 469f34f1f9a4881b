"""Which clips show a network's heat map on the page, and what is shown of each (OtS figures 5 and 6, LVS figure 4)."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from avlearn.visuals import choice, heatmap_overlay, tri_map_overlay
from avlearn.visuals.album import Album, jpeg
from avlearn.visuals.boxes import DrawnBox, drawn

LOCALIZATIONS = 9
TRIPLETS = 6
TRI_MAPS = 6

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Overlay:
    """A heat map over a frame, with one clip's sound."""

    image_item: int
    audio_item: int
    picture: str
    boxes: tuple[DrawnBox, ...]
    mode: tuple[float, float]
    hit: bool
    maximum: float


@dataclasses.dataclass(frozen=True)
class TriMap:
    """The regions of an image with its own sound, over the frame, and how many cells are in each."""

    overlay: Overlay
    regions: str
    shares: tri_map_overlay.Shares


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Rows of the AVC pairs to show: frames with their own sound, and (own sound, another clip's) of one frame."""

    located: tuple[int, ...] = ()
    triplets: tuple[tuple[int, int], ...] = ()

    def items(self, pairs: Arrays) -> list[int]:
        """Numbers of the clips that are seen or heard."""
        rows = [*self.located, *(row for triplet in self.triplets for row in triplet)]
        return [int(pairs[of][row]) for row in rows for of in ("image_item", "audio_item")]


def choose(pairs: Arrays) -> Chosen:
    """Frames of different classes, by the rule of `choice.by_class`; none where `why_no_map` says why."""
    if why_no_map(pairs):
        return Chosen()
    located = _of_classes(pairs, heatmap_overlay.in_view(pairs)[:, None], LOCALIZATIONS)
    triplets = _of_classes(pairs, heatmap_overlay.mismatched(pairs), TRIPLETS)
    return Chosen(tuple(row for (row,) in located), tuple(triplets))


def filmed(pairs: Arrays, count: int) -> list[int]:
    """Numbers of the clips to show as films, of different classes by the same rule; none where there is no heat map.

    They are among the frames that show what sounds, or among all where the split has no boxes.
    """
    if "heat_map" not in pairs:
        return []
    shown = heatmap_overlay.in_view(pairs) if "boxes" in pairs else np.zeros(0, int)
    shown = shown if shown.size else np.flatnonzero(pairs["corresponds"])
    return [int(pairs["image_item"][row]) for (row,) in _of_classes(pairs, shown[:, None], count)]


def why_no_map(pairs: Arrays) -> str:
    """Why no heat map of these pairs can be shown; empty where it can."""
    if not pairs:
        return "the run was not evaluated on pairs of frame and sound"
    if "heat_map" not in pairs:
        return "this network has no heat map"
    if "boxes" not in pairs:
        return "the split has no boxes"
    if not heatmap_overlay.in_view(pairs).size:
        return "no frame of the split shows what sounds"
    return ""


def overlay(album: Album, class_names: Sequence[str], pairs: Arrays, row: int) -> Overlay:
    """The heat map of one pair over its frame."""
    item, heat_map = int(pairs["image_item"][row]), pairs["heat_map"][row]
    drawable = (pairs["boxes"][row], pairs["box_label"][row], pairs["box_sounding"][row])
    mode = heatmap_overlay.mode(heat_map)
    return Overlay(
        image_item=item,
        audio_item=int(pairs["audio_item"][row]),
        picture=jpeg(heatmap_overlay.overlay(album.frames[item], heat_map)),
        boxes=drawn(*drawable, class_names),
        mode=mode,
        hit=heatmap_overlay.hit(mode, pairs["boxes"][row], pairs["box_sounding"][row]),
        maximum=float(heatmap_overlay.probability(heat_map).max()),
    )


def tri_map(album: Album, of: Overlay, pairs: Arrays, row: int, thresholds: tri_map_overlay.Thresholds) -> TriMap:
    """The regions of the same pair."""
    heat_map = pairs["heat_map"][row]
    picture = tri_map_overlay.overlay(album.frames[of.image_item], heat_map, thresholds)
    return TriMap(of, jpeg(picture), tri_map_overlay.shares(heat_map, thresholds))


def _of_classes(arrays: Arrays, rows: np.ndarray, count: int) -> list[tuple[int, ...]]:
    """Some of the entries, each one or several rows of one frame: frames of different classes."""
    frames = rows[:, 0]
    picked = choice.by_class(arrays["labels"][frames], arrays["image_item"][frames], count)
    return [tuple(rows[entry].tolist()) for entry in picked]
