"""Builds esc50: five-second recordings of 50 classes of environmental sound (TFDS builder)."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_builders.clips import annotation_sources, clip_files, clips_builder, clips_config, segments

META_URL = "https://raw.githubusercontent.com/karolpiczak/ESC-50/master/meta/esc50.csv"
META_PATHS = ("esc50.csv", "meta/esc50.csv")  # the second is its path in the dataset's archive
LAYOUT = "filename,fold,target,category,esc10,src_file,take"
FOLDS = 5

# In the order of the file's column `target`.
CLASSES = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
    *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
)


@dataclasses.dataclass
class Config(clips_config.ClipsConfig):
    """Keeps every recording: partly or fully silent ones belong to the benchmark."""

    drop: Sequence[str] = ()


class Builder(clips_builder.ClipsBuilder):
    """Builds ESC-50 from the audio files in `--manual_dir`, a split for each of its five folds."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    SUFFIXES = clip_files.AUDIO_SUFFIXES
    SOUND_ONLY = True
    builder_config_cls = Config
    BUILDER_CONFIGS = [Config(name="all", description="The 2,000 recordings, in their five folds")]

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """Read the recordings of each fold, in 50 classes."""
        folder = annotation_sources.manual_dir(dl_manager)
        name = next((path for path in META_PATHS if (folder / path).is_file()), META_PATHS[0])
        splits = {f"fold{fold}": [] for fold in range(1, FOLDS + 1)}
        for fold, segment in read_meta(annotation_sources.annotation_file(dl_manager, name, META_URL)):
            splits[f"fold{fold}"].append(segment)
        return clips_builder.Annotations(splits, dict(zip(CLASSES, CLASSES, strict=True)))


def read_meta(path: pathlib.Path) -> list[tuple[int, segments.Segment]]:
    """Return the folds, from 1, and the recordings in ESC-50's `esc50.csv`.

    Raises:
      ValueError: a malformed row, or columns that contradict each other; names the file and the line.
    """
    found = []
    for line, row in segments.rows(path, 7, LAYOUT):
        if row[0] == "filename":
            continue
        filename, fold, target, category = row[:4]
        where = f"{path}, line {line}"
        name = re.fullmatch(r"((\d+)-(\d+)-([A-Z]+)-(\d+))\.wav", filename, re.ASCII)
        if not name:
            raise ValueError(f"{where}: {filename!r} is not a name like 1-100032-A-0.wav; expected {LAYOUT}")
        stem, fold_of_name, _, _, target_of_name = name.groups()
        if (fold, target) != (fold_of_name, target_of_name):
            raise ValueError(f"{where}: fold {fold!r} and target {target!r} are not those of the name {filename!r}")
        if not 1 <= int(fold) <= FOLDS:
            raise ValueError(f"{where}: fold {fold!r} is not 1 to {FOLDS}")
        if int(target) >= len(CLASSES) or CLASSES[int(target)] != category:
            right = CLASSES[int(target)] if int(target) < len(CLASSES) else f"none of 0 to {len(CLASSES) - 1}"
            raise ValueError(f"{where}: category {category!r} has target {target}, which is {right}")
        found.append((int(fold), segments.Segment(stem, stem, (category,), where=f"{path.name}, line {line}")))
    return found
