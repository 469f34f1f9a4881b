"""Builds vgg_sound: ten-second clips of YouTube videos with visible sound sources (TFDS builder)."""

import dataclasses
import pathlib
from collections.abc import Mapping

import tensorflow_datasets as tfds

from data_builders.clips import clips_builder, clips_config, segments
from data_builders.clips.annotation_sources import annotation_file
from data_builders.clips.clips_config import ClipsConfig
from data_builders.clips.divide import is_validation
from data_builders.vgg_sound.annotation_files import CSV_URL, class_names, list_file, read_clips, read_names, with_lvs


@dataclasses.dataclass
class Config(ClipsConfig):
    """The training clips of VGG-Sound; the test set is always the same.

    Attributes:
      train_list: name of a file in `--manual_dir` that lists the training clips; empty: all of them.
    """

    train_list: str = ""


class Builder(clips_builder.ClipsBuilder):
    """Builds VGG-Sound, or the part of it that a paper trains on, from the clips in `--manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = clips_config.variants(
        *with_lvs(
            Config(name="full", description="All of VGG-Sound"),
            Config(
                name="train_144k",
                description="Training clips of the list of 144,000",
                train_list="vggss_144k.txt",
            ),
            Config(
                name="train_10k",
                description="Training clips of the list of 10,000",
                train_list="vggss_10k.txt",
            ),
            Config(
                name="heard_110",
                description="Training clips of the list of 110 heard classes",
                train_list="vggss_heard.txt",
            ),
        )
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read the clips of the csv; the classes are always those of the complete csv."""
        clips = read_clips(annotation_file(dl_manager, "vggsound.csv", CSV_URL))
        train, refused = list(clips["train"].values()), {}
        if self.builder_config.train_list:
            train, refused = select_listed(clips, list_file(dl_manager, self.builder_config.train_list))
        return clips_builder.Annotations(
            splits={
                "train": [clip for clip in train if not is_validation(clip.video_id)],
                "validation": [clip for clip in train if is_validation(clip.video_id)],
                "test": clips["test"].values(),
            },
            class_names=class_names(clips),
            refused=refused,
        )


def select_listed(
    clips: Mapping[str, Mapping[str, segments.Segment]], path: pathlib.Path
) -> tuple[list[segments.Segment], dict[str, list[str]]]:
    """Return the training clips that a list names.

    The lists in use name clips of the test set, and may name clips that are not in the csv: both are left out.

    Args:
      clips: clips in the csv: split to clip id to clip.
      path: path of the list.

    Returns:
      The clips, and the names that are left out: kind to a line for each.

    Raises:
      ValueError: a malformed line, a repeated name, or a list without any training clip.
    """
    names = read_names(path)
    kept = [clips["train"][name] for name in names if name in clips["train"]]
    if not kept:
        raise ValueError(f"{path}: none of its {len(names)} names is a training clip of vggsound.csv")
    of_test = [name for name in names if name in clips["test"]]
    unknown = [name for name in names if name not in clips["test"] and name not in clips["train"]]
    kinds = {"listed for training, but of the test set": of_test, "listed for training, but not in the csv": unknown}
    refused = {
        kind: [f"{path.name}, line {names[name]}: {name}" for name in left_out]
        for kind, left_out in kinds.items()
        if left_out
    }
    return kept, refused
