"""The builder on generated media files, boxes of all kinds, and the list of LVS if available."""

import os
import pathlib
import shutil

import pytest

from data_builders.flickr_soundnet.flickr_soundnet_dataset_builder import (
    Builder,
    Config,
    list_train,
    read_boxes,
    read_ids,
    read_test,
)
from tests.helpers import build_dataset
from tests.helpers.media_file import plain
from tests.helpers.paths import SHARED

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
OFFICIAL = SHARED / "vggss" / "flickr_test.csv"


@pytest.fixture
def manual_dir(tmp_path):
    """Copy the dummy annotations and lists."""
    return shutil.copytree(DUMMY, tmp_path / "manual")


def test_training_clips_are_cut_and_test_clips_are_complete_with_boxes(manual_dir, tmp_path):
    videos = manual_dir / "videos"
    videos.mkdir()
    for name in ("70000000.mp4", "70000003.mp4", "90000001.mp4", "90000002.mkv", "90000004.mp4"):
        plain(videos / name, 3.0)
    config = Config(name="some", train_list="flickr_10k.txt", clip_seconds=2.4, frames_per_second=5)
    builder = build_dataset.build(Builder, config, manual_dir, tmp_path / "data")

    records = {split: build_dataset.records(builder, split) for split in builder.info.splits}
    assert {
        split: {clip: len(record["frames"]) for clip, record in made.items()} for split, made in records.items()
    } == {
        "train": {"70000000": 12},
        "validation": {"70000003": 12},
        "test": {"90000001": 15, "90000002": 15, "90000004": 15},
    }
    assert records["train"]["70000000"]["log_spectrogram"].shape == (479, 257)
    assert records["train"]["70000000"]["labels"].tolist() == [0]
    assert builder.info.features["labels"].feature.names == ["sound"]

    boxes = records["test"]["90000001"]["boxes"]
    # (64, 0, 192, 128) and (32, 16, 160, 256) of 256, as (ymin, xmin, ymax, xmax).
    assert boxes["bbox"].tolist() == [[0, 0.25, 0.5, 0.75], [0.0625, 0.125, 1, 0.625]]
    assert boxes["annotator"].tolist() == [0, 1]
    assert boxes["time_ms"].tolist() == [
        1400,
        1400,
    ]  # of the two stored frames nearest to the middle, the earlier
    assert records["test"]["90000004"]["boxes"]["bbox"].shape == (0, 4)

    coverage = build_dataset.coverage(builder)
    assert build_dataset.counts(builder) == {"train": (2, 1), "validation": (1, 1), "test": (3, 3)}
    assert coverage["splits"]["train"]["not_built"]["missing"]["clip_ids"] == ["70000001"]
    assert {kind: entry["items"] for kind, entry in coverage["refused_annotations"].items()} == {
        "lines of the list that repeat a test clip": ["90000001"],
        "test clips that the list leaves out": ["90000003"],
        "test clips without an annotation file": ["90000005"],
        "degenerate boxes": [
            "90000001.xml: annotator 1: [100.0, 100.0, 100.0, 200.0]",
            "90000004.xml: annotator 0: [200.0, 0.0, 300.0, 64.0]",
        ],
        "clips without a usable box": ["90000004"],
        "training ids listed twice": ["flickr_10k.txt, line 4: 70000001"],
        "training ids of the test set": ["flickr_10k.txt, line 5: 90000001"],
    }


def test_full_uses_every_file_except_those_of_the_test_set(manual_dir, tmp_path):
    for name in ("a/70000000.mp4", "b/70000000.mp4", "b/70000003.webm", "b/90000001.mp4", "90000003.mp4", "list.txt"):
        (manual_dir / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (manual_dir / "videos" / name).touch()
    builder = Builder(config="full", data_dir=tmp_path)
    annotations = builder.annotations(build_dataset.download_manager(manual_dir))
    assert annotations.refused["files with the name of another"] == ["b/70000000.mp4: a/70000000.mp4 is used"]
    made = {
        split: [(clip.clip_id, clip.duration_seconds) for clip in clips] for split, clips in annotations.splits.items()
    }
    assert made == {
        "train": [("70000000", 20)],
        "validation": [("70000003", 20)],
        "test": [("90000001", None), ("90000002", None), ("90000004", None)],
    }


def test_without_lvs_list_every_annotation_file_is_a_test_clip(manual_dir):
    (manual_dir / "flickr_test.csv").unlink()
    (manual_dir / "Annotations" / "._90000001.xml").write_bytes(b"\0\5\x16\7")
    os.mkfifo(manual_dir / "Annotations" / "90000009.xml")
    test, held_out = read_test(manual_dir, refused := {"degenerate boxes": []})
    assert list(test) == ["90000001", "90000002", "90000003", "90000004"]
    assert held_out == set(test)
    assert refused["clips without a usable box"] == ["90000004"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a><b><bbox>", "no element found"),
        ("<a><b><bbox><o/><x>1</x><y>2</y><x>3</x></bbox></b></a>", "annotator 0 has a box"),
        ("<a><b><bbox><o/><x>1</x><y>2</y><x>3</x><y>4</y><y>5</y></bbox></b></a>", "annotator 0 has a box"),
        ("<a><b><bbox><o/><x>1</x><y>2</y><x>three</x><y>4</y></bbox></b></a>", "annotator 0 has a box"),
        ("<a><b><bbox><o/><x>1</x><y>2</y><x/><y>4</y></bbox></b></a>", "annotator 0 has a box"),
    ],
)
def test_broken_annotation_files_are_refused_by_name(tmp_path, text, message):
    path = tmp_path / "90000001.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"90000001.xml: {message}.*; expected root > annotator > bbox"):
        read_boxes(path, {})


@pytest.mark.parametrize(
    "corners", ["-1 0 9 9", "0 0 257 9", "9 0 9 9", "9 0 8 9", "0 9 9 3", "nan 0 9 9", "0 0 inf 9"]
)
def test_degenerate_boxes_are_listed(tmp_path, corners):
    path = tmp_path / "90000001.xml"
    values = "".join(f"<v>{value}</v>" for value in corners.split())
    path.write_text(f"<a><b><bbox><o/>{values}</bbox></b></a>")
    refused = {"degenerate boxes": []}
    assert read_boxes(path, refused) == ()
    assert len(refused["degenerate boxes"]) == 1


def test_missing_lists_and_folders_are_named(manual_dir, tmp_path):
    with pytest.raises(ValueError, match=r"the list of training videos flickr_144k.txt is not in --manual_dir"):
        list_train(manual_dir, "flickr_144k.txt", set(), {})
    (manual_dir / "flickr_144k.csv").write_text("70000000\nhello\n")
    with pytest.raises(ValueError, match=r"flickr_144k.csv, line 2: 'hello' is not an id of Flickr"):
        list_train(manual_dir, "flickr_144k.txt", set(), {})
    with pytest.raises(ValueError, match=r"needs the folder .*videos, which does not exist"):
        list_train(manual_dir, "", set(), {})
    shutil.rmtree(manual_dir / "Annotations")
    with pytest.raises(ValueError, match=r"missing: .*Annotations has no <id>.xml"):
        read_test(manual_dir, {})
    with pytest.raises(ValueError, match=r"clip_seconds=1: it must be 0 \(complete files\), or min_seconds=2.0"):
        build_dataset.build(Builder, Config(name="short", clip_seconds=1), manual_dir, tmp_path / "data")


def test_configs():
    lists = {config.name: (config.train_list, config.clip_seconds) for config in Builder.BUILDER_CONFIGS}
    assert lists["train_10k"] == lists["train_10k_5fps"] == ("flickr_10k.txt", 20)
    assert lists["train_144k"] == lists["train_144k_1fps"] == ("flickr_144k.txt", 20)
    assert lists["full"] == ("", 20)
    assert len(lists) == 9


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official annotation files are not available")
def test_lvs_list_has_249_ids():
    ids = [row[0] for _, row in read_ids(OFFICIAL, 2, "id,number")]
    assert len(ids) == len(set(ids)) == 249
    assert "3908875357" not in ids
