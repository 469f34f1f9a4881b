"""A folder of videos without annotations: its classes, splits and segments."""

import itertools
import os
import pathlib
import subprocess
import sys

import pytest

from data_builders.clips import listing, segments
from data_builders.own_clips.own_clips_dataset_builder import Builder, Config, list_videos, split_slices
from tests.helpers import build_dataset
from tests.helpers.media_file import plain
from tests.helpers.paths import ROOT

DUMMY = pathlib.Path(__file__).parent / "dummy_data"


def test_folders_are_classes_and_long_videos_are_cut(tmp_path):
    folder = tmp_path / "videos"
    for _, (name, seconds) in segments.rows(DUMMY / "files.txt", 2, "file seconds", delimiter=" "):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if float(seconds):
            plain(folder / name, float(seconds))
        else:
            (folder / name).write_bytes(b"not a video")
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
    assert coverage["refused_annotations"]["files of a name that another has"]["items"] == [
        str(folder / "guitar" / "a.webm")
    ]


def test_every_split_has_a_video_and_every_video_one_split(tmp_path):
    def splits_of(folder):
        for number in range(50):
            (folder / "in").mkdir(parents=True, exist_ok=True)
            (folder / "in" / f"{number}.mp4").touch()
        videos = list_videos(folder, (".mp4",))
        return {split: list(videos.relative_paths(part)) for split, part in split_slices(len(videos.names)).items()}

    splits = splits_of(tmp_path / "here")
    assert {split: len(videos) for split, videos in splits.items()} == {"train": 40, "validation": 5, "test": 5}
    assert sorted(itertools.chain(*splits.values())) == sorted(f"in/{number}.mp4" for number in range(50))
    assert splits_of(tmp_path / "elsewhere") == splits
    assert split_slices(3) == {"train": slice(2, 3), "validation": slice(1, 2), "test": slice(0, 1)}


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
    for name in "abcd":
        plain(tmp_path / "videos" / f"{name}.mp4", 3.0)
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


def test_too_few_videos_are_refused(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match=r"1 videos .* below --manual_dir=.*; at least 3 are needed"):
        build_dataset.build(Builder, "clips_5fps", tmp_path, tmp_path / "data")
