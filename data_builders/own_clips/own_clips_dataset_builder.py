"""own_clips: every video below a folder of yours; no annotation files (TFDS builder)."""

import dataclasses
import pathlib
from collections.abc import Collection, Iterator

import tensorflow_datasets as tfds
import tqdm

from avlearn.media import decode
from data_builders.clips import annotation_sources, clip_files, clips_builder, clips_config, segments
from data_builders.clips.clips_config import ClipsConfig
from data_builders.clips.listing import Listing

SHARE_OF_TEST = 0.1  # and of validation
LEAST_VIDEOS = 3  # one for each split


@dataclasses.dataclass
class Config(ClipsConfig):
    """How videos become clips.

    Attributes:
      segment_seconds: videos of at least twice this length are cut into pieces of it; the rest are clips as they are.
    """

    segment_seconds: float = 10.0


class Builder(clips_builder.ClipsBuilder):
    """Builds a folder of videos. The class of a clip is the folder that its file lies in."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = clips_config.variants(
        Config(name="clips", description="Every video below a folder, long ones in pieces of ten seconds")
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """A class for each folder with videos; the splits by a hash of the files' places below `--manual_dir`."""
        manual_dir, config = annotation_sources.manual_dir(dl_manager), self.builder_config
        if not config.segment_seconds >= config.min_seconds:
            raise ValueError(
                f"segment_seconds={config.segment_seconds} is less than min_seconds={config.min_seconds}: no piece "
                "would be built"
            )
        videos = list_videos(manual_dir, self.SUFFIXES)
        count = len(videos.names)
        if count < LEAST_VIDEOS:
            raise ValueError(
                f"{count} videos ({' '.join(self.SUFFIXES)}) below --manual_dir={manual_dir}; want {LEAST_VIDEOS} "
                "or more, one for each of train, validation and test"
            )
        splits = {
            split: pieces_of(videos.relative_paths(part), manual_dir, config.segment_seconds)
            for split, part in divide(count).items()
        }
        class_names = {name: name for name in sorted({label_of(pathlib.PurePath(name)) for name in videos.names})}
        refused = {"files of a name that another has": videos.duplicates} if videos.duplicates else {}
        return clips_builder.Annotations(splits, class_names, refused=refused)


def list_videos(manual_dir: pathlib.Path, suffixes: tuple[str, ...]) -> Listing:
    """The first file of each name in a folder, and the others: `a.mp4` and `a.webm` are one clip."""
    paths = (file.path for file in clip_files.walk(manual_dir, suffixes))
    return Listing(manual_dir, paths, lambda place: place.with_suffix("").as_posix())


def label_of(place: pathlib.PurePath) -> str:
    """The folder that a file lies in, below `--manual_dir`; `clip` where it lies in that itself."""
    folder = place.parent.as_posix()
    return "clip" if folder == "." else folder


def divide(count: int) -> dict[str, slice]:
    """A tenth of so many videos, and one at least, for each of test and validation, and the rest to train."""
    few = max(1, round(SHARE_OF_TEST * count))
    return {"train": slice(2 * few, count), "validation": slice(few, 2 * few), "test": slice(0, few)}


def pieces_of(places: Collection[str], manual_dir: pathlib.Path, segment_seconds: float) -> Iterator[segments.Segment]:
    """Segments of each video, or the video as one where it is short, or cannot be opened (the build says why).

    Args:
      places: of the videos, below `manual_dir`.
      manual_dir: the folder of all.
      segment_seconds: length of a piece.
    """
    for place in map(pathlib.PurePath, tqdm.tqdm(places, desc="reading lengths", unit="video", delay=2)):
        name = place.with_suffix("").as_posix()
        common = {"video_id": place.stem, "labels": (label_of(place),), "folder": place.parent.as_posix()}
        try:
            length = decode.declared_seconds(manual_dir / place)
        except decode.UnreadableClip:
            length = None
        if length is None or length < 2 * segment_seconds:
            yield segments.Segment(clip_id=name, **common)
            continue
        for start in range(int(length // segment_seconds)):
            begin = start * segment_seconds
            yield segments.Segment(
                clip_id=f"{name}:{begin:g}",
                start_seconds=begin,
                duration_seconds=segment_seconds,
                of_whole_video=True,
                **common,
            )
