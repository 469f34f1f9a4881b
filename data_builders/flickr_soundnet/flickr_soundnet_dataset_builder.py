"""Builds flickr_soundnet: unlabelled Flickr videos, and a test set with boxes around sound sources (TFDS builder)."""

import collections
import dataclasses
import pathlib
from collections.abc import Collection, Iterable, Mapping
from xml.etree import ElementTree

import tensorflow_datasets as tfds

from data_builders.clips import annotation_sources, clip_files, clips_builder, clips_config, segments
from data_builders.clips.divide import is_validation
from data_builders.clips.listing import Listing

BOX_PIXELS = 256  # scale of the boxes, whatever the size of the image
BOX_LAYOUT = "root > annotator > bbox > (anything, xmin, ymin, xmax, ymax)"
TEST_LIST = "flickr_test.csv"
LABEL = "sound"
Refused = dict[str, list[str]]


@dataclasses.dataclass
class Config(clips_config.ClipsConfig):
    """The videos to train on.

    Attributes:
      train_list: name of a file in `--manual_dir` with their ids, one per line; empty: every file in `videos/`.
      clip_seconds: length to store, from the start of each; 0: the complete file. Test clips are stored completely.
    """

    train_list: str = ""
    clip_seconds: float = 20


class Builder(clips_builder.ClipsBuilder):
    """Builds Flickr-SoundNet from the clips in `--manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = clips_config.variants(
        Config(
            name="train_10k",
            description="Training on the 10k videos of Localizing Visual Sounds the Hard Way",
            train_list="flickr_10k.txt",
        ),
        Config(
            name="train_144k",
            description="Training on the 144k videos of Localizing Visual Sounds the Hard Way",
            train_list="flickr_144k.txt",
        ),
        Config(name="full", description="Training on every available video"),
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read the training videos, some of them for validation, and the test clips with their boxes; one class."""
        manual_dir, config = annotation_sources.manual_dir(dl_manager), self.builder_config
        seconds = config.clip_seconds
        if seconds != 0 and not seconds >= config.min_seconds:
            raise ValueError(
                f"clip_seconds={seconds}: it must be 0 (complete files), or min_seconds={config.min_seconds} or more"
            )
        refused = collections.defaultdict(list)
        test, held_out = read_test(manual_dir, refused)
        video_ids = list_train(manual_dir, config.train_list, held_out, refused)

        def train(validation: bool) -> Iterable[segments.Segment]:
            for video_id in video_ids:
                if is_validation(video_id) == validation:
                    yield segments.Segment(video_id, video_id, (LABEL,), duration_seconds=seconds or None)

        return clips_builder.Annotations(
            splits={
                "train": train(validation=False),
                "validation": train(validation=True),
                "test": [
                    segments.Segment(video_id, video_id, (LABEL,), boxes=boxes) for video_id, boxes in test.items()
                ],
            },
            class_names={LABEL: LABEL},
            refused={kind: lines for kind, lines in refused.items() if lines},
        )


def list_train(manual_dir: pathlib.Path, train_list: str, held_out: set[str], refused: Refused) -> Collection[str]:
    """Return the ids of the training videos: those of a list, or of the files in `videos/`.

    Args:
      manual_dir: folder of the lists and videos.
      train_list: name of the list; empty: the files.
      held_out: ids of the test set, which are left out.
      refused: ids of a list that are repeated or in the test set, and files with the name of another, are added to it.

    Raises:
      ValueError: the list or the folder does not exist, or a line of the list is not an id.
    """
    if not train_list:
        folder = manual_dir / "videos"
        if not folder.is_dir():
            raise ValueError(f"training on every video needs the folder {folder}, which does not exist")
        files = clip_files.walk(folder, clip_files.VIDEO_SUFFIXES)
        paths = (file.path for file in files if file.stem not in held_out)
        videos = Listing(folder, paths, lambda path: path.stem)
        refused["files with the name of another"] = list(videos.same_name)
        return videos.names
    path = find_list(manual_dir, train_list)
    if path is None:
        raise ValueError(
            f"the list of training videos {train_list} is not in --manual_dir={manual_dir}; it has an id on each line"
        )
    kept = {}
    for line, (video_id,) in read_ids(path, 1, "id"):
        if video_id in held_out:
            refused["training ids of the test set"].append(f"{path.name}, line {line}: {video_id}")
        elif video_id in kept:
            refused["training ids listed twice"].append(f"{path.name}, line {line}: {video_id}")
        else:
            kept[video_id] = line
    return list(kept)


def find_list(manual_dir: pathlib.Path, name: str) -> pathlib.Path | None:
    """Return the path of a list of ids, with its own suffix, `.txt` or `.csv`; None if it does not exist."""
    names = (name, *(str(pathlib.PurePath(name).with_suffix(suffix)) for suffix in (".txt", ".csv")))
    return next((manual_dir / name for name in names if (manual_dir / name).is_file()), None)


def read_ids(path: pathlib.Path, fields: int, layout: str) -> list[tuple[int, list[str]]]:
    """Return the rows of a list whose first field is an id of Flickr, with their line numbers.

    Raises:
      ValueError: a malformed row; names the file and the line.
    """
    rows = list(segments.rows(path, fields, layout))
    for line, row in rows:
        if not (row[0].isascii() and row[0].isdigit()):
            raise ValueError(f"{path}, line {line}: {row[0]!r} is not an id of Flickr, which consists of digits")
    return rows


def read_test(manual_dir: pathlib.Path, refused: Refused) -> tuple[Mapping[str, tuple[segments.Box, ...]], set[str]]:
    """Return the test set: the files of `Annotations/` or, if `flickr_test.csv` exists, those that it lists.

    Args:
      manual_dir: folder of both.
      refused: degenerate boxes, clips without a box, and differences between list and files are added to it.

    Returns:
      Boxes by id; and all ids of list and files, which must not be trained on.

    Raises:
      ValueError: no file exists or has a usable box, or a file or a line of the list is malformed.
    """
    found = sorted((manual_dir / "Annotations").glob("*.xml"))
    # A Mac's ._<id>.xml is not XML.
    paths = {path.stem: path for path in found if path.is_file() and not path.name.startswith(".")}
    if not paths:
        raise ValueError(f"the boxes of the test set are missing: {manual_dir / 'Annotations'} has no <id>.xml")
    listed, test_list = list(paths), find_list(manual_dir, TEST_LIST)
    if test_list is not None:
        lines = collections.Counter(row[0] for _, row in read_ids(test_list, 2, "id,number"))
        listed = list(lines)
        refused["lines of the list that repeat a test clip"] = [
            video_id for video_id, count in lines.items() if count > 1
        ]
        refused["test clips that the list leaves out"] = [video_id for video_id in paths if video_id not in set(listed)]
        refused["test clips without an annotation file"] = [video_id for video_id in listed if video_id not in paths]
    test = {video_id: read_boxes(paths[video_id], refused) for video_id in listed if video_id in paths}
    refused["clips without a usable box"] = [video_id for video_id, boxes in test.items() if not boxes]
    if not any(test.values()):
        raise ValueError(f"none of the files in {manual_dir / 'Annotations'} has a usable box; expected {BOX_LAYOUT}")
    return test, {*paths, *listed}


def read_boxes(path: pathlib.Path, refused: Refused) -> tuple[segments.Box, ...]:
    """Return the boxes of every annotator of a test clip, on its middle frame.

    Args:
      path: path of its XML file.
      refused: boxes without an area or beyond the image are added to it.

    Raises:
      ValueError: the file is not XML, or a box is not four numbers.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: {error}; expected {BOX_LAYOUT}") from error
    boxes = []
    annotators = (child for child in root if child.find("bbox") is not None)
    for annotator, element in enumerate(annotators):
        for bbox in element.findall("bbox"):
            texts = [child.text for child in bbox][1:]
            try:
                xmin, ymin, xmax, ymax = corners = [float(text or "") for text in texts]
            except ValueError:
                raise ValueError(f"{path}: annotator {annotator} has a box {texts}; expected {BOX_LAYOUT}") from None
            if 0 <= xmin < xmax <= BOX_PIXELS and 0 <= ymin < ymax <= BOX_PIXELS:
                normalised = tuple(value / BOX_PIXELS for value in (ymin, xmin, ymax, xmax))
                boxes.append(segments.Box(normalised, LABEL, annotator=annotator))
            else:
                refused["degenerate boxes"].append(f"{path.name}: annotator {annotator}: {corners}")
    return tuple(boxes)
