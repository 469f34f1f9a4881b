"""Which file a segment gets, in particular if several folders hold files of one name."""

import dataclasses
import errno
import os
import stat

import pytest

from data_builders.clips import clip_files, record, shards
from data_builders.clips.plan import Plan
from data_builders.clips.segments import Located, Segment


@pytest.fixture
def manual_dir(tmp_path):
    for name in ("public/bus01.wav", "private/deeper/bus01.wav", "private/deeper/tube01.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def paths(manual_dir, *segments):
    plan = Plan(manual_dir, (".wav",), manual_dir / "plan.sqlite")
    plan.add("all", segments)
    (shard,) = plan.shards("all", 1)
    return {first.segment.clip_id: first.file.path.removeprefix(f"{manual_dir}/") for first, *_ in shard}


def test_a_segment_with_a_folder_gets_the_file_in_it(manual_dir):
    found = paths(
        manual_dir,
        Segment("a", "bus01", (), folder="public"),
        Segment("b", "bus01", (), folder="private"),
        Segment("c", "tube01", (), folder="private"),
        Segment("d", "tube01", (), folder="public"),  # its file is in the other folder
        Segment("e", "tube01", (), folder="absent"),
        Segment("f", "bus01", (), start_seconds=3, duration_seconds=2, folder="private"),
    )
    assert found == {
        "a": "public/bus01.wav",
        "b": "private/deeper/bus01.wav",
        "c": "private/deeper/tube01.wav",
        "f": "private/deeper/bus01.wav",
    }


def test_a_segment_without_a_folder_gets_the_first_file_anywhere(manual_dir):
    assert paths(manual_dir, Segment("a", "bus01", ()), Segment("b", "tube01", ())) == {
        "a": "private/deeper/bus01.wav",
        "b": "private/deeper/tube01.wav",
    }


def test_the_folder_is_named_if_nothing_is_found(manual_dir):
    plan = Plan(manual_dir, (".wav",), manual_dir / "plan.sqlite")
    plan.add("test", [Segment("a", "park01", (), folder="public")])
    with pytest.raises(ValueError, match=r"Looked for .*: 'public/park01'"):
        plan.check_any_found()


NAMES = (
    "0f2xQ4Rz9uM_30_40",
    "0f2xQ4Rz9uM_000030_000040",
    "0f2xQ4Rz9uM_30.000_40.000",
    "0f2xQ4Rz9uM_30000_40000",
    "0f2xQ4Rz9uM_30.0-40.0",
    "0f2xQ4Rz9uM_30",
    "0f2xQ4Rz9uM_000030",
    "0f2xQ4Rz9uM_30.0",
    "0f2xQ4Rz9uM_30000",
    "0f2xQ4Rz9uM",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".wav", ".WAV"])
def test_every_layout_of_the_readme_is_found(tmp_path, name, suffix):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / f"{name}{suffix}").touch()
    (tmp_path / f"{name[:-1]}{suffix}").touch()  # another id, or another time
    segment = Segment("a", "0f2xQ4Rz9uM", (), 30.0, 10.0)
    assert paths(tmp_path, segment) == {"a": f"deep/er/{name}{suffix}"}


@pytest.mark.parametrize("name", ["-v_0.5_10.5", "-v_0.500", "-v_500_10500", "-v_000000_000010", "-v_0"])
def test_a_fractional_start(tmp_path, name):
    (tmp_path / f"{name}.wav").touch()
    assert paths(tmp_path, Segment("a", "-v", (), 0.5, 10.0)) == {"a": f"{name}.wav"}


def test_a_name_with_a_start_is_a_cut_clip(tmp_path):
    for name in ("a_30", "b"):
        (tmp_path / f"{name}.wav").touch()
    plan = Plan(tmp_path, (".wav",), tmp_path / "plan.sqlite")
    plan.add("all", [Segment("a", "a", (), 30.0, 10.0), Segment("b", "b", (), 30.0, 10.0)])
    (shard,) = plan.shards("all", 1)
    assert {located.segment.clip_id: located.cut for (located,) in shard} == {"a": True, "b": False}


def test_every_file_of_a_clip_is_listed_the_most_specific_name_first(tmp_path):
    names = ("a.wav", "deep/a_30.wav", "deep/a_30_40.wav", "zoo/a_30.flac")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    plan = Plan(tmp_path, (".wav", ".flac"), tmp_path / "plan.sqlite")
    plan.add("all", [Segment("a", "a", (), 30.0, 10.0), Segment("b", "b", ())])
    ((files,),) = plan.shards("all", 1)
    assert [located.file.path.removeprefix(f"{tmp_path}/") for located in files] == [names[i] for i in (2, 1, 3, 0)]
    assert [located.cut for located in files] == [True, True, True, False]
    assert (plan.expected("all"), plan.found("all"), plan.with_several_files("all")) == (2, 1, 1)


def test_a_clip_with_a_folder_has_only_the_files_beside_its_first(tmp_path):
    for name in ("drums/a.wav", "drums/a.flac", "drums/loud/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    plan = Plan(tmp_path, (".wav", ".flac"), tmp_path / "plan.sqlite")
    plan.add("all", [Segment("a", "a", (), folder="drums")])
    ((files,),) = plan.shards("all", 1)
    assert [located.file.path for located in files] == [f"{tmp_path}/drums/a.flac", f"{tmp_path}/drums/a.wav"]


def test_files_are_listed_folder_by_folder_sorted_by_name(tmp_path):
    for name in ("z.wav", "b.wav", "é.WAV", "a/2.wav", "a/10.wav", "B/x/1.wav", "B/y.wav", "none/a.txt", "B/no.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [file.path.removeprefix(f"{tmp_path}/") for file in clip_files.walk(tmp_path, (".wav",))]
    assert found == ["b.wav", "z.wav", "é.WAV", "B/y.wav", "B/x/1.wav", "a/10.wav", "a/2.wav"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    def fail(folder):
        raise OSError(errno.EIO, "Input/output error", folder)

    monkeypatch.setattr(clip_files.os, "scandir", fail)
    with pytest.raises(OSError, match="the folder cannot be listed: Input/output error"):
        list(clip_files.walk(tmp_path, (".wav",)))


def test_a_single_file_is_listed_alone(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    (only,) = clip_files.walk(tmp_path / "a.wav", (".wav",))
    assert (only.stem, only.path) == ("a", str(tmp_path / "a.wav"))


def test_what_is_no_readable_file_is_listed_as_skipped(tmp_path, monkeypatch):
    """Opening a pipe to read it would wait forever."""
    (tmp_path / "a.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    os.mknod(tmp_path / "socket.wav", stat.S_IFSOCK | 0o600)
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    (tmp_path / "folder.wav" / "deep").mkdir(parents=True)
    (tmp_path / "used.wav").mkdir()
    (tmp_path / "used.wav" / "b.wav").touch()
    (tmp_path / "locked.wav").touch()
    (tmp_path / "lost+found").mkdir()
    access, scandir = os.access, os.scandir

    def scan(folder):
        if os.path.basename(folder) == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(clip_files.os, "access", lambda path, mode: "locked" not in path and access(path, mode))
    monkeypatch.setattr(clip_files.os, "scandir", scan)
    skipped = []
    found = [file.stem for file in clip_files.walk(tmp_path, (".wav",), skipped.append)]
    assert found == ["a", "b"]
    assert skipped == [
        f"'{tmp_path}/device.wav': a pipe, socket or device",
        f"'{tmp_path}/locked.wav': no permission to read it",
        f"'{tmp_path}/pipe.wav': a pipe, socket or device",
        f"'{tmp_path}/socket.wav': a pipe, socket or device",
        f"'{tmp_path}/folder.wav': a folder",
        f"'{tmp_path}/lost+found': no permission to list it",
    ]


def test_unusable_names_are_listed_and_circular_links_end(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.wav").touch()
    with open(os.fsencode(tmp_path) + b"/\xff.wav", "w"):
        pass
    plan = Plan(tmp_path, (".wav",), tmp_path / "plan.sqlite")
    plan.add("all", [Segment("a", "a", ()), Segment("b", "a", (), folder=".")])
    reasons = [entry.rsplit(": ", 1)[1] for entry in plan.skipped]
    assert reasons == ["a broken link", "its name is not Unicode"]
    assert plan.with_several_files("all") == 1


def test_hidden_files_and_folders_are_listed_as_skipped(tmp_path):
    for name in ("._a.wav", ".git/a.wav", "x/.Trash/deep/a.wav", "x/a.wav", ".DS_Store", "x/.a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    plan = Plan(tmp_path, (".wav",), tmp_path / "plan.sqlite")
    plan.add("all", [Segment("a", "a", ()), Segment("b", "._a", ()), Segment("c", "a", (), folder="x")])
    ((a,), (c,)) = next(plan.shards("all", 1))
    assert {located.segment.clip_id: located.file.path for located in (a, c)} == {
        "a": str(tmp_path / "x" / "a.wav"),
        "c": str(tmp_path / "x" / "a.wav"),
    }
    assert list(plan.skipped) == [f"'{tmp_path / name}': hidden" for name in ("._a.wav", ".git", "x/.Trash")]


def test_a_folder_inside_a_hidden_one_is_listed(tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.wav").touch()
    assert [file.stem for file in clip_files.walk(tmp_path / ".cache", (".wav",))] == ["a"]


def test_the_line_that_names_a_clip_does_not_change_its_shard():
    """Finished shards stay finished if a line is inserted into the annotations."""
    file = clip_files.ClipFile("a", "clips/a.mp4", 1, 2)
    recipe = shards.Recipe(record.Settings(), {"class": 0})
    first = Segment("a", "a", ("class",), where="list.csv, line 3")
    moved = dataclasses.replace(first, where="list.csv, line 4")
    other = dataclasses.replace(first, labels=())
    prints = [
        shards.Job(((Located(segment, file, cut=False),),), recipe, 600.0).fingerprint
        for segment in (first, moved, other)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_outcomes_join_missing_files_and_what_the_shards_refused(manual_dir):
    plan = Plan(manual_dir, (".wav",), manual_dir / "plan.sqlite")
    segments = [
        Segment(name, stem, (name,)) for name, stem in zip("abcd", ("bus01", "tube01", "park01", "bus01"), strict=True)
    ]
    for split in ("train", "test"):
        plan.add(split, segments)
    plan.refuse("train", {"d": ("unreadable", "not a media file"), "b": ("unreadable", "it ends early")})
    plan.refuse("train", {})
    plan.note("train", "passed over", {"a": "bus01.flac: unreadable"})
    assert {segment.clip_id: why for segment, *why in plan.outcomes("train")} == {
        "a": [None, ""],
        "b": ["unreadable", "it ends early"],
        "c": ["missing", ""],
        "d": ["unreadable", "not a media file"],
    }
    assert {why: list(ids) for why, ids in plan.not_built("train").items()} == {
        "missing": ["c"],
        "unreadable": ["b", "d"],
    }
    assert {why: list(ids) for why, ids in plan.not_built("test").items()} == {"missing": ["c"]}


def test_notes_on_clips_are_listed_in_order(manual_dir):
    plan = Plan(manual_dir, (".wav",), manual_dir / "plan.sqlite")
    plan.note("train", "passed over", {"b": "b.avi: empty", "é": "é.avi: empty", "B": "B.avi: empty"})
    plan.note("train", "passed over", {"a": "a.avi: empty"})
    plan.note("test", "passed over", {"c": "c.avi: empty"})
    plan.note("train", "tracks", {"b": "audio track 2 of 3"})
    notes = plan.notes("train", "passed over")
    in_order = [(name, f"{name}.avi: empty") for name in ("B", "a", "b", "é")]
    assert list(notes.items()) == in_order
    assert (list(notes), len(notes), notes["a"]) == (["B", "a", "b", "é"], 4, "a.avi: empty")
    assert "c" not in notes
    assert dict(plan.notes("train", "tracks")) == {"b": "audio track 2 of 3"}
    assert dict(plan.notes("validation", "passed over")) == {}
