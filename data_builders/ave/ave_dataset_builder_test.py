"""The builder on generated media files, and the official annotations if available."""

import collections
import pathlib
import shutil

import pytest

from avlearn.ontology import Ontology
from data_builders.ave.ave_dataset_builder import CLASSES, LISTS, Builder, hashed_split, read_events
from data_builders.clips.clips_config import ClipsConfig
from tests.helpers import build_dataset
from tests.helpers.media_file import plain
from tests.helpers.paths import SHARED

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
OFFICIAL = SHARED


@pytest.fixture
def manual_dir(tmp_path):
    """Copy the dummy annotations and lists."""
    return shutil.copytree(DUMMY, tmp_path / "manual")


def annotations(manual_dir, data_dir):
    """Return the splits, as video id to labels, and the refused annotations."""
    made = Builder(config="all", data_dir=data_dir).annotations(build_dataset.download_manager(manual_dir))
    splits = {split: {clip.video_id: clip.labels for clip in clips} for split, clips in made.splits.items()}
    return splits, made.refused


def test_one_record_for_each_video_in_the_splits_of_the_lists(manual_dir, tmp_path, capsys):
    clips = manual_dir / "AVE"
    clips.mkdir()
    for name, seconds in (("1.mp4", 3.0), ("2.mkv", 11.0), ("4.mp4", 3.0), ("5.mp4", 3.0), ("6.mp4", 3.0)):
        plain(clips / f"ave_000000{name}", seconds)
    config = ClipsConfig(name="some", frames_per_second=5)
    builder = build_dataset.build(Builder, config, manual_dir, tmp_path / "data")

    records = {split: build_dataset.records(builder, split) for split in builder.info.splits}
    ids = builder.info.features["labels"].feature.names
    names = dict(zip(ids, builder.info.metadata["class_names"], strict=True))
    assert {
        split: {clip: [names[ids[label]] for label in record["labels"]] for clip, record in of_split.items()}
        for split, of_split in records.items()
    } == {
        "train": {"ave_0000002": ["Flute"]},
        "validation": {"ave_0000006": ["Banjo"]},
        "test": {
            "ave_0000001": ["Church bell"],
            # In all three lists; a category of two events is one label.
            "ave_0000004": ["Male speech, man speaking", "Female speech, woman speaking"],
        },
    }
    assert len(records["test"]["ave_0000001"]["frames"]) == 15
    assert len(records["train"]["ave_0000002"]["frames"]) == 50  # ten seconds of eleven

    coverage = build_dataset.coverage(builder)
    assert build_dataset.counts(builder) == {"train": (2, 1), "validation": (1, 1), "test": (2, 2)}
    assert coverage["splits"]["train"]["not_built"]["missing"]["clip_ids"] == ["ave_0000003"]
    assert coverage["refused_annotations"] == {
        "videos in two lists": {
            "count": 2,
            "items": [
                "ave_0000004: in testSet.txt and in valSet.txt, line 1; kept in test",
                "ave_0000004: in testSet.txt and in trainSet.txt, line 3; kept in test",
            ],
        },
        "videos in no list": {"count": 1, "items": ["ave_0000005"]},
    }
    assert "ave: splits by" in capsys.readouterr().out


def test_without_lists_a_hash_divides_the_videos(manual_dir, tmp_path, capsys):
    for name in LISTS.values():
        (manual_dir / name).unlink()
    splits, refused = annotations(manual_dir, tmp_path)
    # The first 8 bytes of SHA-256, big-endian, modulo 100, are 17, 70, 63, 78, 47, 18: computed with sha256sum and bc.
    assert {split: sorted(videos) for split, videos in splits.items()} == {
        "train": ["ave_0000002", "ave_0000003", "ave_0000004", "ave_0000005"],
        "validation": [],
        "test": ["ave_0000001", "ave_0000006"],
    }
    assert refused == {}
    assert hashed_split("70000003") == "validation"  # 2 of 100
    assert "a hash of the ids, as no list was found" in capsys.readouterr().out


def test_some_of_the_lists_are_not_enough(manual_dir, tmp_path):
    (manual_dir / "valSet.txt").unlink()
    with pytest.raises(ValueError, match=r"valSet.txt is not in .*manual, but others are"):
        annotations(manual_dir, tmp_path)


def test_a_list_with_an_unknown_video_is_refused(manual_dir, tmp_path):
    with open(manual_dir / "valSet.txt", "a") as file:
        file.write("Cat&ave_0000077&good&0&10\n")
    with pytest.raises(ValueError, match=r"valSet.txt, line 3: the video 'ave_0000077' is not in Annotations.txt"):
        annotations(manual_dir, tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Cat&ave_0000001&good&0", "line 2: 4 fields"),
        ("Cart&ave_0000001&good&0&10", "line 2: 'Cart' is not one of the categories"),
        ("Cat&&good&0&10", "line 2: the video id is missing"),
        ("Cat&ave_0000001&good&zero&10", "line 2: 'zero' is not a time in seconds"),
        ("Cat&ave_0000001&good&5&4", "line 2: 5.0 to 4.0 s is not within"),
        ("Cat&ave_0000001&good&0&11", "line 2: 0.0 to 11.0 s is not within"),
    ],
)
def test_broken_rows_are_refused_by_line(tmp_path, row, message):
    text = f"Flute&ave_0000009&good&0&10\n{row}\n"
    build_dataset.check_refused(read_events, tmp_path / "Annotations.txt", text, f", {message}")


def test_three_rates():
    assert len(CLASSES) == len(set(CLASSES.values())) == 28
    assert [(config.name, config.frames_per_second) for config in Builder.BUILDER_CONFIGS] == [
        ("all", 25),
        ("all_5fps", 5),
        ("all_1fps", 1),
    ]


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official annotation files are not available")
def test_official_file_has_the_datasets_counts(tmp_path):
    events = read_events(OFFICIAL / "ave" / "Annotations.txt")
    assert len(events) == 4143
    assert len({event.video_id for event in events}) == 4097
    assert collections.Counter(event.label for event in events)[CLASSES["Church bell"]] == 188
    assert {event.label for event in events} == set(CLASSES.values())
    ontology = Ontology.from_json(OFFICIAL / "audioset" / "ontology.json")
    assert {name: ontology.id_of(name) for name in CLASSES} == CLASSES

    splits, _ = annotations(OFFICIAL / "ave", tmp_path)
    sizes = {split: len(videos) for split, videos in splits.items()}
    assert sum(sizes.values()) == 4097
    assert sizes == pytest.approx({"train": 0.8 * 4097, "validation": 0.1 * 4097, "test": 0.1 * 4097}, rel=0.05)
    labels = collections.Counter(len(of_video) for videos in splits.values() for of_video in videos.values())
    assert labels == {1: 4052, 2: 44, 3: 1}
