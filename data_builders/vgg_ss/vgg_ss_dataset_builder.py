"""Builds vgg_ss: VGG-Sound Source, test clips of VGG-Sound with boxes around sound sources (TFDS builder)."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Collection, Mapping, Sequence

import tensorflow_datasets as tfds

from data_builders.clips import clips_builder, clips_config
from data_builders.clips.annotation_sources import annotation_file
from data_builders.clips.clips_config import ClipsConfig
from data_builders.clips.segments import Box, Segment
from data_builders.vgg_sound.annotation_files import (
    CLIP_SECONDS,
    CSV_URL,
    class_names,
    list_file,
    read_clips,
    read_names,
    video_and_start,
    with_lvs,
)

# The file in the authors' repository, at the commit that revised some of the boxes.
BOXES_URL = (
    "https://raw.githubusercontent.com/hche11/Localizing-Visual-Sounds-the-Hard-Way/"
    "2dd2256ef6813e749e5d72dbae809aee1222aae8/metadata/vggss.json"
)
LAYOUT = '{"file": "<youtube_id>_<start in six digits>", "class": name, "bbox": [[xmin, ymin, xmax, ymax], ...]}'
ROUNDING = 1e-6  # a coordinate may be outside of the image by this much, because of rounding


@dataclasses.dataclass
class Config(ClipsConfig):
    """The clips of VGG-SS to build.

    Attributes:
      test_list: name of a file in `--manual_dir` that lists the clips; empty: all of them.
    """

    test_list: str = ""


class Builder(clips_builder.ClipsBuilder):
    """Builds VGG-SS, or a part of it, from the clips in `--manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = clips_config.variants(
        *with_lvs(
            Config(name="full", description="All of VGG-SS"),
            Config(name="heard", description="Clips of the 110 heard classes", test_list="vggss_heard_test.csv"),
            Config(name="unheard", description="Clips of the 110 unheard classes", test_list="vggss_unheard_test.csv"),
        )
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read the clips with their boxes on the middle frame; the classes are those of VGG-Sound."""
        classes = class_names(read_clips(annotation_file(dl_manager, "vggsound.csv", CSV_URL)))
        path = annotation_file(dl_manager, "vggss.json", BOXES_URL)
        clips = read_boxed_clips(path, classes)
        if self.builder_config.test_list:
            clips = select_listed(clips, list_file(dl_manager, self.builder_config.test_list), path)
        segments, refused = to_segments(clips)
        return clips_builder.Annotations(splits={"test": segments}, class_names=classes, refused=refused)


@dataclasses.dataclass(frozen=True)
class BoxedClip:
    """An entry of `vggss.json`.

    Attributes:
      clip_id: name of the clip's file.
      label: class.
      boxes: (xmin, ymin, xmax, ymax) of each box, unchanged, usable or not.
    """

    clip_id: str
    label: str
    boxes: tuple[tuple[float, float, float, float], ...]


def read_boxed_clips(path: pathlib.Path, classes: Collection[str]) -> dict[str, BoxedClip]:
    """Return the entries of `vggss.json` by clip id.

    Raises:
      ValueError: the file is not such a list, or an entry is malformed, repeated or of an unknown class; names it.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected a JSON list of {LAYOUT}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a JSON list of {LAYOUT}")
    clips = {}
    for number, entry in enumerate(entries, 1):
        where = f"{path}, entry {number}"
        clip = _boxed_clip(entry, where)
        if clip.label not in classes:
            raise ValueError(f"{where}: {clip.label!r} is not a class of vggsound.csv")
        if clip.clip_id in clips:
            raise ValueError(f"{where}: the clip {clip.clip_id} is repeated")
        clips[clip.clip_id] = clip
    return clips


def _boxed_clip(entry, where) -> BoxedClip:
    try:
        clip_id, label, boxes = entry["file"], entry["class"], tuple(tuple(map(float, box)) for box in entry["bbox"])
        if video_and_start(clip_id) is not None and isinstance(label, str) and all(len(box) == 4 for box in boxes):
            return BoxedClip(clip_id, label, boxes)
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{where}: {json.dumps(entry)[:120]}; expected {LAYOUT}")


def select_listed(clips: Mapping[str, BoxedClip], path: pathlib.Path, source: pathlib.Path) -> dict[str, BoxedClip]:
    """Return the clips that a list names.

    Args:
      clips: clip id to clip.
      path: path of the list.
      source: file of the clips.

    Raises:
      ValueError: a malformed line, or an unknown or repeated clip; names the file and the line.
    """
    names = read_names(path)
    for name, line in names.items():
        if name not in clips:
            raise ValueError(f"{path}, line {line}: {name} is not a clip of {source}")
    return {name: clips[name] for name in names}


def to_segments(clips: Mapping[str, BoxedClip]) -> tuple[list[Segment], dict[str, list[str]]]:
    """Return segments with the usable boxes, and the annotations that are not usable: kind to a line for each."""
    segments, degenerate, bare = [], [], []
    for clip_id, clip in clips.items():
        usable = [usable_box(box) for box in clip.boxes]
        degenerate += [
            f"{clip_id}, box {index}: xmin, ymin, xmax, ymax = {', '.join(map(str, clip.boxes[index]))}"
            for index, box in enumerate(usable)
            if box is None
        ]
        boxes = tuple(Box(box, clip.label) for box in usable if box is not None)
        if not boxes:
            bare.append(clip_id)
        video_id, start_seconds = video_and_start(clip_id)
        segments.append(Segment(clip_id, video_id, (clip.label,), start_seconds, CLIP_SECONDS, boxes))
    kinds = {"degenerate boxes": degenerate, "clips without a usable box": bare}
    return segments, {kind: lines for kind, lines in kinds.items() if lines}


def usable_box(box: Sequence[float]) -> tuple[float, float, float, float] | None:
    """Return a box as (ymin, xmin, ymax, xmax) within 0 to 1; None if it is degenerate.

    A box is degenerate if a coordinate is not finite or is outside of the image by more than rounding, or if its area
    is zero.

    Args:
      box: (xmin, ymin, xmax, ymax), normalised.
    """
    if not all(math.isfinite(value) and -ROUNDING <= value <= 1 + ROUNDING for value in box):
        return None
    xmin, ymin, xmax, ymax = (min(max(value, 0.0), 1.0) for value in box)
    return (ymin, xmin, ymax, xmax) if xmin < xmax and ymin < ymax else None
