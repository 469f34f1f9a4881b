"""Builds own_clips: every video below your folder, without annotation files (TFDS builder)."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import tensorflow_datasets as tfds
import tqdm

from avlearn.media import decode
from data_builders.clips import annotation_sources, clip_files, clips_builder, clips_config, segments
from data_builders.clips.clips_config import ClipsConfig
from data_builders.clips.listing import Listing

TEST_SHARE = 0.1  # the same for validation
ENOUGH = 0.8  # the splits are divided again if one has less than this share of the usable videos that it should have


@dataclasses.dataclass
class Config(ClipsConfig):
    """The settings for cutting videos into clips.

    Attributes:
      segment_seconds: videos of at least twice this length are cut into segments of it; shorter ones are one clip.
    """

    segment_seconds: float = 10.0


class Builder(clips_builder.ClipsBuilder):
    """Builds a folder of videos, or a single one. The class of a clip is the folder that contains its file."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {
        "2.0.0": "The id of a video is its path; copies of a video are left out; splits have usable videos.",
        "1.0.0": "Initial release.",
    }
    TAKES_A_FILE = True
    builder_config_cls = Config
    BUILDER_CONFIGS = clips_config.variants(
        Config(name="clips", description="Every video below a folder, long ones in segments of ten seconds")
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """List the videos: a class per folder, and splits by a hash of the paths below `--manual_dir`."""
        source, config = annotation_sources.manual_dir(dl_manager, or_file=True), self.builder_config
        if not config.segment_seconds >= config.min_seconds:
            raise ValueError(
                f"segment_seconds={config.segment_seconds} is less than min_seconds={config.min_seconds}: no segment "
                "would be built"
            )
        self._folder = source.parent if source.is_file() else source
        self._videos = list_videos(source, self.SUFFIXES)
        if not self._videos.names:
            skipped = []
            list(clip_files.walk(source, self.SUFFIXES, skipped.append))
            reasons = f"; not used: {', '.join(skipped[:3])}" if skipped else ""
            raise ValueError(f"no video ({' '.join(self.SUFFIXES)}) below --manual_dir={source}{reasons}")
        return self._divide()

    def divided_again(
        self, outcomes: Mapping[str, Iterable[tuple[segments.Segment, str | None, str]]]
    ) -> clips_builder.Annotations | None:
        """Divide the videos again if those that cannot be used took the places of others."""
        videos, lost = self._videos, {}
        before = split_slices(len(videos.names), 0)
        for split, rows in outcomes.items():
            lost[split] = -videos.unusable
            for segment, reason, _ in rows:
                videos.record(segment.video_id, built=reason is None)
            lost[split] += videos.unusable
        after = split_slices(len(videos.names), videos.unusable)
        if all(size(before[split]) - lost.get(split, 0) >= ENOUGH * size(after[split]) for split in before):
            return None
        return self._divide()

    def _divide(self) -> clips_builder.Annotations:
        videos, seconds = self._videos, self.builder_config.segment_seconds
        splits = {
            split: make_segments(videos, part, self._folder, seconds)
            for split, part in split_slices(len(videos.names), videos.unusable).items()
            if size(part)
        }
        class_names = {name: name for name in sorted({folder_label(pathlib.PurePath(name)) for name in videos.names})}
        refused = {
            "files with the name of another": videos.same_name,
            "files with the contents of another": videos.same_contents,
        }
        refused = {kind: lines for kind, lines in refused.items() if lines}
        return clips_builder.Annotations(splits, class_names, refused=refused)


def list_videos(source: pathlib.Path, suffixes: tuple[str, ...]) -> Listing:
    """List the videos below a folder, or a single one.

    `a.mp4` and `a.webm` in one folder are one clip, and so are files with the same contents.
    """
    paths = (file.path for file in clip_files.walk(source, suffixes))
    folder = source.parent if source.is_file() else source
    videos = Listing(folder, paths, lambda path: path.with_suffix("").as_posix())
    videos.drop_copies()
    return videos


def folder_label(path: pathlib.PurePath) -> str:
    """Return the folder of a file, below `--manual_dir`; `clip` if that is `--manual_dir` itself."""
    folder = path.parent.as_posix()
    return "clip" if folder == "." else folder


def split_slices(count: int, unusable: int) -> dict[str, slice]:
    """Divide a number of videos; the last ones cannot be used.

    A tenth of the usable ones, but at least one, are test, as many validation, and the rest train. If there are fewer
    than three, the first is test, and the second train.
    """
    usable = count - unusable
    test = min(usable, max(1, round(TEST_SHARE * usable)))
    held_out = 2 * test if usable > 2 else test
    return {"train": slice(held_out, count), "validation": slice(test, held_out), "test": slice(0, test)}


def size(part: slice) -> int:
    """Return the number of videos in a part."""
    return part.stop - part.start


def make_segments(
    videos: Listing, part: slice, folder: pathlib.Path, segment_seconds: float
) -> Iterator[segments.Segment]:
    """Yield the segments of each video; a single one for a short video, or for one that cannot be opened.

    The build reports videos that cannot be opened.

    Args:
      videos: the videos.
      part: numbers of those to use.
      folder: folder that their paths are below.
      segment_seconds: length of a segment.

    Raises:
      ValueError: a segment has the id of another file; the message names both files.
    """
    paths = videos.relative_paths(part)
    for path in map(pathlib.PurePath, tqdm.tqdm(paths, desc="reading lengths", unit="video", delay=2)):
        name = path.with_suffix("").as_posix()
        common = {"video_id": name, "labels": (folder_label(path),), "folder": path.parent.as_posix()}
        try:
            length, present = decode.length(folder / path)
        except decode.UnreadableClip:
            length = present = 0.0
        if length < 2 * segment_seconds:
            yield segments.Segment(clip_id=name, **common)
            continue
        # One segment reports that the end of a file is missing, not each one that would be in it.
        for start in range(min(int(length // segment_seconds), int(present // segment_seconds) + 1)):
            begin = start * segment_seconds
            clip_id = f"{name}:{begin:g}"
            if other := videos.path(clip_id):
                raise ValueError(
                    f"the segment of {folder / path} at {begin:g} s and the file {folder / other} would both have the "
                    f"id {clip_id!r}; rename one of the files"
                )
            yield segments.Segment(
                clip_id=clip_id,
                start_seconds=begin,
                duration_seconds=segment_seconds,
                of_whole_video=True,
                **common,
            )
