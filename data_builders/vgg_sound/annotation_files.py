"""Reads the annotation files of VGG-Sound and VGG-SS: `vggsound.csv`, and lists with a clip's name on each line."""

import dataclasses
import pathlib
import re

import tensorflow_datasets as tfds

from data_builders.clips import segments
from data_builders.clips.annotation_sources import annotation_file
from data_builders.clips.clips_config import ClipsConfig

CSV_URL = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/vggsound.csv"
CSV_LAYOUT = 'youtube_id,start_seconds,"label",split'
NAME_LAYOUT = "one clip name per line, <youtube_id>_<start in six digits> with or without .mp4"
CLIP_SECONDS = 10.0
SPLITS = ("train", "test")


def with_lvs(*configs: ClipsConfig) -> list[ClipsConfig]:
    """Return each config unchanged, and with the audio front end of Localizing Visual Sounds the Hard Way."""
    return [
        *configs,
        *(
            dataclasses.replace(
                config,
                name=f"{config.name}_lvs",
                front_end="lvs",
                description=f"{config.description}, audio front end of Localizing Visual Sounds",
            )
            for config in configs
        ),
    ]


def read_clips(path: pathlib.Path) -> dict[str, dict[str, segments.Segment]]:
    """Return the clips in `vggsound.csv`: split to clip id to clip.

    A clip's id is its file's name, `<youtube_id>_<start in six digits>`.

    Raises:
      ValueError: a malformed row or a repeated clip; names the file and the line.
    """
    clips, lines = {split: {} for split in SPLITS}, {}
    for line, (video_id, start, label, split) in segments.rows(path, 4, CSV_LAYOUT):
        if start == "start_seconds":  # the header of a copy
            continue
        seconds = segments.seconds(start, path, line, CSV_LAYOUT)
        clip_id = f"{video_id}_{round(seconds):06d}"
        if seconds != round(seconds) or video_and_start(clip_id) != (video_id, seconds):
            raise ValueError(
                f"{path}, line {line}: {video_id!r}, {start!r}: expected a YouTube id and whole seconds, {CSV_LAYOUT}"
            )
        if not label or split not in SPLITS:
            raise ValueError(
                f"{path}, line {line}: the label {label!r} in the split {split!r}; expected {CSV_LAYOUT}, and a split "
                f"of {', '.join(SPLITS)}"
            )
        if clip_id in lines:
            raise ValueError(f"{path}, line {line}: the clip {clip_id} is also in line {lines[clip_id]}")
        lines[clip_id] = line
        clips[split][clip_id] = segments.Segment(clip_id, video_id, (label,), seconds, CLIP_SECONDS)
    return clips


def class_names(clips: dict[str, dict[str, segments.Segment]]) -> dict[str, str]:
    """Return the class names by id, sorted; ids are the labels, so the result is the same for every config."""
    labels = {clip.labels[0] for split in clips.values() for clip in split.values()}
    return {label: label for label in sorted(labels)}


def video_and_start(clip_id: str) -> tuple[str, float] | None:
    """Return the video id and the start in seconds that a clip's name states; None if it is not such a name."""
    match = re.fullmatch(r"([\w-]{11})_(\d{6})", clip_id, re.ASCII)
    return (match[1], float(match[2])) if match else None


def list_file(dl_manager: tfds.download.DownloadManager, name: str) -> pathlib.Path:
    """Return the path of a list of clips in `--manual_dir`.

    Raises:
      ValueError: it does not exist.
    """
    try:
        return annotation_file(dl_manager, name)
    except ValueError as error:
        raise ValueError(f"{error}. It is a list with {NAME_LAYOUT}") from error


def read_names(path: pathlib.Path) -> dict[str, int]:
    """Return the names in a list of clips, without suffix, with their lines.

    Raises:
      ValueError: a malformed line or a repeated name; names the file and the line.
    """
    names = {}
    for line, (text,) in segments.rows(path, 1, NAME_LAYOUT):
        name = text.removesuffix(".mp4")
        if video_and_start(name) is None:
            raise ValueError(f"{path}, line {line}: {text!r} is not a clip; expected {NAME_LAYOUT}")
        if name in names:
            raise ValueError(f"{path}, line {line}: the clip {name} is also in line {names[name]}")
        names[name] = line
    return names
