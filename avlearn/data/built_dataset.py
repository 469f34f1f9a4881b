"""Opens the splits of a built dataset and reads their records in any order.

Only the dataset's directory is needed, not the code that built it. A split is indexed by (file, offset), so a restarted
run begins at the right record without reading the ones before it.
"""

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import Int32, Int64

from avlearn.data import built_files, contents, graph, index, tfrecord_file
from avlearn.data.mapped_files import MappedFiles
from avlearn.data.records import FullRecords, PartialRecords, Records

CLIPS_PER_READ = 256  # if only small values are read


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """An open split: the location of each record, and the metadata of the dataset.

    Attributes:
      dataset: "builder/config".
      version: version of the data on disk.
      name: name of the split.
      class_ids, class_names: ids and display names of the classes, in label order.
      ontology: nodes with `id`, `name`, `child_ids`; empty if the dataset has no ontology.
      frames_per_second: rate of the stored frames, 1 / s.
      front_end: audio front end of the stored log-spectrograms, a name in `avlearn.media.log_spectrogram.FRONT_ENDS`.
      waveform_hz: sample rate of the stored waveforms; 0 if none are stored.
      features: names of the stored features, a subset of `avlearn.data.schema.features`.
      files: paths of the shards.
      file: index of each record's shard in `files`.
      offset: byte in the shard at which each record begins.
      entry_offset: byte in the shard's table of contents (`avlearn.data.contents`) at which each record's entry begins;
        None if records are read in full.
      full_records_reason: why records are read in full; empty if they are not.
      rebuild_hint: how to build the dataset again, for error messages.
    """

    dataset: str
    version: str
    name: str
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    ontology: tuple[Mapping, ...]
    frames_per_second: float
    front_end: str
    waveform_hz: int
    features: frozenset[str]
    files: tuple[str, ...]
    file: Int32[np.ndarray, " clips"]
    offset: Int64[np.ndarray, " clips"]
    entry_offset: Int64[np.ndarray, " clips"] | None
    full_records_reason: str
    rebuild_hint: str

    def __len__(self) -> int:
        return len(self.offset)

    def shared_with(self, other: "Split") -> int:
        """Return how many clips of another split are in this one too."""
        number = {file: number for number, file in enumerate(self.files)}
        numbers = np.array([number.get(file, -1) for file in other.files], np.int64)
        if (numbers < 0).all():
            return 0
        mine, others = (
            (file.astype(np.int64) << 40) + split.offset
            for file, split in ((self.file, self), (numbers[other.file], other))
        )
        return int(np.isin(others, mine).sum())

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return a TensorFlow function from the number of a clip to its serialized record.

        Call it under `readable_errors`, which turns its errors into ValueErrors.
        """
        return _reader(self.files, self.file, self.offset)

    def records(self, features: Mapping[str, object], large: Sequence[str] = ()) -> Records:
        """Return a reader of the named values of records; if the split has tables of contents, it reads nothing else.

        Args:
          features: features to parse, as for `tf.io.parse_example`, without those in `contents.LARGE`.
          large: names in `contents.LARGE` to read.
        """
        if self.entry_offset is None:
            return self.full_records(features, large)
        return PartialRecords(self._tables, self._shards, self.file, self.entry_offset, features, large)

    def full_records(self, features: Mapping[str, object], large: Sequence[str] = ()) -> FullRecords:
        """Return a reader like `records` that reads records in full and checks their checksums."""
        return FullRecords(self.reader(), features, large)

    @functools.cached_property
    def _shards(self) -> MappedFiles:
        return MappedFiles(self.files)

    @functools.cached_property
    def _tables(self) -> MappedFiles:
        return MappedFiles([file + contents.SUFFIX for file in self.files])

    @functools.cached_property
    def videos(self) -> Int32[np.ndarray, " clips"]:
        """Fingerprint of each clip's video; the first access reads the whole split."""
        return np.fromiter(self._read_videos(), np.int32, len(self))

    @functools.cached_property
    def has_one_video(self) -> bool:
        """Whether all clips are of one video; reads clips until two differ."""
        videos = self._read_videos()
        first = next(videos)
        return all(video == first for video in videos)

    def _read_videos(self) -> Generator[np.int32, None, None]:
        records = self.records({"video_id": tf.io.FixedLenFeature((), tf.string)})
        dataset = graph.group_clips(tf.data.Dataset.range(len(self)), records, CLIPS_PER_READ).map(
            graph.without_autograph(lambda clips: graph.fingerprint(records(clips)["video_id"])),
            num_parallel_calls=os.cpu_count(),
        )
        with self.readable_errors():
            yield from dataset.unbatch().as_numpy_iterator()

    def clip_ids(self, clips: Int64[np.ndarray, " clips"]) -> list[str]:
        """Return the ids of clips by their numbers."""
        records = self.records({"clip_id": tf.io.FixedLenFeature((), tf.string)})
        with self.readable_errors():
            return [records(tf.constant([clip], tf.int64))["clip_id"][0].numpy().decode() for clip in clips]

    def _damaged(self, what: str, why: str) -> ValueError:
        first = ""
        if self.entry_offset is not None:
            command = index.contents_command(self.files)
            first = f"First run `{command}`: it rewrites the tables of contents, or names a damaged shard. Then: "
        return ValueError(
            f"{what} of the split {self.name!r} of {self.dataset} {self.version} is damaged: {why} "
            f"{first}{self.rebuild_hint}"
        )

    @contextlib.contextmanager
    def readable_errors(self) -> Generator[None, None, None]:
        """Turn the errors that TensorFlow raises for records of this split into ValueErrors."""
        try:
            yield
        except ValueError as error:  # outside of a graph
            if str(error) != tfrecord_file.DAMAGED:
                raise
            raise self._damaged("a record", f"{tfrecord_file.DAMAGED}.") from error
        except tf.errors.DataLossError as error:
            raise self._damaged("a record", f"{tfrecord_file.DAMAGED}.") from error
        except tf.errors.InvalidArgumentError as error:
            if tfrecord_file.DAMAGED in error.message:
                raise self._damaged("a record", f"{tfrecord_file.DAMAGED}.") from error
            if "JPEG" in error.message:
                raise self._damaged("a frame", error.message.splitlines()[0]) from error
            reason = re.search("(?:ValueError|assertion failed): (.*)", error.message)
            raise ValueError(
                f"split {self.name!r} of {self.dataset} {self.version}: {reason[1] if reason else error.message}"
            ) from error


def _reader(files: Sequence[str], file: np.ndarray, offset: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    paths, numbers, offsets = tf.constant(files), tf.constant(file), tf.constant(offset)

    def read(clip: tf.Tensor) -> tf.Tensor:
        # Reading a record of 0.4 MB takes 0.16 ms of CPU by offset, 0.12 ms in sequence; Python threads were slower.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=paths[numbers[clip]][None],
            compression_type="",
            buffer_size=tf.zeros((), tf.int64),  # read each record in one go
            byte_offsets=offsets[clip][None],
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec((), tf.string))
        return records.take(1).get_single_element()

    return read


def open_split(dataset: str, data_dir: str | os.PathLike, split: str) -> Split:
    """Open a split of the latest version of a built dataset.

    Args:
      dataset: "builder/config", or "builder" if it has no configs.
      data_dir: the directory given to `tfds build --data_dir`; any path that TensorFlow can read.
      split: name of the split, or a sum or part of splits in TFDS's syntax: `train+validation`, `all`, `train[:10%]`.

    Raises:
      ValueError: the dataset is not built, has another schema version or no such split, or a file is damaged; the
        message names the command that fixes it.
    """
    opened = built_files.open_dataset(dataset, data_dir)
    metadata, hint = opened.metadata, opened.rebuild_hint
    parts = built_files.parts_of_split(opened, split)
    lengths = {part.file: part.records for part in parts}  # a file once, even if several parts are in it
    files = tuple(lengths)
    shards = index.scan_shards(files, list(lengths.values()), hint)
    built_files.check_size(opened, split, shards)
    full_records_reason = index.full_records_reason(files)
    tables = None if full_records_reason else index.scan_tables(shards)
    number = {file: number for number, file in enumerate(files)}
    return Split(
        dataset=dataset,
        version=opened.version,
        name=split,
        class_ids=opened.class_ids,
        class_names=tuple(metadata["class_names"]),
        ontology=tuple(metadata["ontology"]),
        frames_per_second=float(metadata["frames_per_second"]),
        front_end=metadata["front_end"],
        waveform_hz=int(metadata["waveform_hz"]),
        features=frozenset(opened.info.features),
        files=files,
        file=np.concatenate([np.full(part.count, number[part.file], np.int32) for part in parts]),
        offset=_offsets(parts, number, shards),
        entry_offset=None if tables is None else _offsets(parts, number, tables),
        full_records_reason=full_records_reason,
        rebuild_hint=hint,
    )


def _offsets(
    parts: Sequence[built_files.Part], number: Mapping[str, int], shards: Sequence[index.Shard]
) -> Int64[np.ndarray, " clips"]:
    """Return the byte at which each record, or its entry, begins."""
    return np.concatenate([shards[number[part.file]].offset[part.first : part.first + part.count] for part in parts])


def split_names(dataset: str, data_dir: str | os.PathLike) -> tuple[str, ...]:
    """Return the names of the splits of a built dataset, in the order in which they were written.

    Raises:
      ValueError: the dataset is not built, or has another schema version.
    """
    return tuple(built_files.open_dataset(dataset, data_dir).info.splits)
