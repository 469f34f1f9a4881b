"""Finds a built dataset on disk: its latest version, its metadata, and the shards of a split."""

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence

import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.utils.version import list_all_versions

from avlearn.data import schema
from avlearn.data.index import Shard
from avlearn.data.tfrecord_file import FRAMING_BYTES

LABELS_FILE = "labels.labels.txt"  # TFDS keeps the ids of the classes there


@dataclasses.dataclass(frozen=True)
class BuiltDataset:
    """The latest version of a built dataset.

    Attributes:
      name: "builder/config".
      version: version on disk.
      info: what TFDS stores about it.
      rebuild_hint: how to build it again, for error messages.
    """

    name: str
    version: str
    info: tfds.core.DatasetInfo
    rebuild_hint: str

    @property
    def metadata(self) -> Mapping:
        """Metadata of the dataset, see `schema.metadata`."""
        return self.info.metadata

    @property
    def class_ids(self) -> tuple[str, ...]:
        """Ids of the classes, in label order."""
        return tuple(self.info.features["labels"].feature.names)


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive records of a shard that belong to a split.

    Attributes:
      file: path of the shard.
      records: number of records in the shard.
      first: number of the first of them that belongs to the split.
      count: number of those that do.
    """

    file: str
    records: int
    first: int
    count: int


def open_dataset(dataset: str, data_dir: str | os.PathLike) -> BuiltDataset:
    """Find the latest version of a dataset and read its metadata.

    Raises:
      ValueError: it is not built, was written with another schema version, or its metadata are damaged.
    """
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only reads; the accelerator is for JAX
    data_dir = epath.Path(data_dir)
    versions = list_all_versions(data_dir / dataset)
    if not versions:
        raise ValueError(_not_built(dataset, data_dir))
    version = str(versions[-1])
    folder = data_dir / dataset / version
    moved = f"mv {shlex.quote(str(folder))} {shlex.quote(f'{folder}.old')}"  # most of its shards are intact
    rebuild_hint = f"Build it again: {moved} && {build_command(dataset, data_dir)}"
    info = _read_info(folder)
    written = info.metadata.get("schema_version") if info.metadata is not None else None
    if written != schema.SCHEMA_VERSION:
        raise ValueError(
            f"{dataset} {version} in {data_dir} was written with schema version {written}, but this code reads "
            f"{schema.SCHEMA_VERSION}. {rebuild_hint}"
        )
    found = BuiltDataset(dataset, version, info, rebuild_hint)
    _check_classes(found, folder / LABELS_FILE)
    return found


def parts_of_split(dataset: BuiltDataset, split: str) -> list[Part]:
    """Return the shards of a split, or of a sum or part of splits in TFDS's syntax: `a+b`, `all`, `train[:10%]`.

    Raises:
      ValueError: the dataset does not have the split, or the split is empty or names clips twice.
    """
    splits = dataset.info.splits
    if split in splits:
        lengths = splits[split].shard_lengths
        paths = map(os.fspath, splits[split].filepaths)
        parts = [Part(path, length, 0, length) for path, length in zip(paths, lengths, strict=True)]
    else:
        parts = _instructed(dataset, split)
    if not sum(part.count for part in parts):
        raise ValueError(
            f"the split {split!r} of {dataset.name} {dataset.version} is empty; it has {sizes(dataset)}. Its "
            "coverage.json, if it has one, says why clips were not built."
        )
    return parts


def check_size(dataset: BuiltDataset, split: str, shards: Sequence[Shard]) -> None:
    """Check that the shards of a whole split hold as many bytes as were written, if TFDS knows how many.

    Raises:
      ValueError: they do not: a shard is one of another split or dataset.
    """
    written = int(dataset.info.splits[split].num_bytes)  # 0 if unknown, as for parts of splits
    found = sum(shard.num_bytes - FRAMING_BYTES * len(shard.offset) for shard in shards)
    if written not in (0, found):
        raise ValueError(
            f"the shards of the split {split!r} of {dataset.name} {dataset.version} hold {found:,} bytes, but "
            f"{written:,} were written: a shard is of another split or dataset. {dataset.rebuild_hint}"
        )


def sizes(dataset: BuiltDataset) -> str:
    """Return the splits of a dataset with their numbers of clips, for error messages."""
    return ", ".join(f"{name} ({info.num_examples} clips)" for name, info in dataset.info.splits.items())


def build_command(dataset: str, data_dir: epath.Path) -> str:
    """Return the command that builds a dataset."""
    builder, _, config = dataset.partition("/")
    return (
        f"tfds build data_builders/{shlex.quote(builder)} {f'--config={shlex.quote(config)} ' if config else ''}"
        f"--data_dir={shlex.quote(str(data_dir))}"
    )


def _read_info(folder: epath.Path) -> tfds.core.DatasetInfo:
    try:
        info = tfds.builder_from_directory(folder).info
        _ = info.metadata  # read when it is first used
        return info
    except Exception as error:  # TFDS raises many kinds for files that are damaged
        raise ValueError(
            f"the metadata in {folder} cannot be read: {type(error).__name__}: {error}. Restore its .json files and "
            f"{LABELS_FILE} from a copy of the dataset."
        ) from error


def _instructed(dataset: BuiltDataset, split: str) -> list[Part]:
    """Return the shards that TFDS's syntax names, in its order."""
    try:
        instructions = dataset.info.splits[split].file_instructions
    except (AssertionError, KeyError, NotImplementedError, ValueError) as error:  # what TFDS's parser raises
        raise ValueError(
            f"{dataset.name} {dataset.version} has no split {split!r}; it has {sizes(dataset)}, and sums and parts of "
            f"them in TFDS's syntax: train+test, all, train[:10%] ({error})"
        ) from error
    parts = [Part(os.fspath(each.filename), each.examples_in_shard, each.skip, each.take) for each in instructions]
    twice, reached = 0, ("", 0)
    for file, first, end in sorted((part.file, part.first, part.first + part.count) for part in parts):
        seen = reached[1] if file == reached[0] else 0  # clips of the file before this one are in earlier parts
        twice += max(0, min(end, seen) - first)
        reached = (file, max(end, seen))
    if twice:
        raise ValueError(
            f"the split {split!r} of {dataset.name} {dataset.version} names {twice} of its "
            f"{sum(part.count for part in parts)} clips twice; name parts that do not overlap"
        )
    return parts


def _check_classes(dataset: BuiltDataset, file: epath.Path) -> None:
    """Check that the file with the ids of the classes is the one that was written with the records.

    `class_ids` of the metadata has their order. Without it the order is known if all ids are names, or if the ontology
    names them all.

    Raises:
      ValueError: names the file.
    """
    ids, names = dataset.class_ids, dataset.metadata["class_names"]
    written = [name.strip() for name in dataset.metadata.get("class_ids", ())]
    broken = [name for name in (*written, *names) if len(name.splitlines()) > 1]
    again = f"build the dataset again in another folder: {build_command(dataset.name, epath.Path('ANOTHER_FOLDER'))}"
    if broken:
        raise ValueError(
            f"{file.parent / 'metadata.json'} has a class name of several lines, {broken[0]!r}, so that {file.name} "
            f"cannot be read. Give the class a name of one line, and {again}"
        )
    restore = f"Restore it from a copy of the dataset, or {again}"
    if written and not file.exists():
        raise ValueError(f"{file} is missing. {restore}")
    if len(set(ids)) < len(ids):
        raise ValueError(f"{file} has the class {max(ids, key=ids.count)!r} twice. {restore}")
    if len(ids) != len(names):
        raise ValueError(f"{file} has {len(ids)} classes, but metadata.json beside it {len(names)}. {restore}")
    in_ontology = {node["id"]: node["name"] for node in dataset.metadata["ontology"]}
    found, expected = (ids, written) if written else ([in_ontology.get(each, each) for each in ids], names)
    if not written and sorted(found) != sorted(expected):
        return
    for line, (one, other) in enumerate(zip(found, expected, strict=False), start=1):
        if one != other:
            raise ValueError(
                f"{file} has the class {ids[line - 1]!r} in line {line}, but metadata.json beside it has {other!r} "
                f"there: a file of another order, or of another dataset. {restore}"
            )


def _not_built(dataset: str, data_dir: epath.Path) -> str:
    built = {os.path.relpath(path.parent.parent, data_dir) for path in data_dir.glob("*/*/*/dataset_info.json")}
    built |= {os.path.relpath(path.parent.parent, data_dir) for path in data_dir.glob("*/*/dataset_info.json")}
    return (
        f"The dataset {dataset} is not built in {data_dir} (there: {', '.join(sorted(built)) or 'none'}).\n"
        f"Build it:  {build_command(dataset, data_dir)}\n"
        "Or try the miniature on the synthetic dataset: --config=<file>:miniature, after\n"
        f"  {build_command('synthetic_av/miniature', data_dir)}"
    )
