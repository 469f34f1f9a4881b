"""A minimal builder of video files.

Its annotations are `clips.txt` in the folder of clips, one line per clip: split, id, label.
"""

import pathlib

import tensorflow_datasets as tfds

from data_builders.clips import annotation_sources, clips_builder, clips_config, segments
from tests.helpers.media_file import plain

LAYOUT = "split id label"


class SmallClips(clips_builder.ClipsBuilder):
    """Clips with one label each."""

    VERSION = tfds.core.Version("1.0.0")
    builder_config_cls = clips_config.ClipsConfig
    BUILDER_CONFIGS = [clips_config.ClipsConfig(name="plain", description="For tests.", frames_per_second=5)]

    def annotations(self, dl_manager):
        """Read `clips.txt`."""
        path = annotation_sources.annotation_file(dl_manager, "clips.txt")
        splits = {"train": [], "test": []}
        for line, (split, clip, label) in segments.rows(path, 3, LAYOUT, delimiter=" "):
            splits[split].append(segments.Segment(clip, clip, (label,), where=f"clips.txt, line {line}"))
        return clips_builder.Annotations(splits, {"low": "Low tone", "high": "High tone"})


def write_folder(folder: pathlib.Path, train: int, test: int) -> pathlib.Path:
    """Write a folder of clips and their annotations; return it."""
    folder.mkdir()
    names = [("train", f"a{number:02d}") for number in range(train)] + [("test", f"b{n:02d}") for n in range(test)]
    for _, name in names:
        plain(folder / f"{name}.mp4")
    (folder / "clips.txt").write_text("\n".join(f"{split} {name} low" for split, name in names))
    return folder
