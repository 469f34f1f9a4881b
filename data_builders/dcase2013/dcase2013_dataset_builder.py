"""Builds dcase2013: half-minute recordings of ten acoustic scenes, of the DCASE 2013 challenge (TFDS builder)."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_builders.clips import annotation_sources, clip_files, clips_builder, clips_config, segments

# Scene in the file names to display name.
CLASSES = {
    "bus": "bus",
    "busystreet": "busy street",
    "office": "office",
    "openairmarket": "open-air market",
    "park": "park",
    "quietstreet": "quiet street",
    "restaurant": "restaurant",
    "supermarket": "supermarket",
    "tube": "tube",
    "tubestation": "tube station",
}
RECORDINGS_PER_CLASS = 10  # in each of the two sets


@dataclasses.dataclass
class Config(clips_config.ClipsConfig):
    """The folders of the two sets; no recording is dropped, since the sets are a benchmark.

    Attributes:
      train_folder: folder of the development set, below `--manual_dir`.
      test_folder: folder of the test set, which has the same file names.
    """

    drop: Sequence[str] = ()
    train_folder: str = "scenes_stereo"
    test_folder: str = "scenes_stereo_testset"


class Builder(clips_builder.ClipsBuilder):
    """Builds the scenes of DCASE 2013 from the two folders of recordings in `--manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    SUFFIXES = clip_files.AUDIO_SUFFIXES
    SOUND_ONLY = True
    builder_config_cls = Config
    BUILDER_CONFIGS = [Config(name="scenes", description="Ten scenes: ten recordings each to train, ten to test")]

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read the recordings of both sets, whose names state the scene."""
        manual_dir, config = annotation_sources.manual_dir(dl_manager), self.builder_config
        if config.train_folder == config.test_folder:
            raise ValueError(
                f"train_folder and test_folder are both {config.train_folder!r}: each set needs its own folder"
            )
        refused = collections.defaultdict(list)
        splits = {
            split: read_folder(manual_dir, folder, split, refused)
            for split, folder in (("train", config.train_folder), ("test", config.test_folder))
        }
        return clips_builder.Annotations(splits, CLASSES, refused=refused)


def read_folder(
    manual_dir: pathlib.Path, folder: str, split: str, refused: dict[str, list[str]]
) -> list[segments.Segment]:
    """Return the recordings of a set; their names are `<scene><two digits>`.

    The numbers have gaps (the ten of a scene are not 01 to 10), so missing recordings can be counted but not named.

    Args:
      manual_dir: folder of both sets.
      folder: folder of this set, below it.
      split: train or test.
      refused: files with other names, and scenes with too few or too many recordings, are added to it.

    Raises:
      ValueError: the folder does not exist, or has a name twice.
    """
    if not (manual_dir / folder).is_dir():
        raise ValueError(f"the folder of the {split} set, {manual_dir / folder}, does not exist; see README.md")
    found = {}
    for file in clip_files.walk(manual_dir / folder, clip_files.AUDIO_SUFFIXES):
        stem, path = file.stem, file.path
        name = re.fullmatch(r"([a-z]+)\d\d", stem, re.ASCII)
        if not name or name[1] not in CLASSES:
            refused["files of no scene"].append(path)
        elif stem in found:
            raise ValueError(
                f"the {split} set has two recordings {stem!r}: {found[stem].where} and {path}. Put the sets into "
                "separate folders"
            )
        else:
            found[stem] = segments.Segment(f"{split}_{stem}", stem, (name[1],), folder=folder, where=path)
    counts = collections.Counter(segment.labels[0] for segment in found.values())
    for scene in CLASSES:
        if counts[scene] != RECORDINGS_PER_CLASS:
            line = f"{split}: {counts[scene]} recordings of {scene}, the set has {RECORDINGS_PER_CLASS}"
            refused["scenes without ten recordings"].append(line)
    return list(found.values())
