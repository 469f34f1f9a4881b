"""Builds own_clips: every video below your folder, without annotation files (TFDS builder)."""

import dataclasses
import pathlib
from collections.abc import Collection, Iterator

import tensorflow_datasets as tfds
import tqdm

from avlearn.media import decode
from data_builders.clips import annotation_sources, clip_files, clips_builder, clips_config, segments
from data_builders.clips.clips_config import ClipsConfig
from data_builders.clips.listing import Listing

TEST_SHARE = 0.1  # the same for validation
MIN_VIDEOS = 3  # one for each split


@dataclasses.dataclass
class Config(ClipsConfig):
    """The settings for cutting videos into clips.

    Attributes:
      segment_seconds: videos of at least twice this length are cut into segments of it; shorter ones are one clip.
    """

    segment_seconds: float = 10.0


class Builder(clips_builder.ClipsBuilder):
    """Builds a folder of videos. The class of a clip is the folder that contains its file."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = clips_config.variants(
        Config(name="clips", description="Every video below a folder, long ones in segments of ten seconds")
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """List the videos: a class per folder, and splits by a hash of the paths below `--manual_dir`."""
        manual_dir, config = annotation_sources.manual_dir(dl_manager), self.builder_config
        if not config.segment_seconds >= config.min_seconds:
            raise ValueError(
                f"segment_seconds={config.segment_seconds} is less than min_seconds={config.min_seconds}: no segment "
                "would be built"
            )
        videos = list_videos(manual_dir, self.SUFFIXES)
        count = len(videos.names)
        if count < MIN_VIDEOS:
            raise ValueError(
                f"{count} videos ({' '.join(self.SUFFIXES)}) below --manual_dir={manual_dir}; at least {MIN_VIDEOS} "
                "are needed, one for each of train, validation and test"
            )
        splits = {
            split: make_segments(videos.relative_paths(part), manual_dir, config.segment_seconds)
            for split, part in split_slices(count).items()
        }
        class_names = {name: name for name in sorted({folder_label(pathlib.PurePath(name)) for name in videos.names})}
        refused = {"files of a name that another has": videos.duplicates} if videos.duplicates else {}
        return clips_builder.Annotations(splits, class_names, refused=refused)


def list_videos(manual_dir: pathlib.Path, suffixes: tuple[str, ...]) -> Listing:
    """List the first file of each name in a folder, and the duplicates: `a.mp4` and `a.webm` are one clip."""
    paths = (file.path for file in clip_files.walk(manual_dir, suffixes))
    return Listing(manual_dir, paths, lambda path: path.with_suffix("").as_posix())


def folder_label(path: pathlib.PurePath) -> str:
    """Return the folder of a file, below `--manual_dir`; `clip` if that is `--manual_dir` itself."""
    folder = path.parent.as_posix()
    return "clip" if folder == "." else folder


def split_slices(count: int) -> dict[str, slice]:
    """Divide a number of videos: a tenth, but at least one, each for test and validation, the rest for train."""
    held_out = max(1, round(TEST_SHARE * count))
    return {
        "train": slice(2 * held_out, count),
        "validation": slice(held_out, 2 * held_out),
        "test": slice(0, held_out),
    }


def make_segments(
    paths: Collection[str], manual_dir: pathlib.Path, segment_seconds: float
) -> Iterator[segments.Segment]:
    """Yield the segments of each video; a single one for a short video, or for one that cannot be opened.

    The build reports videos that cannot be opened.

    Args:
      paths: paths of the videos, below `manual_dir`.
      manual_dir: folder of the videos.
      segment_seconds: length of a segment.
    """
    for path in map(pathlib.PurePath, tqdm.tqdm(paths, desc="reading lengths", unit="video", delay=2)):
        name = path.with_suffix("").as_posix()
        common = {"video_id": path.stem, "labels": (folder_label(path),), "folder": path.parent.as_posix()}
        try:
            length, present = decode.length(manual_dir / path)
        except decode.UnreadableClip:
            length = present = 0.0
        if length < 2 * segment_seconds:
            yield segments.Segment(clip_id=name, **common)
            continue
        # One segment reports that the end of a file is missing, not each one that would be in it.
        for start in range(min(int(length // segment_seconds), int(present // segment_seconds) + 1)):
            begin = start * segment_seconds
            yield segments.Segment(
                clip_id=f"{name}:{begin:g}",
                start_seconds=begin,
                duration_seconds=segment_seconds,
                of_whole_video=True,
                **common,
            )
