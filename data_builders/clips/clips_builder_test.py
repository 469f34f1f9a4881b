"""Building from a folder of clips: coverage, options, existing datasets, and errors."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from avlearn.data import built_dataset
from data_builders.clips.clips_builder import check_class_names
from data_builders.clips.clips_config import ClipsConfig
from data_builders.clips.plan import shard_count
from data_builders.clips.workspace import Workspace
from tests.helpers.build_dataset import build, coverage, records
from tests.helpers.media_file import RATE, Audio, Video, clicking, flashing, plain, write, write_tracks
from tests.helpers.paths import ROOT
from tests.helpers.small_clips import SmallClips, write_folder


def test_a_bad_clip_is_counted_and_named(built):
    counts = coverage(built)["splits"]
    assert (counts["train"]["expected"], counts["train"]["built"]) == (20, 18)
    assert (counts["test"]["expected"], counts["test"]["built"]) == (3, 3)
    not_built = counts["train"]["not_built"]
    assert {reason: entry["clip_ids"] for reason, entry in not_built.items()} == {
        "missing": ["a04"],
        "unreadable": ["a03"],
    }
    assert "a03.mp4: unreadable: not a media file" in not_built["unreadable"]["examples"][0]
    assert set(records(built, "train")) == {f"a{n:02d}" for n in range(20)} - {"a03", "a04"}
    assert {split: info.num_examples for split, info in built.info.splits.items()} == {"train": 18, "test": 3}


def test_every_reason_is_counted_with_its_clips_and_classes_and_printed(tmp_path, capsys):
    folder = tmp_path / "manual"
    folder.mkdir()
    times = np.arange(75) / 25
    plain(folder / "good.mp4", 3.0)
    plain(folder / "brief.mp4", 1.5)
    write(folder / "mute.mp4", flashing(times, 1.4))
    write(folder / "blind.mp4", waveform=clicking(3.0, 1.4))
    write(folder / "silent.mp4", flashing(times, 1.4), np.zeros((1, 3 * RATE), np.float32))
    write(folder / "still.mp4", flashing(times, 99.0), clicking(3.0, 1.4))
    intact = plain(folder / "cut.mp4", 3.0, options={"movflags": "faststart"})
    intact.write_bytes(intact.read_bytes()[:-2000])
    (folder / "text.mp4").write_text("not a video")
    labels = ["low good", "low gone", "high brief", "high mute", "low blind", "low silent", "low still", "low cut"]
    lines = [f"train {clip} {label}" for label, clip in map(str.split, [*labels, "high text"])]
    (folder / "clips.txt").write_text("\n".join(lines))
    config = ClipsConfig(name="strict", frames_per_second=5, drop=("silent_audio", "still_frames"))
    counts = coverage(build(SmallClips, config, folder, tmp_path / "data"))["splits"]["train"]
    assert (counts["expected"], counts["built"]) == (9, 1)
    reasons = {
        "missing": ["gone"],
        "no_audio_track": ["mute"],
        "no_video_track": ["blind"],
        "silent_audio": ["silent"],
        "still_frames": ["still"],
        "too_short": ["brief"],
        "truncated": ["cut"],
        "unreadable": ["text"],
    }
    assert {reason: entry["clip_ids"] for reason, entry in counts["not_built"].items()} == reasons
    assert {entry["count"] for entry in counts["not_built"].values()} == {1}
    assert counts["classes"] == {
        "low": {"name": "Low tone", "expected": 6, "built": 1},
        "high": {"name": "High tone", "expected": 3, "built": 0},
    }
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["split", "expected", "built", "share", "from", "whole", "videos", *reasons] in printed
    assert ["train", "9", "1", "11.1", "%", "0", *"11111111"] in printed


def test_flow_waveform_and_the_other_front_end_are_stored_if_the_config_asks(tmp_path):
    folder = write_folder(tmp_path / "manual", 1, 0)
    plain(folder / "a00.mp4", 3.0)  # its flash and its click are at 0.8 s
    choice = {"front_end": "lvs", "optical_flow": True, "waveform_hz": 16_000}
    builder = build(SmallClips, ClipsConfig(name="more", frames_per_second=5, **choice), folder, tmp_path / "data")
    made = records(builder, "train")["a00"]
    assert made["log_spectrogram"].shape == (200, 257)  # of 3 s, as in the code of Localizing Visual Sounds
    assert made["waveform"].shape == (3 * 16_000,)
    assert np.argmax(made["waveform"] > 8000) / 16_000 == pytest.approx(0.8, abs=0.005)
    assert (len(made["frames"]), len(made["optical_flow"])) == (15, 14)
    assert builder.info.metadata["front_end"] == "lvs"
    assert builder.info.metadata["waveform_hz"] == 16_000


def test_the_input_pipeline_opens_it(built):
    split = built_dataset.open_split("small_clips/plain", built.data_dir_root, "train")
    assert (len(split), split.class_ids, split.frames_per_second) == (18, ("low", "high"), 5)


def test_the_number_of_shards_is_chosen(built, folder, tmp_path):
    assert built.info.splits["train"].num_shards == 16
    fewer = build(SmallClips, "plain", folder, tmp_path, num_shards=4)
    assert fewer.info.splits["train"].num_shards == 4
    assert set(records(fewer, "train")) == set(records(built, "train"))


def test_the_next_file_of_a_clip_is_tried(folder, tmp_path):
    several = tmp_path / "several"
    (several / "again").mkdir(parents=True)
    shutil.copy(folder / "a00.mp4", several / "again" / "both.mp4")
    silent, default = Audio(np.zeros((1, 2 * RATE), np.float32)), Audio(clicking(2, 0.8), disposition=1)
    write_tracks(several / "good.mp4", Video(flashing(np.arange(50) / 25, 0.8)), silent, default)
    shutil.copy(folder / "a03.mp4", several / "good.webm")
    for name in ("both.mp4", "both.webm", "neither.avi", "neither.mkv"):
        (several / name).write_text(f"not a video: {name}")
    (several / "clips.txt").write_text("train both low\ntrain good low\ntrain neither low\n")
    builder = build(SmallClips, "plain", several, tmp_path)
    counts = coverage(builder)["splits"]["train"]
    assert (counts["expected"], counts["built"], counts["with_several_files"]) == (3, 2, 3)
    assert set(records(builder, "train")) == {"both", "good"}
    assert counts["chosen_tracks"] == {"good": "audio track 2 of 2"}
    (why,) = counts["not_from_the_first_file"].items()
    bad = r"{}/{}: unreadable: not a media file.*"
    assert why[0] == "both"
    assert re.fullmatch("; ".join(bad.format(several, name) for name in ("both.mp4", "both.webm")), why[1])
    assert counts["not_built"]["unreadable"]["clip_ids"] == ["neither"]
    (example,) = counts["not_built"]["unreadable"]["examples"]
    assert re.fullmatch("; ".join(bad.format(several, name) for name in ("neither.avi", "neither.mkv")), example)


def test_the_number_of_shards_depends_on_the_annotations():
    assert [shard_count(expected, expected) for expected in (1, 512, 513, 1024, 1025, 2_000_000)] == [
        *(16, 16, 32, 32, 64, 65_536)
    ]
    assert {shard_count(10_000, found) for found in range(2048, 10_001)} == {512}
    assert [shard_count(10_000, found) for found in (2047, 1023, 1)] == [256, 128, 16]


def test_an_existing_dataset_with_other_settings_is_refused(built, folder, capsys):
    same = SmallClips(config="plain", data_dir=built.data_dir_root)
    same.download_and_prepare()  # it exists: nothing is done
    assert "small_clips/plain/1.0.0 exists, with 21 of 23 clips" in capsys.readouterr().out
    other = SmallClips(config="plain", data_dir=built.data_dir_root)
    other.builder_config.short_side, before = 128, other.builder_config.short_side
    try:
        with pytest.raises(ValueError, match=r"built with short_side=256, but this config has 128. Give it another"):
            other.download_and_prepare()
    finally:
        other.builder_config.short_side = before


def test_two_builds_do_not_share_a_workspace(tmp_path):
    dataset = tmp_path / "1.0.0"
    with Workspace(dataset) as first:
        with pytest.raises(ValueError, match=r"another build is using .*1\.0\.0\.unfinished"), Workspace(dataset):
            pass
        (first.folder / "old.tfrecord-00000-of-00002").touch()
        (first.folder / "new.tfrecord-00000-of-00001.json").touch()
        (tmp_path / "incomplete.ABCDEF_1.0.0").mkdir()
        (tmp_path / "incomplete.GHIJKL_1.0.0").mkdir()
        first.clean(["/any/new.tfrecord-00000-of-00001"], "incomplete.GHIJKL_1.0.0")
        assert sorted(path.name for path in first.folder.iterdir()) == ["lock", "new.tfrecord-00000-of-00001.json"]
        assert not (tmp_path / "incomplete.ABCDEF_1.0.0").exists()
        assert (tmp_path / "incomplete.GHIJKL_1.0.0").exists()
        dataset.mkdir()
        first.remove()
    with pytest.raises(ValueError, match="another build has just finished"), Workspace(dataset):
        pass


def test_a_clip_that_is_found_later_changes_only_its_own_shard(folder, tmp_path):
    growing = tmp_path / "growing"
    shutil.copytree(folder, growing)
    short = ClipsConfig(name="short", frames_per_second=5, min_coverage=0.95)
    with pytest.raises(ValueError, match=r"'train' covers 90.0 % of the clips .*less than min_coverage=0.95"):
        build(SmallClips, short, growing, tmp_path)
    unfinished = tmp_path / "small_clips" / "short" / "1.0.0.unfinished"
    assert json.loads((unfinished / "coverage.json").read_text())["splits"]["train"]["built"] == 18
    before = {path.stem: path.stat().st_mtime_ns for path in unfinished.glob("*tfrecord*.json")}
    before = {name: (unfinished / name).stat().st_mtime_ns for name in before}
    assert len(before) == 19
    plain(growing / "a04.mp4")
    complete = build(SmallClips, short, growing, tmp_path)
    changed = [name for name, time in before.items() if os.stat(complete.data_path / name).st_mtime_ns != time]
    assert len(changed) == 1
    assert complete.info.splits["train"].num_examples == 19
    times = {path.name: os.stat(path).st_mtime_ns for path in complete.data_path.glob("*tfrecord*")}
    os.rename(complete.data_path, unfinished)
    plain(growing / "a03.mp4")  # it was broken
    grown = build(SmallClips, short, growing, tmp_path)
    changed = [name for name, time in times.items() if os.stat(grown.data_path / name).st_mtime_ns != time]
    shard = min(changed)
    assert sorted(changed) == [shard, f"{shard}.contents"]
    assert grown.info.splits["train"].num_examples == 20
    assert set(records(grown, "train")) == {f"a{n:02d}" for n in range(20)}


def test_a_folder_without_the_clips_is_refused_with_the_names_looked_for(folder, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "clips.txt").write_text((folder / "clips.txt").read_text())
    for name in ("holiday", "birthday", "concert", "dinner"):
        (wrong / f"{name}.mp4").touch()
    looked_for, found = r"Looked for .*('b0\d'|'a\d\d'), .*", r"Found: .*birthday.mp4', .*concert.mp4', .*dinner.mp4'"
    message = rf"(?s)none of the 23 clips .*--manual_dir=.*{looked_for}\n{found}"
    with pytest.raises(ValueError, match=message):
        build(SmallClips, "plain", wrong, tmp_path / "data")
    with pytest.raises(ValueError, match=r"--manual_dir=.*absent is not a folder.*tfds build .* --manual_dir=FOLDER"):
        build(SmallClips, "plain", tmp_path / "absent", tmp_path / "data")


def test_a_repeated_clip_is_refused_with_both_lines(folder, tmp_path):
    twice = tmp_path / "twice"
    twice.mkdir()
    (twice / "clips.txt").write_text("train a00 low\ntest a00 low\n\ntrain a00 high\n")
    lines = r"clips\.txt, line 1 and clips\.txt, line 4\. Remove one of the two$"
    with pytest.raises(ValueError, match=rf"^the clip 'a00' occurs twice in the split 'train': {lines}"):
        build(SmallClips, "plain", twice, tmp_path / "data")


def test_a_part_never_looks_like_the_complete_dataset(folder, tmp_path):
    with pytest.raises(ValueError, match="--max_examples_per_split would make a part look like the complete dataset"):
        build(SmallClips, "plain", folder, tmp_path, max_examples_per_split=2)
    few = build(SmallClips, ClipsConfig(name="few", frames_per_second=5, max_clips_per_split=2), folder, tmp_path)
    assert {split: info.num_examples for split, info in few.info.splits.items()} == {"train": 2, "test": 2}


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb", " a", "a\t"])
def test_classes_that_their_file_would_change_are_refused(name):
    check_class_names({"/m/1": "Dog", "/m/2": "Wind chime, glass"})
    for class_names in ({"a": "a", name: "b"}, {"a": name}):
        with pytest.raises(
            ValueError, match=rf"^{re.escape(repr(name))} cannot be the name of a class: it is empty, has"
        ):
            check_class_names(class_names)


def test_the_ids_of_the_classes_are_part_of_the_metadata(built):
    assert built.info.metadata["class_ids"] == ["low", "high"]
    assert built.info.metadata["class_names"] == ["Low tone", "High tone"]


def test_commands_are_quoted_for_the_shell(folder, tmp_path, capsys):
    data = tmp_path / "my data"
    build(SmallClips, "plain", folder, data)
    SmallClips(config="plain", data_dir=data).download_and_prepare()
    path = f"{data}/small_clips/plain/1.0.0"
    assert f"run the command again: mv '{path}' '{path}.unfinished'\n" in capsys.readouterr().out
    pathlib.Path(path, "coverage.json").write_text("{")
    with pytest.raises(
        ValueError, match=rf"coverage.json is damaged .*keeps the shards: mv '{path}' '{path}.unfinished'$"
    ):
        SmallClips(config="plain", data_dir=data).download_and_prepare()
    with pytest.raises(ValueError, match=r"""instead: --config='\{"frames_per_second": 5, .*\}'$"""):
        build(SmallClips, "plain", folder, tmp_path, max_examples_per_split=2)


def test_the_output_may_have_an_encoding_without_the_names(tmp_path):
    """The dataset is published after its table has been printed, with the names of files that cannot be read."""
    folder = tmp_path / "клипы"
    folder.mkdir()
    plain(folder / "a00.mp4")
    (folder / "ы.mp4").write_bytes(b"not a video")
    (folder / "clips.txt").write_text("train a00 low\ntrain ы low", encoding="utf-8")
    code = (
        "import pathlib; from tests.helpers.build_dataset import build; "
        "from tests.helpers.small_clips import SmallClips; "
        f"build(SmallClips, 'plain', pathlib.Path({str(folder)!r}), pathlib.Path({str(tmp_path / 'données')!r}))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unreadable, for example: " in done.stdout
    assert r"/\u043a\u043b\u0438\u043f\u044b/\u044b.mp4: unreadable" in done.stdout
    assert (tmp_path / "données" / "small_clips" / "plain" / "1.0.0" / "coverage.json").exists()
