import json
import shutil
import tracemalloc
import types
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from avlearn.data import built_files
from avlearn.data.built_dataset import open_split
from tests.helpers import synthetic_records


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_split_has_the_metadata_of_the_dataset():
    split = open_split(synthetic_records.DATASET, synthetic_records.data_dir(), "train")
    assert len(split) == 26
    assert (split.version, split.name, split.front_end, split.frames_per_second) == ("1.0.0", "train", "l3", 5.0)
    assert split.class_ids == synthetic_records.CLASS_IDS
    assert split.class_names == synthetic_records.CLASS_NAMES
    assert [dict(node) for node in split.ontology] == list(synthetic_records.ONTOLOGY)


def test_records_read_in_any_order_are_those_of_the_files():
    split = open_split(synthetic_records.DATASET, synthetic_records.data_dir(), "train")
    in_sequence = list(tf.data.TFRecordDataset(list(split.files)).as_numpy_iterator())
    assert len(split.files) == 3
    shuffled = np.random.default_rng(0).permutation(len(split))
    found = list(tf.data.Dataset.from_tensor_slices(shuffled).map(split.reader()).as_numpy_iterator())
    assert found == [in_sequence[clip] for clip in shuffled]


def test_clips_of_a_video_share_its_fingerprint():
    split = open_split(synthetic_records.DATASET, synthetic_records.data_dir(), "train")
    records = tf.data.TFRecordDataset(list(split.files)).as_numpy_iterator()
    names = [tf.train.Example.FromString(r).features.feature["video_id"].bytes_list.value[0] for r in records]
    assert len(set(names)) == 21
    same_name = np.equal.outer(np.array(names), np.array(names))
    assert (np.equal.outer(split.videos, split.videos) == same_name).all()


def test_the_latest_version_is_opened(tmp_path):
    version = synthetic_records.copy(tmp_path)
    for number in ("1.10.0", "1.9.0"):
        shutil.copytree(version, version.parent / number)
        change_json(version.parent / number / "dataset_info.json", lambda info, n=number: info.update(version=n))
    assert open_split(synthetic_records.DATASET, tmp_path, "test").version == "1.10.0"


def test_a_dataset_that_is_not_built_is_an_error(tmp_path):
    synthetic_records.copy(tmp_path)
    with pytest.raises(ValueError, match="audioset/instruments is not built") as error:
        open_split("audioset/instruments", tmp_path, "train")
    assert "there: coded/small" in str(error.value)
    assert f"tfds build data_builders/audioset --config=instruments --data_dir={tmp_path}" in str(error.value)
    assert "--config=<file>:miniature" in str(error.value)
    assert f"tfds build data_builders/synthetic_av --config=miniature --data_dir={tmp_path}" in str(error.value)
    with pytest.raises(ValueError, match="there: none"):
        open_split("audioset/instruments", tmp_path / "nowhere", "train")


def test_another_schema_version_is_an_error(tmp_path):
    version = synthetic_records.copy(tmp_path)
    change_json(version / "metadata.json", lambda metadata: metadata.update(schema_version=0))
    with pytest.raises(ValueError, match=r"schema version 0, but this code reads 2\. .*tfds build data_builders/coded"):
        open_split(synthetic_records.DATASET, tmp_path, "train")
    (version / "metadata.json").unlink()
    with pytest.raises(ValueError, match="schema version None"):
        open_split(synthetic_records.DATASET, tmp_path, "train")


def test_an_unknown_split_is_an_error():
    with pytest.raises(ValueError, match=r"no split 'validation'; it has .*train"):
        open_split(synthetic_records.DATASET, synthetic_records.data_dir(), "validation")


def test_an_empty_split_is_an_error(tmp_path):
    version = synthetic_records.copy(tmp_path)
    change_json(version / "dataset_info.json", lambda info: info["splits"][0].update(shardLengths=["0", "0", "0"]))
    name = json.loads((version / "dataset_info.json").read_text())["splits"][0]["name"]
    with pytest.raises(ValueError, match=rf"split '{name}' .* is empty; it has .*test \(7 clips\)"):
        open_split(synthetic_records.DATASET, tmp_path, name)


def ids_of(name):
    split = open_split(synthetic_records.DATASET, synthetic_records.data_dir(), name)
    return split.clip_ids(np.arange(len(split)))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("train+test", [("train", slice(None)), ("test", slice(None))]),
        ("test + train", [("test", slice(None)), ("train", slice(None))]),
        ("all", [("train", slice(None)), ("test", slice(None))]),
        ("train[:10%]", [("train", slice(3))]),
        ("train[5:20]", [("train", slice(5, 20))]),
        ("train[-4:]", [("train", slice(22, None))]),
        ("train[12:]+test[:2]+train[:5]", [("train", slice(12, None)), ("test", slice(2)), ("train", slice(5))]),
    ],
)
@pytest.mark.parametrize("in_full", [False, True])
def test_sums_and_parts_of_splits(name, parts, in_full, tmp_path):
    version = synthetic_records.copy(tmp_path)
    if in_full:
        for table in version.glob("*.contents"):
            table.unlink()
    split = open_split(synthetic_records.DATASET, tmp_path, name)
    assert (split.entry_offset is None) == in_full
    expected = [clip for whole, part in parts for clip in ids_of(whole)[part]]
    assert len(split) == len(expected)
    assert split.clip_ids(np.arange(len(split))) == expected
    assert len(split.videos) == len(expected)
    train = open_split(synthetic_records.DATASET, tmp_path, "train")
    assert train.shared_with(split) == len(set(ids_of("train")) & set(expected))


def test_parts_of_a_large_split_take_no_memory_per_clip():
    instruction = types.SimpleNamespace(filename="a", examples_in_shard=100_000, skip=5, take=90_000)
    splits = {"train[:9%]": types.SimpleNamespace(file_instructions=[instruction])}
    dataset = built_files.BuiltDataset("a", "1.0.0", mock.Mock(tfds.core.DatasetInfo, splits=splits), "")
    tracemalloc.start()
    try:
        assert built_files._instructed(dataset, "train[:9%]")[0].count == 90_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train+validation", r"no split 'train\+validation'; it has train \(26 clips\), test \(7 clips\), and sums"),
        ("train[:", r"no split 'train\[:'; it has train"),
        ("all[:10%]", r"no split 'all\[:10%\]'"),
        ("train[:200%]", r"no split 'train\[:200%\]'"),
        ("train[4:4]", r"the split 'train\[4:4\]' of coded/small 1\.0\.0 is empty"),
        ("train+train[:10%]", r"'train\+train\[:10%\]' of coded/small 1\.0\.0 names 3 of its 29 clips twice"),
        ("train[:9]+train[8:12]+train[3:5]", r"names 3 of its 15 clips twice"),
    ],
)
def test_splits_that_cannot_be(name, message):
    with pytest.raises(ValueError, match=message):
        open_split(synthetic_records.DATASET, synthetic_records.data_dir(), name)


IDS = "/m/guitar\n/m/drum\n/m/bell\n"


@pytest.mark.parametrize("with_ids", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/m/guitar\n/m/drum\n", "has 2 classes, but metadata.json beside it 3"),
        ("/m/gui\ntar\n/m/drum\n/m/bell\n", "has 4 classes, but metadata.json beside it 3"),
        ("/m/guitar\n/m/bell\n/m/drum\n", "has the class '/m/bell' in line 2, but metadata.json beside it has "),
        ("/m/guitar\n/m/guitar\n/m/drum\n", ".*labels.labels.txt"),
    ],
)
def test_ids_of_classes_in_another_file_order_or_number_are_refused(text, message, with_ids, tmp_path):
    version = synthetic_records.copy(tmp_path)
    file = version / "labels.labels.txt"
    if with_ids:
        ids = list(synthetic_records.CLASS_IDS)
        change_json(version / "metadata.json", lambda metadata: metadata.update(class_ids=ids))
    assert file.read_text() == IDS
    open_split(synthetic_records.DATASET, tmp_path, "train")
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"{version}.*{message}") as error:
        open_split(synthetic_records.DATASET, tmp_path, "train")
    assert "from a copy of the dataset" in str(error.value)
    assert "rm -r" not in str(error.value)


def test_ids_of_classes_that_are_missing_or_of_another_dataset_are_refused(tmp_path):
    version = synthetic_records.copy(tmp_path)
    ids = list(synthetic_records.CLASS_IDS)
    change_json(version / "metadata.json", lambda metadata: metadata.update(class_ids=ids))
    (version / "labels.labels.txt").write_text("/m/guitar\n/m/bass\n/m/bell\n")
    with pytest.raises(
        ValueError, match=r"has the class '/m/bass' in line 2, but metadata.json beside it has '/m/drum'"
    ):
        open_split(synthetic_records.DATASET, tmp_path, "train")
    (version / "labels.labels.txt").unlink()
    with pytest.raises(ValueError, match=r"labels\.labels\.txt is missing\. Restore it"):
        open_split(synthetic_records.DATASET, tmp_path, "train")


def test_a_class_name_of_several_lines_is_refused(tmp_path):
    version = synthetic_records.copy(tmp_path)
    change_json(version / "metadata.json", lambda metadata: metadata["class_names"].__setitem__(1, "Dr\num"))
    with pytest.raises(ValueError, match=r"metadata\.json has a class name of several lines, 'Dr\\num'"):
        open_split(synthetic_records.DATASET, tmp_path, "train")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
def test_damaged_metadata_name_the_folder(name, tmp_path):
    version = synthetic_records.copy(tmp_path)
    (version / name).write_text((version / name).read_text()[:-40])
    with pytest.raises(ValueError, match=rf"the metadata in {version} cannot be read: .*Restore"):
        open_split(synthetic_records.DATASET, tmp_path, "train")


def test_a_shard_that_is_cut_short_is_an_error(tmp_path):
    version = synthetic_records.copy(tmp_path)
    shard = version / "coded-train.tfrecord-00001-of-00003"
    intact = shard.read_bytes()
    records = len(list(tf.data.TFRecordDataset(str(shard))))
    for size in (len(intact) - 1, len(intact) - 100_000, len(intact) - 400_000):
        shard.write_bytes(intact[:size])
        with pytest.raises(ValueError, match=rf"{shard} is damaged or cut short: {records} .*tfds build") as error:
            open_split(synthetic_records.DATASET, tmp_path, "train")
        assert f"hold {records - 1 - (size == len(intact) - 400_000)} complete ones" in str(error.value)
    shard.write_bytes(intact + intact)
    with pytest.raises(ValueError, match=f"hold {2 * records} complete ones"):
        open_split(synthetic_records.DATASET, tmp_path, "train")
    shard.unlink()
    with pytest.raises(ValueError, match=rf"{shard} is missing.*tfds build"):
        open_split(synthetic_records.DATASET, tmp_path, "train")
