"""The builder on generated media files, and the official boxes if available."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from data_builders.vgg_ss.vgg_ss_dataset_builder import (
    Builder,
    read_boxed_clips,
    select_listed,
    to_segments,
    usable_box,
)
from tests.helpers import build_dataset
from tests.helpers.media_file import plain
from tests.helpers.paths import SHARED

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
OFFICIAL = SHARED / "vggss"
CLASSES = ["cat meowing", "dog barking", "playing violin, fiddle", "zebra braying"]


@pytest.fixture
def manual_dir(tmp_path):
    """Write the dummy annotations, and files for their three clips, one of them as a complete video."""
    folder = tmp_path / "manual"
    shutil.copytree(DUMMY, folder)
    (folder / "clips").mkdir()
    plain(folder / "clips" / "test1000001.mp4", 17.0)
    plain(folder / "clips" / "test1000002_000009.mp4", 3.0)
    plain(folder / "clips" / "test1000003_000000.mp4", 3.0)  # is not in the list
    return folder


def test_boxes_are_on_the_middle_frame_and_degenerate_ones_are_listed(manual_dir, tmp_path):
    builder = build_dataset.build(Builder, "unheard_lvs_5fps", manual_dir, tmp_path / "data")
    assert list(builder.info.splits) == ["test"]
    assert builder.info.features["labels"].feature.names == CLASSES  # VGG-Sound's, the four of the csv
    records = build_dataset.records(builder, "test")
    assert {clip: record["labels"].tolist() for clip, record in records.items()} == {
        "test1000001_000007": [0],
        "test1000002_000009": [1],
    }
    # From 7 to 17 s of the video: ten seconds, whose middle is the frame at 5 s; the file has (xmin, ymin, xmax, ymax).
    record = records["test1000001_000007"]
    np.testing.assert_allclose(record["boxes"]["bbox"], [[0.2, 0.1, 1.0, 0.5], [0.0, 0.25, 0.5, 0.75]], atol=1e-6)
    assert record["boxes"]["time_ms"].tolist() == [5000, 5000]
    assert 5000 in record["frame_times_ms"]
    assert record["boxes"]["label"].tolist() == [0, 0]
    assert record["boxes"]["sounding"].all()
    # 160,000 samples: (160,000 - 512) // 238 + 1 columns.
    assert record["log_spectrogram"].shape == (671, 257)
    assert records["test1000002_000009"]["boxes"]["bbox"].shape == (0, 4)

    coverage = build_dataset.coverage(builder)
    assert build_dataset.counts(builder) == {"test": (2, 2)}
    assert coverage["refused_annotations"] == {
        "degenerate boxes": {
            "count": 1,
            "items": ["test1000002_000009, box 0: xmin, ymin, xmax, ymax = 0.1, 0.2, 0.1, 0.9"],
        },
        "clips without a usable box": {"count": 1, "items": ["test1000002_000009"]},
    }


def test_a_list_that_is_absent_is_named(manual_dir, tmp_path):
    with pytest.raises(ValueError, match=r"vggss_heard_test.csv is not in --manual_dir=.*one clip name per line"):
        build_dataset.build(Builder, "heard", manual_dir, tmp_path / "data")


@pytest.mark.parametrize(
    ("box", "usable"),
    [
        ([0.1, 0.2, 0.3, 0.9], (0.2, 0.1, 0.9, 0.3)),
        ([0, 0, 1, 1], (0, 0, 1, 1)),
        ([-1e-9, 0, 1 + 1e-9, 1], (0, 0, 1, 1)),  # rounding
        ([-0.01, 0, 0.5, 0.5], None),
        ([0.5, 0.5, 1.01, 1], None),
        ([0.5, 0.5, float("nan"), 1], None),
        ([0.5, 0.5, float("inf"), 1], None),
        ([0.5, 0.5, -2.88e16, 1], None),
        ([0.5, 0.2, 0.5, 0.9], None),
        ([0.5, 0.9, 0.8, 0.2], None),
        ([1 + 1e-9, 0, 1 + 2e-9, 1], None),  # no area after clipping to the image
    ],
)
def test_degenerate_boxes(box, usable):
    assert usable_box(box) == usable


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"class": "dog barking", "bbox": []}, "entry 2: {"),
        ({"file": "test1000002", "class": "dog barking", "bbox": []}, "entry 2: {"),
        ({"file": "test1000002_000001", "class": "dog barking", "bbox": [[0, 0, 1]]}, "entry 2: {"),
        ({"file": "test1000002_000001", "class": "dog barking", "bbox": [[0, 0, 1, "x"]]}, "entry 2: {"),
        ({"file": "test1000002_000001", "class": "dog barking", "bbox": 5}, "entry 2: {"),
        ({"file": "test1000002_000001", "class": "dogs", "bbox": []}, "entry 2: 'dogs' is not a class of vggsound.csv"),
        ({"file": "test1000001_000001", "class": "dog barking", "bbox": []}, "entry 2: the clip test1000001_000001 is"),
        (["test1000002_000001"], "entry 2: ["),
    ],
)
def test_broken_entries_are_refused(tmp_path, entry, message):
    def read(path):
        return read_boxed_clips(path, CLASSES)

    text = json.dumps([{"file": "test1000001_000001", "class": "dog barking", "bbox": [[0, 0, 1, 1]]}, entry])
    build_dataset.check_refused(read, tmp_path / "vggss.json", text, f", {message}")


@pytest.mark.parametrize("text", ["{", '{"file": 1}', "file,class\n"])
def test_a_file_that_is_not_a_list_is_refused(tmp_path, text):
    path = tmp_path / "vggss.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"vggss.json: .*expected a JSON list of"):
        read_boxed_clips(path, CLASSES)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("test1000009_000000", "line 2: test1000009_000000 is not a clip of "),
        ("test1000001_000007", "line 2: the clip test1000001_000007 is also in line 1"),
    ],
)
def test_lists_with_unknown_or_repeated_clips_are_refused_by_line(tmp_path, row, message):
    def read(path):
        return select_listed(read_boxed_clips(DUMMY / "vggss.json", CLASSES), path, DUMMY / "vggss.json")

    text = f"test1000001_000007\n{row}\n"
    build_dataset.check_refused(read, tmp_path / "vggss_heard_test.csv", text, f", {message}")


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official annotation files are not available")
def test_official_boxes_have_the_known_counts():
    path = OFFICIAL / "vggss.json"
    of_test = (OFFICIAL / "vggsound_test.csv").read_text().splitlines()
    classes = {line.split(",", 1)[1].strip('"') for line in of_test}
    clips = read_boxed_clips(path, classes)
    assert (len(clips), len({clip.label for clip in clips.values()})) == (5158, 221)
    assert sum(len(clip.boxes) for clip in clips.values()) == 5941
    assert {f"{clip_id}.mp4" for clip_id in clips} <= {line.split(",", 1)[0] for line in of_test}

    segments, refused = to_segments(clips)
    assert len(segments) == 5158
    assert sum(len(segment.boxes) for segment in segments) == 5941 - 18
    bad = json.loads((OFFICIAL / "vggss_bad_boxes.json").read_text())
    named = [line.split(":", 1)[0] for line in refused["degenerate boxes"]]
    assert sorted(named) == sorted(f"{box['file']}, box {box['box_index']}" for box in bad)
    assert len(named) == 18
    assert sorted(refused["clips without a usable box"]) == ["M1P1xla8rg0_000000", "MKC9LvRivTM_000030"]
    # The first entry of the file: "bbox": [[0.403125, 0.253125, 0.6, 0.75]].
    assert (segments[0].clip_id, segments[0].start_seconds) == ("zpWuikVorYg_000032", 32)
    assert segments[0].boxes[0].bbox == (0.253125, 0.403125, 0.75, 0.6)

    heard, unheard = (select_listed(clips, OFFICIAL / f"vggss_{name}_test.csv", path) for name in ("heard", "unheard"))
    assert (len(heard), len(unheard)) == (2564, 2575)
    of_heard, of_unheard = ({clip.label for clip in part.values()} for part in (heard, unheard))
    assert (len(of_heard), len(of_unheard), of_heard & of_unheard) == (110, 110, set())
    for part in (heard, unheard):  # only boxes of the built clips are refused
        assert len(to_segments(part)[1]["degenerate boxes"]) == sum(box["file"] in part for box in bad)
