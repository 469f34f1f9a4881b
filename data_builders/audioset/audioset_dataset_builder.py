"""Builds audioset: ten-second clips of YouTube videos with AudioSet's labels (TFDS builder)."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

import tensorflow_datasets as tfds

from avlearn.ontology import Ontology
from data_builders.clips import annotation_sources, clips_builder, clips_config, segments
from data_builders.clips.annotation_sources import annotation_file
from data_builders.clips.clips_config import ClipsConfig
from data_builders.clips.divide import is_validation

SEGMENTS_URL = "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/{}_segments.csv"
ONTOLOGY_URL = "https://raw.githubusercontent.com/audioset/ontology/master/ontology.json"
TRAIN_SETS = ("balanced_train", "unbalanced_train")
LAYOUT = 'YTID, start_seconds, end_seconds, "id,id,..."'

# Objects that Sound, section 2: the classes below these are AudioSet-Instruments (110 with the three themselves).
INSTRUMENTS = ("Musical instrument", "Singing", "Tools")
ANIMALS = ("Animal",)


@dataclasses.dataclass
class Config(ClipsConfig):
    """The clips of AudioSet to build.

    Attributes:
      below: clips of these classes and of their descendants in the ontology are built; empty: all clips.
      classes_file: name of a file in `--manual_dir` that replaces `below`, with the name or id of a class per line.
      train_sets: sets of AudioSet that are divided into training and validation.
    """

    below: Sequence[str] = ()
    classes_file: str = ""
    train_sets: Sequence[str] = TRAIN_SETS

    def check(self) -> None:
        """Refuse sets that are not AudioSet's training sets, and a class instead of a list of classes.

        Raises:
          ValueError: names the key, its value and the allowed values.
        """
        unknown = [name for name in self.train_sets if name not in TRAIN_SETS]
        if isinstance(self.train_sets, str) or unknown or not self.train_sets:
            raise ValueError(f"train_sets={self.train_sets!r}: it must be a list of one or both of {list(TRAIN_SETS)}")
        if isinstance(self.below, str):
            raise ValueError(f"below={self.below!r}: it must be a list of classes, such as [{self.below!r}]")


INSTRUMENTS_CONFIG = Config(
    name="instruments",
    description="AudioSet-Instruments of Objects that Sound: 110 classes of instruments, singing and tools",
    below=INSTRUMENTS,
)


class Builder(clips_builder.ClipsBuilder):
    """Builds AudioSet, or the part of it that a paper uses, from the clips in `--manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = [
        *clips_config.variants(
            INSTRUMENTS_CONFIG,
            Config(
                name="instruments_50",
                description="The classes of your own list, as All that Sound selects 50 of the 110",
                classes_file="instruments_50.txt",
            ),
            Config(
                name="animals", description="AudioSet-Animals of All that Sound: every clip of an animal", below=ANIMALS
            ),
            Config(name="all", description="All of AudioSet"),
        ),
        dataclasses.replace(
            INSTRUMENTS_CONFIG,
            name="instruments_flow",
            description="AudioSet-Instruments with the optical flow, for AVE+OF",
            optical_flow=True,
        ),
        dataclasses.replace(
            INSTRUMENTS_CONFIG,
            name="instruments_waveform",
            description="AudioSet-Instruments with the waveform, for the multisensory network of Owens and Efros",
            waveform_hz=21_000,
            min_seconds=6.5,  # 4.2 s, and 4.2 s that begin 2 s later
        ),
    ]

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read the segments that have a wanted class, with all their labels; the classes are those of the ontology."""
        config = self.builder_config
        config.check()
        ontology = Ontology.from_json(annotation_file(dl_manager, "ontology.json", ONTOLOGY_URL))
        wanted = wanted_classes(ontology, config, annotation_sources.manual_dir(dl_manager))
        sets = {
            name: annotation_file(dl_manager, f"{name}_segments.csv", SEGMENTS_URL.format(name))
            for name in (*config.train_sets, "eval")
        }

        def segments_of(names: Sequence[str], keep: Callable[[str], bool]) -> Iterator[segments.Segment]:
            for name in names:
                for segment in read_segments(sets[name], set(ontology.ids)):
                    if keep(segment.video_id) and not wanted.isdisjoint(segment.labels):
                        yield segment

        return clips_builder.Annotations(
            splits={
                "train": segments_of(config.train_sets, lambda video_id: not is_validation(video_id)),
                "validation": segments_of(config.train_sets, is_validation),
                "test": segments_of(("eval",), lambda video_id: True),
            },
            class_names=dict(zip(ontology.ids, ontology.names, strict=True)),
            ontology=ontology.nodes(),
        )


def wanted_classes(ontology: Ontology, config: Config, manual_dir: pathlib.Path) -> set[str]:
    """Return the ids of the classes whose clips a config builds.

    Raises:
      ValueError: the file of classes does not exist, or names a class that is not in the ontology.
    """
    if not config.classes_file:
        return (
            set().union(*(ontology.descendants(name) for name in config.below)) if config.below else set(ontology.ids)
        )
    path = manual_dir / config.classes_file
    if not path.is_file():
        raise ValueError(
            f"the config {config.name!r} needs the file {path}, which does not exist: write a name or id of the "
            "ontology on each line"
        )
    wanted = set()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                wanted.add(ontology.id_of(line.strip()))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return wanted


def read_segments(path: pathlib.Path, known: set[str]) -> Iterator[segments.Segment]:
    """Yield the segments in one of AudioSet's `*_segments.csv`, or in a copy that a spreadsheet saved.

    Args:
      path: path of the file.
      known: ids of the ontology.

    Raises:
      ValueError: a malformed row; names the file and the line.
    """
    for line, (video_id, start, end, labels) in segments.rows(path, 4, LAYOUT):
        if start == "start_seconds":  # the header of a copy
            continue
        if not re.fullmatch(r"[\w-]{11}", video_id, re.ASCII):
            raise ValueError(f"{path}, line {line}: {video_id!r} is not a YouTube id; expected {LAYOUT}")
        ids = tuple(label.strip() for label in labels.split(","))
        if not known.issuperset(ids):
            unknown = next(label for label in ids if label not in known)
            raise ValueError(f"{path}, line {line}: {unknown!r} is not an id of the ontology; expected {LAYOUT}")
        start, end = (segments.seconds(time, path, line, LAYOUT) for time in (start, end))
        if end <= start:
            raise ValueError(f"{path}, line {line}: it ends at {end} s and starts at {start} s; expected {LAYOUT}")
        clip_id, where = f"{video_id}_{round(1000 * start)}", f"{path.name}, line {line}"
        yield segments.Segment(clip_id, video_id, ids, start, end - start, where=where)
