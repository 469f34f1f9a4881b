"""One shard: when it counts as finished, and how errors are handled."""

import errno
import json
import os
import pathlib

import pytest

from avlearn.data import contents, tfrecord_file
from data_builders.clips import record, shards
from data_builders.clips.clip_files import ClipFile
from data_builders.clips.segments import Box, Located, Segment
from data_builders.clips.workspace import explain_disk_errors


def job(folder, *names, time_limit_seconds=600, **settings):
    """Return a job of clips `name.mp4` in a folder, one file each; `a|b` has the files `a.mp4` and `b.mp4`."""
    clips = tuple(
        tuple(
            Located(Segment(name, name, ("low",)), ClipFile(file, str(folder / f"{file}.mp4"), 1, 1), cut=False)
            for file in name.split("|")
        )
        for name in names
    )
    return shards.Job(clips, shards.Recipe(record.Settings(**settings), {"low": 0}), time_limit_seconds)


def test_a_clip_that_failed_by_an_error_is_tried_again(folder, tmp_path, monkeypatch):
    path = str(tmp_path / "x.tfrecord-00000-of-00001")
    shards.write_job(path, job(folder, "a00"))
    monkeypatch.setattr(record, "make_record", lambda *arguments: 1 / 0)
    shards.build(path)
    reason, detail = shards.read_report(path).refused["a00"]
    assert reason == "error"
    assert detail.endswith("a00.mp4: error: ZeroDivisionError: division by zero")
    monkeypatch.undo()
    shards.build(path)
    assert (shards.read_report(path).built, shards.read_report(path).refused) == (1, {})


def test_a_longer_limit_is_another_try(folder, tmp_path):
    path = str(tmp_path / "x.tfrecord-00000-of-00001")
    shards.write_job(path, job(folder, "a00", time_limit_seconds=1))
    mark = {"a00: " + str(folder / "a00.mp4"): {"times": 0, "timed_out_seconds": 1}}
    (tmp_path / "x.tfrecord-00000-of-00001.reading").write_text(json.dumps(mark))
    assert shards.timed_out(path) == 1
    for _ in range(2):  # the second time, by the report
        shards.build(path)
        assert shards.read_report(path).refused["a00"][0] == "timed_out"
    shards.write_job(path, job(folder, "a00", time_limit_seconds=600))
    shards.build(path)
    assert (shards.read_report(path).built, shards.read_report(path).refused) == (1, {})


def test_a_folder_that_disappears_stops_the_build(tmp_path):
    path = str(tmp_path / "x.tfrecord-00000-of-00001")
    shards.write_job(path, job(tmp_path, "a00"))
    with pytest.raises(FileNotFoundError, match="the file has disappeared; are the clips still mounted"):
        shards.build(path)
    assert shards.read_report(path) is None


def test_a_damaged_shard_is_not_finished(folder, tmp_path):
    path = tmp_path / "x.tfrecord-00000-of-00001"
    shards.write_job(str(path), job(folder, "a00"))
    shards.build(str(path))
    intact = path.read_bytes()
    path.write_bytes(intact[:-1])
    assert shards.read_report(str(path)) is None
    shards.build(str(path))
    assert path.read_bytes() == intact


def test_a_full_disk_is_reported_and_nothing_counts_as_finished(folder, tmp_path, monkeypatch):
    path = str(tmp_path / "x.tfrecord-00000-of-00001")
    shards.write_job(path, job(folder, "a00"))

    def full(file, data):
        file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tfrecord_file, "write", full)
    full_disk = r"the disk is full: free some space, and run the same command again. Finished shards are kept in"
    with pytest.raises(OSError, match=full_disk), explain_disk_errors(tmp_path):
        shards.build(path)
    assert shards.read_report(path) is None
    monkeypatch.undo()
    assert shards.build(path) == 1
    assert shards.read_report(path).built == 1


def test_a_shard_with_other_contents_is_not_reused(folder, tmp_path):
    path = str(tmp_path / "x.tfrecord-00000-of-00001")
    shards.write_job(path, job(folder, "a00", "a01"))
    shards.build(path)
    assert shards.read_report(path).built == 2
    shards.write_job(path, job(folder, "a00", "a01", short_side=64))
    assert shards.read_report(path) is None


def test_a_job_has_the_labels_of_its_own_clips_only():
    labels = {f"class{number}": number for number in range(1000)}
    box = Box((0.0, 0.0, 1.0, 1.0), "class7")
    segment = Segment("a", "a", ("class999", "class3"), boxes=(box,))
    clips = [(Located(segment, ClipFile("a", "a.mp4", 1, 1), cut=False),)]
    made = shards.Job.create(clips, record.Settings(), labels, 600)
    assert made.recipe.labels == {"class3": 3, "class7": 7, "class999": 999}
    assert made.recipe.features["labels"].feature.num_classes == 1000
    later = {**labels, "class7": 8}  # for example because a new class comes before it
    without = shards.Job.create(clips, record.Settings(), {**labels, "class8": 1000}, 600)
    assert (
        made.fingerprint == without.fingerprint != shards.Job.create(clips, record.Settings(), later, 600).fingerprint
    )


def test_a_finished_shard_without_its_table_of_contents_gets_one(folder, tmp_path):
    path = str(tmp_path / "shard")
    shards.write_job(path, job(folder, "a00", "a01"))
    shards.build(path)
    table = pathlib.Path(path + contents.SUFFIX)
    written, when = table.read_bytes(), os.stat(path).st_mtime_ns
    table.unlink()
    shards.build(path)
    assert (table.read_bytes(), os.stat(path).st_mtime_ns) == (written, when)
