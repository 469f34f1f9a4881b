"""Builds kinetics_sounds: clips of Kinetics-400 with actions that are audible as well as visible (TFDS builder)."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from data_builders.clips import clips_builder, clips_config, segments
from data_builders.clips.annotation_sources import fetch, manual_dir
from data_builders.clips.clips_config import ClipsConfig
from data_builders.kinetics_sounds.kinetics_classes import NEAREST_ONLY, class_labels

ARCHIVE_URL = "https://storage.googleapis.com/deepmind-media/Datasets/kinetics400.tar.gz"
LAYOUT = "label,youtube_id,time_start,time_end,split,is_cc"

# The dataset's own splits: names of the annotation file, and of the split in its rows.
SPLITS = {"train": ("train",), "validation": ("validate", "val", "validation"), "test": ("test",)}


@dataclasses.dataclass
class Config(ClipsConfig):
    """The classes of Kinetics-Sounds to build.

    Attributes:
      nearest: classes without a label in Kinetics-400 that are included with the nearest label.
    """

    nearest: Sequence[str] = ()


class Builder(clips_builder.ClipsBuilder):
    """Builds Kinetics-Sounds from the clips of Kinetics-400 in `--manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = clips_config.variants(
        Config(name="ks31", description="The 31 classes of Look, Listen and Learn that Kinetics-400 has a label for"),
        Config(
            name="ks32",
            description="The 31 classes, and fingerpicking by 'strumming guitar'",
            nearest=("fingerpicking",),
        ),
        Config(
            name="ks34_nearest",
            description="All 34 classes, three of them by the nearest label of Kinetics-400",
            nearest=NEAREST_ONLY,
        ),
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read the clips that have one of the labels, under the paper's names, in the dataset's own splits."""
        labels = class_labels(tuple(self.builder_config.nearest))
        names = {label: name for name, label in labels.items()}
        files = annotation_files(dl_manager)
        splits = {split: read_segments(path, names, SPLITS[split]) for split, path in files.items()}
        _check_every_class(splits, labels, files)
        return clips_builder.Annotations(splits=splits, class_names={name: name for name in labels})


def annotation_files(dl_manager: tfds.download.DownloadManager) -> dict[str, pathlib.Path]:
    """Return the annotation file of every split, from `--manual_dir` or else from the published archive.

    Raises:
      ValueError: a file is in neither, or the archive cannot be fetched.
    """
    folder = manual_dir(dl_manager)
    found = {split: _find_file(folder, names) for split, names in SPLITS.items()}
    absent = [split for split, path in found.items() if path is None]
    if absent:
        names = ", ".join(f"{SPLITS[split][0]}.csv" for split in absent)
        archive = fetch(dl_manager, names, ARCHIVE_URL, unpack=True)
        for split in absent:
            paths = [path for name in SPLITS[split] for path in sorted(archive.rglob(f"{name}.csv"))]
            if not paths:
                raise ValueError(
                    f"{ARCHIVE_URL} holds no {SPLITS[split][0]}.csv; put the file in --manual_dir={folder}"
                )
            found[split] = paths[0]
    return found


def read_segments(path: pathlib.Path, names: Mapping[str, str], splits: Sequence[str]) -> list[segments.Segment]:
    """Return the segments in an annotation file of Kinetics-400 that have one of the labels.

    Args:
      path: path of the file.
      names: Kinetics-400 label to class.
      splits: allowed values of the column `split`.

    Raises:
      ValueError: a malformed row or a repeated clip; names the file and the line.
    """
    columns = _read_header(path)
    wanted, lines = [], {}
    for line, row in segments.rows(path, len(columns), LAYOUT):
        label, video_id, start, end, split = row[:5]
        if row == columns:
            continue
        if not re.fullmatch(r"[\w-]{11}", video_id, re.ASCII):
            raise ValueError(f"{path}, line {line}: {video_id!r} is not a YouTube id; expected {LAYOUT}")
        if split not in splits:
            raise ValueError(f"{path}, line {line}: the split {split!r}, expected {' or '.join(splits)}")
        start, end = (segments.seconds(time, path, line, LAYOUT) for time in (start, end))
        if end <= start:
            raise ValueError(f"{path}, line {line}: it ends at {end} s and starts at {start} s; expected {LAYOUT}")
        if label in names:
            clip_id = f"{video_id}_{round(start):06d}_{round(end):06d}"
            if clip_id in lines:
                raise ValueError(f"{path}, line {line}: the clip {clip_id} is also in line {lines[clip_id]}")
            lines[clip_id] = line
            wanted.append(segments.Segment(clip_id, video_id, (names[label],), start, end - start))
    return wanted


def _find_file(folder, names) -> pathlib.Path | None:
    paths = (parent / f"{name}.csv" for parent in (folder, folder / "annotations") for name in names)
    return next((path for path in paths if path.is_file()), None)


def _read_header(path) -> list[str]:
    """Return the columns of an annotation file; some copies lack the last one."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        header = [name.strip().strip('"') for name in file.readline().split(",")]
    columns = LAYOUT.split(",")
    if header not in (columns, columns[:-1]):
        raise ValueError(f"{path}, line 1: {','.join(header)[:80]!r}, expected the header {LAYOUT}")
    return header


def _check_every_class(splits, labels, files) -> None:
    found = {name for listed in splits.values() for segment in listed for name in segment.labels}
    for name, label in labels.items():
        if name not in found:
            paths = ", ".join(str(path) for path in files.values())
            raise ValueError(f"no row has the label {label!r} (for {name!r}) in {paths}: are they Kinetics-400's?")
