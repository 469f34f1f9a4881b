"""Selects the clips whose heat maps a page shows, and draws them (OtS figures 5 and 6, LVS figure 4)."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from avlearn.visuals import clip_selection, heatmap_overlay, tri_map_overlay
from avlearn.visuals.album import Album, jpeg
from avlearn.visuals.boxes import FrameBox, frame_boxes

LOCALIZATIONS = 9
TRIPLETS = 6
TRI_MAPS = 6

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Overlay:
    """A heat map over a frame, computed with the audio of a clip.

    Attributes:
      image_item: number of the frame's clip.
      audio_item: number of the audio's clip.
      image: data URI.
      boxes: annotated objects in the frame.
      mode: (y, x) of the highest value, 0 to 1.
      hit: whether the mode is in a sounding box.
      maximum: highest probability of the map.
    """

    image_item: int
    audio_item: int
    image: str
    boxes: tuple[FrameBox, ...]
    mode: tuple[float, float]
    hit: bool
    maximum: float


@dataclasses.dataclass(frozen=True)
class TriMap:
    """The regions of a frame with its own audio: image as a data URI, and the share of cells in each region."""

    overlay: Overlay
    image: str
    shares: tri_map_overlay.Shares


@dataclasses.dataclass(frozen=True)
class Selection:
    """Rows of AVC pairs to show.

    Attributes:
      matched: frames with their own audio.
      triplets: pairs of rows that have one frame, with its own audio and with another clip's.
    """

    matched: tuple[int, ...] = ()
    triplets: tuple[tuple[int, int], ...] = ()

    @property
    def rows(self) -> tuple[int, ...]:
        """All rows."""
        return (*self.matched, *(row for triplet in self.triplets for row in triplet))


def select(pairs: Arrays) -> Selection:
    """Select frames of different classes (`clip_selection.one_per_class`); none if `missing_map_reason` gives one."""
    if missing_map_reason(pairs):
        return Selection()
    matched = _one_per_class(pairs, heatmap_overlay.visible_source_rows(pairs)[:, None], LOCALIZATIONS)
    triplets = _one_per_class(pairs, heatmap_overlay.mismatched(pairs), TRIPLETS)
    return Selection(tuple(row for (row,) in matched), tuple(triplets))


def select_animated(pairs: Arrays, count: int) -> list[int]:
    """Select the numbers of the clips to animate, one per class; none if the pairs have no heat map.

    The clips show a sounding box; all clips are candidates if the split has no boxes.
    """
    if "heat_map" not in pairs:
        return []
    rows = heatmap_overlay.visible_source_rows(pairs) if "boxes" in pairs else np.zeros(0, int)
    rows = rows if rows.size else np.flatnonzero(pairs["corresponds"])
    return [int(pairs["image_item"][row]) for (row,) in _one_per_class(pairs, rows[:, None], count)]


def missing_map_reason(pairs: Arrays) -> str:
    """Return the reason why no heat map of these pairs can be shown, or an empty string."""
    if not pairs:
        return "the run was not evaluated on pairs of frame and audio"
    if "heat_map" not in pairs:
        return "this network has no heat map"
    if not np.isfinite(pairs.get("boxes", np.zeros(0))).any():
        return "the split has no boxes"
    if not heatmap_overlay.visible_source_rows(pairs).size:
        return "no frame of the split shows the source of its sound"
    return ""


def draw_overlay(album: Album, class_names: Sequence[str], pairs: Arrays, row: int) -> Overlay:
    """Draw the heat map of one pair over its frame."""
    item, heat_map = int(pairs["image_item"][row]), pairs["heat_map"][row]
    boxes, sounding = pairs["boxes"][row], pairs["box_sounding"][row]
    mode = heatmap_overlay.mode(heat_map)
    return Overlay(
        image_item=item,
        audio_item=int(pairs["audio_item"][row]),
        image=jpeg(heatmap_overlay.overlay(album.frames[item], heat_map)),
        boxes=frame_boxes(boxes, pairs["box_label"][row], sounding, class_names),
        mode=mode,
        hit=heatmap_overlay.hit(mode, boxes, sounding),
        maximum=float(heatmap_overlay.probability(heat_map).max()),
    )


def draw_tri_map(
    album: Album, overlay: Overlay, pairs: Arrays, row: int, thresholds: tri_map_overlay.Thresholds
) -> TriMap:
    """Draw the tri-map's regions for a pair, given its overlay."""
    heat_map = pairs["heat_map"][row]
    image = tri_map_overlay.overlay(album.frames[overlay.image_item], heat_map, thresholds)
    return TriMap(overlay, jpeg(image), tri_map_overlay.shares(heat_map, thresholds))


def _one_per_class(arrays: Arrays, groups: np.ndarray, count: int) -> list[tuple[int, ...]]:
    """Select groups of rows so that their frames have different classes; each line is a group of one frame's rows."""
    first = groups[:, 0]
    selected = clip_selection.one_per_class(arrays["labels"][first], arrays["image_item"][first], count)
    return [tuple(groups[number].tolist()) for number in selected]
