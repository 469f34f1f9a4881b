"""own_clips: every video below a folder of yours; no annotation files (TFDS builder)."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Iterator

import tensorflow_datasets as tfds
import tqdm

from avlearn.media import decode
from data_builders.parts import clip_files, clips_builder, segments, sources
from data_builders.parts.clips_builder import ClipsConfig

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
    BUILDER_CONFIGS = clips_builder.variants(
        Config(name="clips", description="Every video below a folder, long ones in pieces of ten seconds")
    )

    def annotations(self, dl_manager: tfds.download.DownloadManager) -> clips_builder.Annotations:
        """A class for each folder with videos; the splits by a hash of the files' places below `--manual_dir`."""
        manual_dir, config = sources.manual_dir(dl_manager), self.builder_config
        if not config.segment_seconds >= config.min_seconds:
            raise ValueError(
                f"segment_seconds={config.segment_seconds} is less than min_seconds={config.min_seconds}: no piece "
                "would be built"
            )
        files, refused = one_of_a_name(pathlib.Path(file.path) for file in clip_files.walk(manual_dir, self.SUFFIXES))
        if len(files) < LEAST_VIDEOS:
            raise ValueError(
                f"{len(files)} videos ({' '.join(self.SUFFIXES)}) below --manual_dir={manual_dir}; want {LEAST_VIDEOS} "
                "or more, one for each of train, validation and test"
            )
        names = {label_of(path, manual_dir) for path in files}
        splits = {
            split: pieces_of(videos, manual_dir, config.segment_seconds)
            for split, videos in divide(files, manual_dir).items()
        }
        class_names = {name: name for name in sorted(names)}
        return clips_builder.Annotations(splits, class_names, refused={"files of a name that another has": refused})


def one_of_a_name(files: Iterable[pathlib.Path]) -> tuple[list[pathlib.Path], list[str]]:
    """The first file of each name in a folder, and the others: `a.mp4` and `a.webm` are one clip."""
    first, others = {}, []
    for path in files:
        if path.with_suffix("") in first:
            others.append(str(path))
        first.setdefault(path.with_suffix(""), path)
    return list(first.values()), others


def label_of(path: pathlib.Path, manual_dir: pathlib.Path) -> str:
    """The folder that a file lies in, below `--manual_dir`; `clip` where it lies in that itself."""
    folder = path.parent.relative_to(manual_dir).as_posix()
    return "clip" if folder == "." else folder


def divide(files: list[pathlib.Path], manual_dir: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """A tenth of the videos, and one at least, for each of test and validation, and the rest to train."""

    def place(path: pathlib.Path) -> bytes:
        return hashlib.sha256(path.relative_to(manual_dir).as_posix().encode()).digest()

    ordered = sorted(files, key=place)
    count = max(1, round(SHARE_OF_TEST * len(ordered)))
    return {"train": ordered[2 * count :], "validation": ordered[count : 2 * count], "test": ordered[:count]}


def pieces_of(
    videos: list[pathlib.Path], manual_dir: pathlib.Path, segment_seconds: float
) -> Iterator[segments.Segment]:
    """Segments of each video, or the video as one where it is short, or cannot be opened (the build says why)."""
    for path in tqdm.tqdm(videos, desc="reading lengths", unit="video", delay=2):
        folder = path.parent.relative_to(manual_dir).as_posix()
        place = path.relative_to(manual_dir).with_suffix("").as_posix()
        common = {"video_id": path.stem, "labels": (label_of(path, manual_dir),), "folder": folder}
        try:
            length = decode.declared_seconds(path)
        except decode.UnreadableClip:
            length = None
        if length is None or length < 2 * segment_seconds:
            yield segments.Segment(clip_id=place, **common)
            continue
        for start in range(int(length // segment_seconds)):
            begin = start * segment_seconds
            yield segments.Segment(
                clip_id=f"{place}:{begin:g}",
                start_seconds=begin,
                duration_seconds=segment_seconds,
                of_whole_video=True,
                **common,
            )
