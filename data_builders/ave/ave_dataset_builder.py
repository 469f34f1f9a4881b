"""Builds ave: ten-second clips of 28 kinds of audio-visual events (TFDS builder)."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from data_builders.clips import annotation_sources, clips_builder, clips_config, segments
from data_builders.clips.divide import VALIDATION_PERCENT, hash_percent

ANNOTATIONS_URL = "https://raw.githubusercontent.com/YapengTian/AVE-ECCV18/master/data/Annotations.txt"
# A video in several lists belongs to the first of them.
LISTS = {"test": "testSet.txt", "validation": "valSet.txt", "train": "trainSet.txt"}
LAYOUT = "Category&VideoID&Quality&StartTime&EndTime"
CLIP_SECONDS = 10.0
TEST_PERCENT = 10  # if the dataset's own lists are not available

# The dataset's categories and their ids in AudioSet's ontology.
CLASSES = {
    "Church bell": "/m/03w41f",
    "Male speech, man speaking": "/m/05zppz",
    "Bark": "/m/05tny_",
    "Fixed-wing aircraft, airplane": "/m/0cmf2",
    "Race car, auto racing": "/m/0ltv",
    "Female speech, woman speaking": "/m/02zsn",
    "Helicopter": "/m/09ct_",
    "Violin, fiddle": "/m/07y_7",
    "Flute": "/m/0l14j_",
    "Ukulele": "/m/07xzm",
    "Frying (food)": "/m/0dxrf",
    "Truck": "/m/07r04",
    "Shofar": "/m/0l14l2",
    "Motorcycle": "/m/04_sv",
    "Acoustic guitar": "/m/042v_gx",
    "Train horn": "/m/0284vy3",
    "Clock": "/m/01x3z",
    "Banjo": "/m/018j2",
    "Goat": "/m/03fwl",
    "Baby cry, infant cry": "/t/dd00002",
    "Bus": "/m/01bjv",
    "Chainsaw": "/m/01j4z9",
    "Cat": "/m/01yrx",
    "Horse": "/m/03k3r",
    "Toilet flush": "/m/01jt3m",
    "Rodents, rats, mice": "/m/06hps",
    "Accordion": "/m/0mkg",
    "Mandolin": "/m/04rzd",
}


@dataclasses.dataclass(frozen=True)
class Event:
    """A row of the annotations.

    Attributes:
      video_id: id of the video.
      label: id of the category.
      line: number of the row, from 1.
    """

    video_id: str
    label: str
    line: int


class Builder(clips_builder.ClipsBuilder):
    """Builds AVE-Dataset from the clips in `--manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = clips_config.ClipsConfig
    BUILDER_CONFIGS = clips_config.variants(
        clips_config.ClipsConfig(name="all", description="The 4,097 clips of AVE-Dataset")
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read one segment per video, with the categories of all its events."""
        path = annotation_sources.annotation_file(dl_manager, "Annotations.txt", ANNOTATIONS_URL)
        labels = {}
        for event in read_events(path):
            video_labels = labels.setdefault(event.video_id, [])
            if event.label not in video_labels:
                video_labels.append(event.label)
        lists, refused = find_lists(annotation_sources.manual_dir(dl_manager)), {}
        print(f"ave: splits by {', '.join(map(str, lists.values())) or 'a hash of the ids, as no list was found'}")
        split_of = listed_splits(lists, labels, refused) if lists else {video: hashed_split(video) for video in labels}
        splits = {"train": [], "validation": [], "test": []}
        for video_id, split in split_of.items():
            video_labels = tuple(labels[video_id])
            splits[split].append(segments.Segment(video_id, video_id, video_labels, duration_seconds=CLIP_SECONDS))
        return clips_builder.Annotations(
            splits, class_names={label: name for name, label in CLASSES.items()}, refused=refused
        )


def read_events(path: pathlib.Path) -> list[Event]:
    """Return the events in `Annotations.txt` or in one of the lists.

    Raises:
      ValueError: a malformed row; names the file and the line.
    """
    events = []
    for line, (category, video_id, _, start, end) in segments.rows(path, 5, LAYOUT, delimiter="&"):
        if category == "Category":
            continue
        if category not in CLASSES:
            raise ValueError(f"{path}, line {line}: {category!r} is not one of the categories: {', '.join(CLASSES)}")
        if not video_id:
            raise ValueError(f"{path}, line {line}: the video id is missing; expected {LAYOUT}")
        start, end = (segments.seconds(time, path, line, LAYOUT) for time in (start, end))
        if not start <= end <= CLIP_SECONDS:  # one official row is from 0 to 0
            raise ValueError(f"{path}, line {line}: {start} to {end} s is not within ten seconds; expected {LAYOUT}")
        events.append(Event(video_id, CLASSES[category], line))
    return events


def find_lists(manual_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return the dataset's own lists by split; empty if none is in the folder or in its `annotations/`.

    Raises:
      ValueError: some of them exist and some do not.
    """
    folders = (manual_dir, manual_dir / "annotations")
    found = {
        split: next((folder / name for folder in folders if (folder / name).is_file()), None)
        for split, name in LISTS.items()
    }
    missing = [LISTS[split] for split, path in found.items() if path is None]
    if len(missing) == len(LISTS):
        return {}
    if missing:
        raise ValueError(
            f"{', '.join(missing)} is not in {manual_dir}, but others are: give all of {', '.join(LISTS.values())}, or "
            "none of them to divide the videos by a hash of the ids"
        )
    return found


def listed_splits(
    lists: Mapping[str, pathlib.Path], videos: Mapping[str, Sequence[str]], refused: dict[str, list[str]]
) -> dict[str, str]:
    """Return the split of each video by the dataset's lists; if it is in two, the first of test, validation and train.

    Args:
      lists: the list of each split, in this order.
      videos: videos in `Annotations.txt`, with their labels.
      refused: videos in two lists or in no list are added to it.

    Raises:
      ValueError: a list names a video that is not in `Annotations.txt`.
    """
    split_of, twice = {}, {}
    for split, path in lists.items():
        for event in read_events(path):
            if event.video_id not in videos:
                raise ValueError(f"{path}, line {event.line}: the video {event.video_id!r} is not in Annotations.txt")
            kept = split_of.setdefault(event.video_id, split)
            if kept != split:
                line = f"{event.video_id}: in {LISTS[kept]} and in {path.name}, line {event.line}; kept in {kept}"
                twice.setdefault((event.video_id, split), line)
    left_out = [video_id for video_id in videos if video_id not in split_of]
    kinds = {"videos in two lists": list(twice.values()), "videos in no list": left_out}
    refused.update({kind: lines for kind, lines in kinds.items() if lines})
    return split_of


def hashed_split(video_id: str) -> str:
    """Return the split of a video by a hash that is the same in every build: a tenth is validation, a tenth test."""
    if hash_percent(video_id) < VALIDATION_PERCENT:
        return "validation"
    return "test" if hash_percent(video_id) < VALIDATION_PERCENT + TEST_PERCENT else "train"
