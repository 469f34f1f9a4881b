"""Tables of contents locate the values in the shard, and reading by them gives the same as reading records in full."""

import dataclasses
import gc
import json
import pathlib
import re
import shutil
import types

import jax
import numpy as np
import psutil
import pytest
import tensorflow as tf

from avlearn import cli
from avlearn.data import built_dataset, contents, evaluation_pairs, index, mapped_files, pipeline, survey
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec
from tests.helpers import synthetic_records

SHARD = "coded-train.tfrecord-00001-of-00003"
INPUTS = InputSpec(frame_pixels=24, crop_fraction=24 / 32)
MOTION = dataclasses.replace(INPUTS, frames=5, flow_fields=4, waveform_samples=8000, waveform_hz=8000)


def examples(file: pathlib.Path) -> list:
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    return [tf.train.Example.FromString(record).features.feature for record in records]


def delete_tables(version: pathlib.Path) -> None:
    for table in version.glob(f"*{contents.SUFFIX}"):
        table.unlink()


@pytest.mark.parametrize("config", ["small", "motion"])
def test_a_table_locates_each_large_value_in_the_shard(config):
    shard = synthetic_records.data_dir(config) / "coded" / config / "1.0.0" / SHARD
    content = shard.read_bytes()
    records, entries = examples(shard), examples(shard.with_name(SHARD + contents.SUFFIX))
    assert len(records) == len(entries) > 5
    for record, entry in zip(records, entries, strict=True):
        large = [name for name in contents.LARGE if name in record]
        assert len(large) == {"small": 2, "motion": 4}[config]
        for name in large:
            locations = np.array(entry[name].int64_list.value).reshape(-1, 2)
            assert [content[at : at + size] for at, size in locations] == list(record[name].bytes_list.value)
            assert not entry[name].bytes_list.value
        small = set(record) - set(large)
        assert set(entry) == {*small, *large, contents.END, contents.CHECKSUM}
        assert all(entry[name] == record[name] for name in small)
    assert entries[-1][contents.END].int64_list.value[0] == len(content) - 4  # then its checksum


@pytest.mark.parametrize(("config", "inputs"), [("small", INPUTS), ("motion", MOTION)])
def test_reading_by_tables_gives_the_same_as_reading_in_full(config, inputs, tmp_path):
    shutil.copytree(synthetic_records.data_dir(config), tmp_path, dirs_exist_ok=True)
    delete_tables(tmp_path / "coded" / config / "1.0.0")
    made = []
    for folder in (synthetic_records.data_dir(config), tmp_path):
        train, test = (built_dataset.open_split(f"coded/{config}", folder, name) for name in ("train", "test"))
        assert (train.entry_offset is None) == (folder == tmp_path)
        settings = {"seed": 3, "num_workers": 2, "batch_per_worker": 8, "workers": (0, 1)}
        stream = pipeline.training_batches(train, inputs, Sampling(samples_per_clip=2), **settings)
        rows = evaluation_pairs.batches(test, inputs, Sampling(), pairing="avc", batch_size=14)
        made.append((next(stream), next(stream), *next(rows), train.videos, train.clip_ids(np.arange(4))))
    by_table, in_full = made
    for found, expected in zip(jax.tree.leaves(by_table), jax.tree.leaves(in_full), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_only_what_is_used_is_read(tmp_path):
    version = synthetic_records.copy(tmp_path)
    for shard in version.glob("coded-test.tfrecord-*-of-00003"):
        content = bytearray(shard.read_bytes())
        for entry in examples(shard.with_name(shard.name + contents.SUFFIX)):
            frames = np.array(entry["frames"].int64_list.value).reshape(-1, 2)
            for at, size in np.delete(
                frames, 8, axis=0
            ):  # evaluation takes the middle of 3 to 12, whose audio lies in the clip
                content[at : at + size] = bytes(size)
        shard.write_bytes(content)
    made = []
    for folder in (synthetic_records.data_dir(), tmp_path):
        split = built_dataset.open_split(synthetic_records.DATASET, folder, "test")
        made += evaluation_pairs.batches(split, INPUTS, Sampling(), pairing="all_positive", batch_size=7)
    np.testing.assert_array_equal(made[0][0].frames, made[1][0].frames)
    assert (synthetic_records.decode_frames(made[1][0].frames)[1] == 8).all()


def test_records_are_read_in_full_if_a_table_is_missing(tmp_path):
    version = synthetic_records.copy(tmp_path)
    assert built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train").full_records_reason == ""
    (version / (SHARD + contents.SUFFIX)).unlink()
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    assert split.entry_offset is None
    assert split.full_records_reason.endswith(f"`avlearn contents {version}` writes them")


def test_records_are_read_in_full_from_a_remote_disk(tmp_path, monkeypatch):
    synthetic_records.copy(tmp_path)
    mounts = [("/", "ext4"), (str(tmp_path), "fuse.gcsfuse"), (f"{tmp_path}/coded-not", "ext4")]
    mounts = [types.SimpleNamespace(mountpoint=folder, fstype=kind) for folder, kind in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    assert split.entry_offset is None
    assert "not on a local disk (fuse.gcsfuse)" in split.full_records_reason
    link = tmp_path.with_name(f"{tmp_path.name}-link")
    link.symlink_to(tmp_path)
    assert index.file_system(str(link / "x.tfrecord-00000-of-00001")) == "fuse.gcsfuse"
    assert index.file_system("gs://bucket/data/x.tfrecord-00000-of-00001") == ""
    monkeypatch.setattr(index, "MAX_MAPPED_SHARDS", 2)
    mounts[1].fstype = "xfs"
    assert "the split has 3 shards, more than the 2 that can be mapped" in index.full_records_reason(split.files)


def test_a_shard_may_be_empty(tmp_path):
    version = synthetic_records.copy(tmp_path)
    empty = version / "coded-train.tfrecord-00000-of-00003"
    empty.write_bytes(b"")
    contents.write(empty)
    info = json.loads((version / "dataset_info.json").read_text())
    train = next(split for split in info["splits"] if split["name"] == "train")
    train["shardLengths"][0] = "0"
    train["numBytes"] = "0"  # unknown
    (version / "dataset_info.json").write_text(json.dumps(info))
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    assert len(split) == len(split.entry_offset) == sum(map(int, train["shardLengths"]))
    clips = np.arange(len(split))
    original = built_dataset.open_split(synthetic_records.DATASET, synthetic_records.data_dir(), "train")
    assert split.clip_ids(clips) == original.clip_ids(clips + len(original) - len(split))
    batches = pipeline.training_batches(
        split, INPUTS, Sampling(), seed=0, num_workers=1, batch_per_worker=4, workers=[0]
    )
    assert next(batches).frames.shape == (1, 4, 24, 24, 3)


def test_a_table_of_another_shard_is_refused(tmp_path):
    version = synthetic_records.copy(tmp_path)
    table = version / (SHARD + contents.SUFFIX)
    intact = table.read_bytes()
    fix = rf"Write it again: avlearn contents {version}"
    table.write_bytes(intact[:-1])
    with pytest.raises(ValueError, match=rf"{table} is damaged or cut short.*{fix}"):
        built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    last = int(np.frombuffer(intact[:8], np.int64)[0]) + 16  # the second entry, then the next, to the last
    while last + 16 + (size := int(np.frombuffer(intact[last : last + 8], np.int64)[0])) < len(intact):
        last += 16 + size
    damaged = intact[: last + 12] + bytes(size) + intact[-4:]
    for wrong in (damaged, (version / SHARD).read_bytes()):
        table.write_bytes(wrong)
        with pytest.raises(ValueError, match=rf"{table} is not the table of contents of its shard.*{fix}"):
            built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    table.write_bytes(intact)
    entries = synthetic_records.read_records(table)
    synthetic_records.write_records(table, [without(entry, contents.CHECKSUM) for entry in entries])
    with pytest.raises(ValueError, match=rf"{table} is of an early version, .*{fix}"):
        built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")


def without(entry, name):
    example = tf.train.Example.FromString(entry)
    del example.features.feature[name]
    return example.SerializeToString()


@pytest.mark.parametrize(
    "change",
    [
        lambda records: [records[0].replace(b"video ", b"other "), *records[1:]],  # of the same size
        lambda records: [records[1], records[0], *records[2:]],
        lambda records: [*records[:-1], records[-1][:-1] + b"x"],
    ],
)
def test_a_shard_that_was_written_again_is_refused(change, tmp_path):
    """Its old table would give the old labels, or the pixels of another clip."""
    version = synthetic_records.copy(tmp_path)
    size = (version / SHARD).stat().st_size
    synthetic_records.write_records(version / SHARD, change(synthetic_records.read_records(version / SHARD)))
    assert (version / SHARD).stat().st_size == size
    message = (
        rf"{SHARD}.contents is not the table of contents of its shard: .*Write it again: avlearn contents {version}"
    )
    with pytest.raises(ValueError, match=message):
        built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    contents.write(version / SHARD)
    built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")


@pytest.mark.parametrize("with_tables", [True, False])
def test_a_shard_that_was_copied_over_another_is_refused(with_tables, tmp_path):
    version = synthetic_records.copy(tmp_path)
    first, last = (version / f"coded-train.tfrecord-0000{number}-of-00003" for number in (0, 2))
    if with_tables:
        shutil.copy(f"{first}{contents.SUFFIX}", f"{last}{contents.SUFFIX}")
    else:
        delete_tables(version)
    shutil.copy(first, last)
    with pytest.raises(ValueError, match=f"{last} has the same records as {first}: .*tfds build"):
        built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")


def test_shards_of_a_large_dataset_may_have_one_checksum_by_chance(tmp_path, monkeypatch):
    version = synthetic_records.copy(tmp_path)
    files = [str(version / f"coded-train.tfrecord-0000{number}-of-00003") for number in range(3)]
    lengths = [len(synthetic_records.read_records(version / file)) for file in files]
    monkeypatch.setattr(contents, "records_checksum", lambda checksums, before=0: 7)
    assert [shard.file for shard in index.scan_shards(files, lengths, "")] == files


def test_a_shard_of_another_dataset_is_refused_by_its_size(tmp_path):
    version = synthetic_records.copy(tmp_path)
    *others, last = synthetic_records.read_records(version / SHARD)
    longer = tf.train.Example.FromString(last)
    longer.features.feature["note"].bytes_list.value.append(b"more")
    synthetic_records.write_records(version / SHARD, [*others, longer.SerializeToString()])
    contents.write(version / SHARD)
    with pytest.raises(
        ValueError, match=r"train' of coded/small 1\.0\.0 hold 8,284,863 bytes, but 8,284,845 were written"
    ):
        built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")


def test_records_of_another_kind_have_no_table(tmp_path):
    synthetic_records.write_records(tmp_path / "x.tfrecord-00000-of-00001", [b"not an example"])
    with pytest.raises(SystemExit, match=r"a record is not one of avlearn\.data\.schema"):
        cli.main(["contents", str(tmp_path)])


def test_a_shifted_table_is_written_again_before_the_dataset_is_rebuilt(tmp_path):
    """All its locations are one byte off, so frames cannot be decoded although the shards are intact."""
    version = synthetic_records.copy(tmp_path)
    for table in version.glob(f"coded-test*{contents.SUFFIX}"):
        shifted = []
        for entry in synthetic_records.read_records(table):
            example = tf.train.Example.FromString(entry)
            spans = example.features.feature["frames"].int64_list.value
            spans[::2] = [at + 1 for at in spans[::2]]
            shifted.append(example.SerializeToString())
        synthetic_records.write_records(table, shifted)
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "test")
    first = rf"First run `avlearn contents {version}`: .*Then: Build it again"
    with pytest.raises(ValueError, match=rf"^a frame of the split 'test' .* is damaged: .*{first}"):
        list(evaluation_pairs.batches(split, INPUTS, Sampling(), pairing="all_positive", batch_size=4))


def test_commands_are_quoted_for_the_shell(tmp_path):
    data_dir = tmp_path / "my data"
    version = synthetic_records.copy(data_dir)
    (version / (SHARD + contents.SUFFIX)).write_bytes(b"")
    with pytest.raises(ValueError, match=f"avlearn contents '{version}'$"):
        built_dataset.open_split(synthetic_records.DATASET, data_dir, "train")
    (version / SHARD).unlink()
    moved = rf"mv '{version}' '{version}\.old' && tfds build .* --data_dir='{data_dir}'$"
    with pytest.raises(ValueError, match=moved):
        built_dataset.open_split(synthetic_records.DATASET, data_dir, "train")
    version.rename(f"{version}.old")
    with pytest.raises(ValueError, match="is not built in"):  # so that the second command builds it
        built_dataset.open_split(synthetic_records.DATASET, data_dir, "train")


def test_the_command_writes_tables(tmp_path):
    version = synthetic_records.copy(tmp_path)
    written = {table.name: table.read_bytes() for table in version.glob(f"*{contents.SUFFIX}")}
    assert len(written) == 6
    delete_tables(version)
    leftover = version / f"{SHARD}{contents.SUFFIX}.0123.partial"  # of a process that was killed
    leftover.write_bytes(b"x")
    cli.main(["contents", str(version)])
    leftover.unlink()
    assert {table.name: table.read_bytes() for table in version.glob(f"*{contents.SUFFIX}")} == written
    with pytest.raises(SystemExit, match=re.escape(f"{tmp_path} has no *.tfrecord-* files")):
        cli.main(["contents", str(tmp_path)])
    (version / SHARD).write_bytes((version / SHARD).read_bytes()[:-1])
    with pytest.raises(SystemExit, match=re.escape(f"{version / SHARD} is damaged or cut short")):
        cli.main(["contents", str(version)])
    assert not list(version.glob("*.partial"))


@pytest.mark.parametrize("kept", [1, 7, 8, 11, 12, 100])
def test_a_shard_that_is_cut_short_anywhere_is_damaged(kept, tmp_path):
    shard = synthetic_records.copy(tmp_path) / SHARD
    shard.write_bytes(shard.read_bytes() + shard.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"{shard} is damaged or cut short"):
        contents.write(shard)


@pytest.mark.parametrize("position", [3, 9, 12, 1000, -1])  # length, its checksum, record, and its checksum
def test_a_shard_with_a_wrong_bit_is_damaged(position, tmp_path):
    shard = synthetic_records.copy(tmp_path) / SHARD
    content = bytearray(shard.read_bytes())
    content[position] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{shard} is damaged or cut short"):
        contents.write(shard)


def test_a_mapped_file_is_not_open_and_is_unmapped_with_its_last_reference(tmp_path):
    paths = [tmp_path / f"{number}" for number in range(20)]
    for number, file in enumerate(paths):
        file.write_bytes(bytes([number, 7]))
    process = psutil.Process()
    before = process.num_fds()
    files = mapped_files.MappedFiles(paths)
    assert process.num_fds() < before + 10
    assert files.rows(np.array([[0, 0, 2], [19, 0, 2]]), 2).tolist() == [[0, 7], [19, 7]]
    assert files.strings(np.array([[[3, 0, 1], [4, 0, 2]]])).tolist() == [[b"\3", b"\4\7"]]
    maps = pathlib.Path("/proc/self/smaps")
    if maps.exists():  # on Linux
        flags = [each.split("VmFlags:")[1].split("\n")[0] for each in maps.read_text().split(str(tmp_path))[1:]]
        assert len(flags) == 20
        assert all("rr" in each.split() for each in flags)  # random access: a page is read without its neighbours
        del files
        gc.collect()
        assert str(tmp_path) not in maps.read_text()
    with pytest.raises(OSError, match=str(tmp_path)):
        mapped_files.MappedFiles([tmp_path])


@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="only Linux lists mapped files")
def test_a_split_that_was_read_is_unmapped_with_its_last_reference(tmp_path):
    synthetic_records.copy(tmp_path)
    for name in ("train", "test"):
        split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, name)
        settings = {"seed": 0, "num_workers": 1, "batch_per_worker": 4, "workers": [0]}
        stream = pipeline.training_batches(split, INPUTS, Sampling(), **settings)
        next(stream)
        assert len(split.videos) == len(split)
        assert str(tmp_path) in pathlib.Path("/proc/self/maps").read_text()
        del split, stream
        gc.collect()
        assert str(tmp_path) not in pathlib.Path("/proc/self/maps").read_text()


def test_a_number_beyond_the_pieces_of_a_clip_is_an_error(tmp_path):
    for split in (
        opened := built_dataset.open_split(synthetic_records.DATASET, synthetic_records.data_dir(), "test"),
        dataclasses.replace(opened, entry_offset=None),
    ):
        frames = split.records({}, ["frames"])(tf.constant([3], tf.int64))["frames"]
        frames.pick(tf.constant([[0, 14]], tf.int64))
        for number in (-1, 15):
            with pytest.raises(tf.errors.InvalidArgumentError, match="do not all exist"):
                frames.pick(tf.constant([[0, number]], tf.int64))


def test_counting_checks_all_checksums_and_reading_by_tables_does_not(tmp_path):
    shard = synthetic_records.copy(tmp_path) / SHARD
    content = bytearray(shard.read_bytes())
    at, size = examples(shard.with_name(SHARD + contents.SUFFIX))[0]["log_spectrogram"].int64_list.value
    content[at + size - 1] ^= 1
    shard.write_bytes(content)
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    assert len(split.videos) == len(split)
    with pytest.raises(ValueError, match="its checksum is wrong"):
        survey.count_split(split, lambda clips: None)


def test_a_damaged_table_is_rewritten_before_the_dataset_is_rebuilt(tmp_path):
    version = synthetic_records.copy(tmp_path)
    table = version / (SHARD + contents.SUFFIX)
    table.write_bytes(table.read_bytes().replace(b"video", b"Video", 1))
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "train")
    first = rf"First run `avlearn contents {version}`"
    with pytest.raises(ValueError, match=rf"its checksum is wrong\. {first}.*Build it again: mv"):
        split.clip_ids(np.arange(len(split)))
