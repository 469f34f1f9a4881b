"""A folder of videos without annotations: its classes, splits and segments."""

import hashlib
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_builders.clips import listing, segments
from data_builders.own_clips.own_clips_dataset_builder import Builder, Config, list_videos, split_slices
from tests.helpers import build_dataset
from tests.helpers.media_file import RATE, clicking, flashing, plain, write
from tests.helpers.paths import ROOT

DUMMY = pathlib.Path(__file__).parent / "dummy_data"


QUICK = Config(name="quick", frames_per_second=1, short_side=16, segment_seconds=4.0)


def video(path, number, seconds=3.0):
    """Write a video that differs from those of other numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(
        path,
        flashing([k / 5 for k in range(round(5 * seconds))], 0.8),
        clicking(seconds, number / 10),
        frames_per_second=5,
    )


def split_of_clips(builder):
    """Return the split of each clip, and check that the video of a clip is in no other split."""
    records = {split: build_dataset.records(builder, split) for split in builder.info.splits}
    videos = [{record["video_id"] for record in found.values()} for found in records.values()]
    assert len(set().union(*videos)) == sum(map(len, videos))
    return {clip: split for split, found in records.items() for clip in found}


def test_folders_are_classes_and_long_videos_are_cut(tmp_path):
    folder = tmp_path / "videos"
    for line, (name, seconds) in segments.rows(DUMMY / "files.txt", 2, "file seconds", delimiter=" "):
        if float(seconds):
            video(folder / name, line, float(seconds))
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"not a video: {name}")
    config = Config(name="segments", segment_seconds=4.0, frames_per_second=5)
    builder = build_dataset.build(Builder, config, folder, tmp_path / "data")
    names = builder.info.features["labels"].feature.names
    assert names == ["clip", "drums", "drums/loud", "guitar"]
    found = {
        clip: (names[record["labels"][0]], len(record["frames"]), record["start_ms"], split)
        for split in builder.info.splits
        for clip, record in build_dataset.records(builder, split).items()
    }
    assert {clip: facts[:3] for clip, facts in found.items()} == {
        "top": ("clip", 15, 0),
        "guitar/a": ("guitar", 15, 0),
        "guitar/b:0": ("guitar", 20, 0),  # at least twice four seconds: segments of four; one second is not used
        "guitar/b:4": ("guitar", 20, 4000),
        "guitar/b_4": ("guitar", 15, 0),  # a separate video, whatever its name
        "drums/loud/a": ("drums/loud", 15, 0),
    }
    assert found["guitar/b:0"][3] == found["guitar/b:4"][3]
    coverage = build_dataset.coverage(builder)
    broken = {
        clip: reason
        for split in coverage["splits"].values()
        for reason, entry in split["not_built"].items()
        for clip in entry["clip_ids"]
    }
    assert broken == {"drums/a": "unreadable", "b": "unreadable"}
    assert coverage["skipped_files"] == [f"'{folder}/guitar/._a.mp4': hidden"]
    assert coverage["refused_annotations"] == {
        "files with the name of another": {"count": 1, "items": ["guitar/a.webm: guitar/a.mp4 is used"]}
    }


def test_every_split_has_a_video_and_every_video_one_split(tmp_path):
    def splits_of(folder):
        for number in range(50):
            (folder / "in").mkdir(parents=True, exist_ok=True)
            (folder / "in" / f"{number}.mp4").touch()
        videos = list_videos(folder, (".mp4",))
        return {split: list(videos.relative_paths(part)) for split, part in split_slices(len(videos.names), 0).items()}

    splits = splits_of(tmp_path / "here")
    assert {split: len(videos) for split, videos in splits.items()} == {"train": 40, "validation": 5, "test": 5}
    assert sorted(itertools.chain(*splits.values())) == sorted(f"in/{number}.mp4" for number in range(50))
    assert splits_of(tmp_path / "elsewhere") == splits


@pytest.mark.parametrize(
    ("count", "unusable", "test", "validation", "train"),
    [(1, 0, 1, 0, 0), (2, 0, 1, 0, 1), (3, 0, 1, 1, 1), (9, 8, 1, 0, 8), (40, 0, 4, 4, 32), (40, 10, 3, 3, 34)],
)
def test_usable_videos_come_first(count, unusable, test, validation, train):
    assert split_slices(count, unusable) == {
        "test": slice(0, test),
        "validation": slice(test, test + validation),
        "train": slice(test + validation, test + validation + train),
    }


def test_no_duplicates_are_listed_if_names_are_unique(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.mp4").touch()
    made = Builder(config="clips_5fps", data_dir=tmp_path).annotations(build_dataset.download_manager(tmp_path))
    assert made.refused == {}


@pytest.mark.parametrize("full_from", [1, 4])  # files: three belong to the list of clips, the next to the plan
def test_a_full_disk_of_temporary_files_is_reported(tmp_path, monkeypatch, full_from):
    temporary, made = listing.temporary, []

    def full():
        made.append(temporary())
        if len(made) >= full_from:
            made[-1].execute("PRAGMA max_page_count = 1")
        return made[-1]

    monkeypatch.setattr(listing, "temporary", full)
    (tmp_path / "videos").mkdir()
    for name in "abc":
        (tmp_path / "videos" / f"{name}.mp4").touch()
    message = r"or a temporary file \(in SQLITE_TMPDIR, .*: database or disk is full\. Free some space, and run the"
    with pytest.raises(OSError, match=message):
        build_dataset.build(Builder, "clips_5fps", tmp_path / "videos", tmp_path / "data")
    assert not list(tmp_path.rglob("dataset_info.json"))


def test_the_script_for_beam_writes_the_same_bytes_in_several_processes(tmp_path):
    (tmp_path / "videos").mkdir()
    for number, name in enumerate("abcd"):
        video(tmp_path / "videos" / f"{name}.mp4", number)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"not a video")
    plainly = build_dataset.build(Builder, "clips_5fps", tmp_path / "videos", tmp_path / "plain").data_path
    script = ["launch/build_dataset_beam.sh", "own_clips", "clips_5fps", "videos", "beamed"]
    script[3:] = [str(tmp_path / folder) for folder in script[3:]]
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(script, cwd=ROOT, env={**os.environ, "PATH": path}, check=True, capture_output=True)
    names = sorted(path.name for path in plainly.glob("*tfrecord*"))
    assert len(names) > 3
    for name in [*names, "coverage.json"]:
        beamed = tmp_path / "beamed" / plainly.relative_to(tmp_path / "plain") / name
        assert beamed.read_bytes() == (plainly / name).read_bytes(), name


def test_a_folder_without_videos_is_refused(tmp_path):
    message = r"^no video \(\.mp4 .*\) below --manual_dir=.*; not used: '.*/a\.mp4': a broken link$"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").symlink_to("nowhere")
    with pytest.raises(ValueError, match=message):
        build_dataset.build(Builder, QUICK, tmp_path / "videos", tmp_path / "data")
    with pytest.raises(ValueError, match=r"--manual_dir=.*/none is not a folder or a file\."):
        build_dataset.build(Builder, QUICK, tmp_path / "none", tmp_path / "data")


def test_files_of_one_name_are_separate_videos(tmp_path):
    for number in range(4):
        video(tmp_path / "videos" / f"{number}" / "video.mp4", number)
    builder = build_dataset.build(Builder, QUICK, tmp_path / "videos", tmp_path / "data")
    found = {
        record["video_id"].decode(): clip
        for split in builder.info.splits
        for clip, record in build_dataset.records(builder, split).items()
    }
    assert found == {f"{number}/video": f"{number}/video" for number in range(4)}


def test_two_names_of_one_file_are_one_clip(tmp_path):
    folder = tmp_path / "videos"
    for number, name in enumerate("abc"):
        video(folder / f"{name}.mp4", number)
    (folder / "copies").mkdir()
    shutil.copy(folder / "a.mp4", folder / "copies" / "x.mp4")
    os.link(folder / "b.mp4", folder / "copies" / "y.mp4")
    (folder / "copies" / "z.mkv").symlink_to(folder / "c.mp4")
    builder = build_dataset.build(Builder, QUICK, folder, tmp_path / "data")
    assert sorted(split_of_clips(builder)) == ["a", "b", "c"]
    assert build_dataset.coverage(builder)["refused_annotations"] == {
        "files with the contents of another": {
            "count": 3,
            "items": [
                "copies/x.mp4: a.mp4 is used",
                "copies/y.mp4: b.mp4 is used",
                "copies/z.mkv: c.mp4 is used",
            ],
        }
    }


def test_a_segment_and_a_file_of_one_id_are_refused_with_both_files(tmp_path):
    long, short = video(tmp_path / "b.mkv", 0, 9.0), video(tmp_path / "b:4.mp4", 1)
    message = f"the segment of {long} at 4 s and the file {short} would both have the id 'b:4'; rename one of the files"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_dataset.build(Builder, QUICK, tmp_path, tmp_path / "data")


@pytest.mark.parametrize("usable", [1, 2, 3])
def test_unusable_videos_take_no_place_in_a_split(tmp_path, usable):
    """Of seven videos the usable ones are last in the order of their places, as the splits are first divided."""
    folder = tmp_path / "videos"
    names = [f"{number}.mp4" for number in range(7)]
    by_place = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    for number, name in enumerate(by_place):
        if number < 7 - usable:
            silent = np.full((1, 3 * RATE), number / 1e6, np.float32)
            folder.mkdir(exist_ok=True)
            write(folder / name, flashing([k / 5 for k in range(15)], 0.8), silent, frames_per_second=5)
        else:
            video(folder / name, number)
    builder = build_dataset.build(Builder, QUICK, folder, tmp_path / "data")
    wanted = dict(
        zip(by_place[7 - usable :], ("test", "validation" if usable == 3 else "train", "train"), strict=False)
    )
    assert split_of_clips(builder) == {name.removesuffix(".mp4"): split for name, split in wanted.items()}
    assert build_dataset.coverage(builder)["splits"]["train"]["not_built"]["silent_audio"]["count"] == 7 - usable


def test_a_single_file_is_a_dataset(tmp_path):
    path = video(tmp_path / "one.mp4", 0, 9.0)
    video(tmp_path / "another.mp4", 1)
    builder = build_dataset.build(Builder, QUICK, path, tmp_path / "data")
    assert split_of_clips(builder) == {"one:0": "test", "one:4": "test"}
    assert builder.info.features["labels"].feature.names == ["clip"]


def test_a_video_of_unknown_length_is_used_to_its_end_and_a_truncated_one_is_listed_once(tmp_path):
    folder = tmp_path / "videos"
    for number in range(3):
        video(folder / f"{number}.mp4", number)
    plain(folder / "live.webm", 13.0, codecs=("libvpx", "libopus"), options={"live": "1"})
    cut = plain(folder / "cut.mp4", 24.0, options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    builder = build_dataset.build(Builder, QUICK, folder, tmp_path / "data")
    built = set(split_of_clips(builder))
    assert {clip for clip in built if clip.startswith("live")} == {"live:0", "live:4", "live:8"}
    refused = [
        clip
        for split in build_dataset.coverage(builder)["splits"].values()
        for reason, entry in split["not_built"].items()
        for clip in entry["clip_ids"]
        if reason == "truncated"
    ]
    whole = sorted(clip for clip in built if clip.startswith("cut"))
    assert whole
    assert whole == [f"cut:{4 * k}" for k in range(len(whole))]
    assert refused == [f"cut:{4 * len(whole)}"]
