"""The builder on generated media files, and the lists in use if available."""

import pathlib
import shutil

import pytest

from data_builders.vgg_sound.annotation_files import class_names, read_clips, read_names
from data_builders.vgg_sound.vgg_sound_dataset_builder import Builder, select_listed
from tests.helpers import build_dataset
from tests.helpers.media_file import plain
from tests.helpers.paths import SHARED

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
OFFICIAL = SHARED / "vggss"
CLASSES = ["cat meowing", "dog barking", "playing violin, fiddle", "zebra braying"]


@pytest.fixture
def manual_dir(tmp_path):
    """Write the dummy annotations, and files for five of their eight clips."""
    folder = tmp_path / "manual"
    shutil.copytree(DUMMY, folder)
    clips = folder / "clips"
    clips.mkdir()
    for clip_id in (
        "00000000000_000030",
        "00000000001_000000",
        "00000000004_000110",  # is not in the list
        "00000000004_000125",
        "test1000001_000007",
    ):
        plain(clips / f"{clip_id}.mp4", 3.0)
    return folder


def test_a_list_of_training_clips_changes_neither_classes_nor_test_set(manual_dir, tmp_path):
    builder = build_dataset.build(Builder, "train_10k_lvs_5fps", manual_dir, tmp_path / "data")
    names = builder.info.features["labels"].feature.names
    assert names == CLASSES  # zebra braying is not in the list, cat meowing only in the test set
    records = {split: build_dataset.records(builder, split) for split in builder.info.splits}
    labels = {
        split: {clip: [names[label] for label in record["labels"]] for clip, record in of_split.items()}
        for split, of_split in records.items()
    }
    # Video 00000000000 is kept for validation by its hash; the second clip of 00000000004 is the one listed.
    assert labels == {
        "train": {"00000000001_000000": ["dog barking"], "00000000004_000125": ["playing violin, fiddle"]},
        "validation": {"00000000000_000030": ["playing violin, fiddle"]},
        "test": {"test1000001_000007": ["cat meowing"]},
    }
    record = records["train"]["00000000004_000125"]
    assert (record["video_id"], record["start_ms"], len(record["frames"])) == (b"00000000004", 125_000, 15)
    # Three seconds at 16 kHz: (48,000 - 512) // 238 + 1 columns.
    assert record["log_spectrogram"].shape == (200, 257)

    coverage = build_dataset.coverage(builder)
    assert build_dataset.counts(builder) == {"train": (2, 2), "validation": (1, 1), "test": (3, 1)}
    assert coverage["splits"]["test"]["not_built"]["missing"]["clip_ids"] == [
        "test1000002_000009",
        "test1000003_000000",
    ]
    assert coverage["refused_annotations"] == {
        "listed for training, but of the test set": {
            "count": 1,
            "items": ["vggss_10k.txt, line 4: test1000001_000007"],
        },
        "listed for training, but not in the csv": {"count": 1, "items": ["vggss_10k.txt, line 5: unknown0001_000002"]},
    }


def test_a_list_that_is_absent_is_named_with_its_layout(manual_dir, tmp_path):
    with pytest.raises(ValueError, match=r"vggss_heard.txt is not in --manual_dir=.*one clip name per line"):
        build_dataset.build(Builder, "heard_110", manual_dir, tmp_path / "data")


def test_configs_differ_in_list_and_front_end():
    configs = {config.name: config for config in Builder.BUILDER_CONFIGS}
    assert len(configs) == 24  # four lists, two front ends, three rates
    assert (configs["full"].front_end, configs["full"].train_list) == ("l3", "")
    heard = configs["heard_110_lvs_1fps"]
    assert (heard.front_end, heard.train_list, heard.frames_per_second) == ("lvs", "vggss_heard.txt", 1)


GOOD = '00000000001,30,"playing violin, fiddle",train'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("00000000002,30,playing violin, fiddle,train", "line 2: 5 fields"),
        ("#NAME?,30,dog barking,train", "line 2: '#NAME?', '30': expected a YouTube id and whole seconds"),
        ("00000000002,half,dog barking,train", "line 2: 'half' is not a time in seconds"),
        ("00000000002,1.5,dog barking,train", "line 2: '00000000002', '1.5': expected a YouTube id and whole seconds"),
        ("00000000002,30,dog barking,val", "line 2: the label 'dog barking' in the split 'val'"),
        ("00000000002,30,,train", "line 2: the label '' in the split 'train'"),
        ("00000000001,30,dog barking,test", "line 2: the clip 00000000001_000030 is also in line 1"),
    ],
)
def test_broken_rows_are_refused_by_line(tmp_path, row, message):
    build_dataset.check_refused(read_clips, tmp_path / "vggsound.csv", f"{GOOD}\n{row}\n", f", {message}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("00000000002", "line 2: '00000000002' is not a clip; expected one clip name per line"),
        ("00000000002_30", "line 2: '00000000002_30' is not a clip"),
        ("00000000002_000030.wav", "line 2: '00000000002_000030.wav' is not a clip"),
        ("00000000002_000030,dog barking", "line 2: 2 fields"),
        ("00000000001_000030.mp4", "line 2: the clip 00000000001_000030 is also in line 1"),
    ],
)
def test_broken_lists_are_refused_by_line(tmp_path, row, message):
    text = f"00000000001_000030\n{row}\n"
    build_dataset.check_refused(read_names, tmp_path / "list.txt", text, f", {message}")


def test_a_list_of_another_dataset_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("unknown0001_000030\nunknown0002_000030\n")
    with pytest.raises(ValueError, match=r"list.txt: none of its 2 names is a training clip of vggsound.csv"):
        select_listed(read_clips(DUMMY / "vggsound.csv"), path)


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the lists are not available")
def test_the_lists_in_use_are_read(tmp_path):
    heard = read_names(OFFICIAL / "vggss_heard.txt")
    assert len(heard) == 59_468
    # VGG-Sound's test clips, in the format of the csv.
    rows = [line.rsplit(".mp4,", 1) for line in (OFFICIAL / "vggsound_test.csv").read_text().splitlines()]
    path = tmp_path / "vggsound.csv"
    path.write_text("".join(f"{name[:11]},{int(name[12:])},{label},test\n" for name, label in rows))
    clips = read_clips(path)
    assert (len(clips["train"]), len(clips["test"])) == (0, 15_446)
    assert [name for name, _ in rows[:3]] == list(clips["test"])[:3]
    classes = list(class_names(clips))
    assert (len(classes), classes[0], classes[-1]) == (309, "air conditioning noise", "zebra braying")
    assert heard.keys().isdisjoint(clips["test"])
