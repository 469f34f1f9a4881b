"""Opens a built dataset and reads its records in any order.

Nothing but the dataset's directory is needed: not the code that built it. A split is opened as an index of (file,
offset), so a restart begins at once with the right record.
"""

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import Int32, Int64
from tensorflow_datasets.core.utils.version import list_all_versions

from avlearn.data import contents, index, schema, tfrecord_file
from avlearn.data.graph import fingerprint, grouped, in_graph
from avlearn.data.mapped_files import MappedFiles
from avlearn.data.records import Records, RecordsByContents, WholeRecords

CLIPS_AT_ONCE = 256  # for what is small of them


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """An open split: where each record lies, and what the dataset says of itself.

    Attributes:
      dataset: "builder/config"; version: of the data on disk; name: of the split.
      class_ids, class_names: in label order.
      ontology: nodes with `id`, `name`, `child_ids`; empty where the dataset has none.
      frames_per_second: of the stored frames.
      front_end: of the stored log-spectrograms, a name in `avlearn.media.log_spectrogram.FRONT_ENDS`.
      waveform_hz: sample rate of the stored waveforms; 0 where there are none.
      features: what a record holds, names of `avlearn.data.schema.features`.
      files: the shards.
      file, offset: of each record: number of its shard, and where it begins there.
      entry_offset: of each record: where its example begins in the shard's table of contents (`avlearn.data.contents`);
        None where whole records are read.
      whole_because: why they are; empty where they are not.
      mend: the command that builds it anew.
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
    whole_because: str
    mend: str

    def __len__(self) -> int:
        return len(self.offset)

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A function of TensorFlow's graph: number of a clip to its serialized record.

        What goes wrong when it runs becomes a ValueError under `explained`.
        """
        return _reader(self.files, self.file, self.offset)

    def records(self, features: Mapping[str, object], large: Sequence[str] = ()) -> Records:
        """Reads what is wanted of records by their clips' numbers, and no more than that where tables of contents are.

        Args:
          features: to parse, as `tf.io.parse_example` has it, none of `contents.LARGE`.
          large: names of those of `contents.LARGE` that are wanted.
        """
        if self.entry_offset is None:
            return self.whole_records(features, large)
        return RecordsByContents(self._tables, self._shards, self.file, self.entry_offset, features, large)

    def whole_records(self, features: Mapping[str, object], large: Sequence[str] = ()) -> WholeRecords:
        """As `records`, of records that are read whole and compared with their checksums."""
        return WholeRecords(self.reader(), features, large)

    @functools.cached_property
    def _shards(self) -> MappedFiles:
        return MappedFiles(self.files)

    @functools.cached_property
    def _tables(self) -> MappedFiles:
        return MappedFiles([file + contents.SUFFIX for file in self.files])

    @functools.cached_property
    def videos(self) -> Int32[np.ndarray, " clips"]:
        """Fingerprint of each clip's video (goes through the whole split once)."""
        records = self.records({"video_id": tf.io.FixedLenFeature((), tf.string)})
        dataset = grouped(tf.data.Dataset.range(len(self)), records, CLIPS_AT_ONCE).map(
            in_graph(lambda clips: fingerprint(records(clips)["video_id"])), num_parallel_calls=os.cpu_count()
        )
        with self.explained():
            return np.fromiter(dataset.unbatch().as_numpy_iterator(), np.int32, len(self))

    def clip_ids(self, clips: Int64[np.ndarray, " clips"]) -> list[str]:
        """Names of some clips by their numbers."""
        records = self.records({"clip_id": tf.io.FixedLenFeature((), tf.string)})
        with self.explained():
            return [records(tf.constant([clip], tf.int64))["clip_id"][0].numpy().decode() for clip in clips]

    def _damaged(self) -> ValueError:
        first = ""
        if self.entry_offset is not None:
            command = index.contents_command(self.files)
            first = f"First `{command}`, which writes the tables of contents anew, or names a damaged shard. Then: "
        return ValueError(
            f"a record of the split {self.name!r} of {self.dataset} {self.version} is damaged: "
            f"{tfrecord_file.DAMAGED}. {first}{self.mend}"
        )

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Within it, what TensorFlow finds wrong with a record of this split becomes a ValueError."""
        try:
            yield
        except ValueError as error:  # outside of a graph
            if str(error) != tfrecord_file.DAMAGED:
                raise
            raise self._damaged() from error
        except tf.errors.DataLossError as error:
            raise self._damaged() from error
        except tf.errors.InvalidArgumentError as error:
            if tfrecord_file.DAMAGED in error.message:
                raise self._damaged() from error
            if "JPEG" in error.message:
                raise ValueError(
                    f"a picture of the split {self.name!r} of {self.dataset} {self.version} is damaged: "
                    f"{error.message.splitlines()[0]} {self.mend}"
                ) from error
            reason = re.search("(?:ValueError|assertion failed): (.*)", error.message)
            raise ValueError(
                f"split {self.name!r} of {self.dataset} {self.version}: {reason[1] if reason else error.message}"
            ) from error


def _reader(files: Sequence[str], file: np.ndarray, offset: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    files, file, offset = tf.constant(files), tf.constant(file), tf.constant(offset)

    def read(clip: tf.Tensor) -> tf.Tensor:
        # One record by its offset costs 0.16 ms of CPU for 0.4 MB, read in a row 0.12; Python threads were slower.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=files[file[clip]][None],
            compression_type="",
            buffer_size=tf.zeros((), tf.int64),  # one record is one read
            byte_offsets=offset[clip][None],
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec((), tf.string))
        return records.take(1).get_single_element()

    return read


def open_split(dataset: str, data_dir: str | os.PathLike, split: str) -> Split:
    """Opens a split of the latest version of a built dataset.

    Args:
      dataset: "builder/config" (or "builder" where it has no configs).
      data_dir: what `tfds build --data_dir` was given; any path that TensorFlow can read.
      split: its name.

    Raises:
      ValueError: the dataset is not built, is of another schema, has no such split, or a file of it is damaged; says
        what is there and which command mends it.
    """
    info, version, mend = _open(dataset, data_dir)
    if split not in info.splits:
        raise ValueError(f"{dataset} {version} has no split {split!r}; it has {', '.join(info.splits)}.")
    if not info.splits[split].num_examples:
        raise ValueError(f"the split {split!r} of {dataset} {version} in {data_dir} is empty. {mend}")
    metadata = info.metadata
    files = tuple(os.fspath(path) for path in info.splits[split].filepaths)
    lengths = info.splits[split].shard_lengths
    offset = index.of_shards(files, lengths, mend)
    whole_because = index.why_whole(files)
    return Split(
        dataset=dataset,
        version=version,
        name=split,
        class_ids=tuple(info.features["labels"].feature.names),
        class_names=tuple(metadata["class_names"]),
        ontology=tuple(metadata["ontology"]),
        frames_per_second=float(metadata["frames_per_second"]),
        front_end=metadata["front_end"],
        waveform_hz=int(metadata["waveform_hz"]),
        features=frozenset(info.features),
        files=files,
        file=np.repeat(np.arange(len(files), dtype=np.int32), lengths),
        offset=offset,
        entry_offset=None if whole_because else index.of_contents(files, lengths),
        whole_because=whole_because,
        mend=mend,
    )


def split_names(dataset: str, data_dir: str | os.PathLike) -> tuple[str, ...]:
    """The splits of a built dataset, in the order in which they were written.

    Raises:
      ValueError: as `open_split`.
    """
    info, _, _ = _open(dataset, data_dir)
    return tuple(info.splits)


def _open(dataset: str, data_dir: str | os.PathLike) -> tuple[tfds.core.DatasetInfo, str, str]:
    """What the latest version of a dataset says of itself, that version, and the command that builds it anew."""
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only reads: the accelerator is JAX's
    data_dir = epath.Path(data_dir)
    versions = list_all_versions(data_dir / dataset)
    if not versions:
        raise ValueError(_not_built(dataset, data_dir))
    version = str(versions[-1])
    info = tfds.builder_from_directory(data_dir / dataset / version).info
    mend = f"Build it anew: rm -r {data_dir / dataset / version} && {_build_command(dataset, data_dir)}"
    metadata = info.metadata
    written = metadata.get("schema_version") if metadata is not None else None
    if written != schema.SCHEMA_VERSION:
        raise ValueError(
            f"{dataset} {version} in {data_dir} was written with schema version {written}, this is "
            f"{schema.SCHEMA_VERSION}. {mend}"
        )
    return info, version, mend


def _build_command(dataset: str, data_dir: epath.Path) -> str:
    builder, _, config = dataset.partition("/")
    return f"tfds build data_builders/{builder} {f'--config={config} ' if config else ''}--data_dir={data_dir}"


def _not_built(dataset: str, data_dir: epath.Path) -> str:
    built = {os.path.relpath(path.parent.parent, data_dir) for path in data_dir.glob("*/*/*/dataset_info.json")}
    built |= {os.path.relpath(path.parent.parent, data_dir) for path in data_dir.glob("*/*/dataset_info.json")}
    return (
        f"The dataset {dataset} is not built in {data_dir} (there: {', '.join(sorted(built)) or 'none'}).\n"
        f"Build it:  {_build_command(dataset, data_dir)}\n"
        "Or try the same system in miniature on the embedded world: --config=<file>:miniature, after\n"
        f"  {_build_command('synthetic_av/miniature', data_dir)}"
    )
