"""Building in processes: every core, and builds, processes and codecs that die or hang."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from data_builders.clips import build_processes
from data_builders.clips.clips_config import ClipsConfig
from tests.helpers.build_dataset import build, coverage, records, shard_bytes
from tests.helpers.paths import ROOT
from tests.helpers.small_clips import SmallClips

IMPORTS = "import pathlib; from tests.helpers.build_dataset import build; "
IMPORTS += "from tests.helpers.small_clips import SmallClips; "


def test_every_core_builds_and_the_progress_bar_estimates_the_time(monkeypatch, capsys):
    at_once = threading.Barrier(3)

    class Fake:
        def build(self, path):
            at_once.wait(timeout=20)
            return 2

    monkeypatch.setattr(build_processes.loky, "cpu_count", lambda: 3)
    monkeypatch.setattr(build_processes, "pool", Fake)
    build_processes.build_in_processes([f"shard{number}" for number in range(6)], 12, "small train")
    assert re.search(r"small train: 100%.* 12/12 \[\d\d:\d\d<\d\d:\d\d, .*clip/s\]", capsys.readouterr().err)


def test_few_shards_are_submitted_at_a_time(monkeypatch):
    built = []

    class Fake:
        def build(self, path):
            built.append(path)
            return 1

    def paths():
        for number in range(50):
            assert number - len(built) <= 6
            yield str(number)

    monkeypatch.setattr(build_processes.loky, "cpu_count", lambda: 3)
    monkeypatch.setattr(build_processes, "pool", Fake)
    build_processes.build_in_processes(paths(), 50, "small train")
    assert sorted(built, key=int) == [str(number) for number in range(50)]


def test_a_killed_build_resumes(built, folder, tmp_path):
    unfinished = tmp_path / "small_clips" / "plain" / "1.0.0.unfinished"
    code = f"build(SmallClips, 'plain', pathlib.Path({str(folder)!r}), pathlib.Path({str(tmp_path)!r}))"
    command = [sys.executable, "-c", IMPORTS + code]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(list(unfinished.glob("*.json"))) < 3:
            assert process.poll() is None, "it finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "small_clips" / "plain" / "1.0.0").exists()
    times = {path: path.stat().st_mtime_ns for path in unfinished.glob("*.json")}
    assert 3 <= len(times) < 19
    finished = {path.with_suffix("").name: path.with_suffix("").stat().st_mtime_ns for path in times}
    again = build(SmallClips, "plain", folder, tmp_path)
    assert shard_bytes(again) == shard_bytes(built)
    for name, written in finished.items():
        assert os.stat(again.data_path / name).st_mtime_ns == written, name
    assert not unfinished.exists()


def test_processes_that_outlive_a_killed_build_do_no_harm(built, folder, tmp_path):
    """Only the parent is killed: its processes work on while the same command runs again."""
    code = f"build(SmallClips, 'plain', pathlib.Path({str(folder)!r}), pathlib.Path({str(tmp_path)!r}))"
    unfinished = tmp_path / "small_clips" / "plain" / "1.0.0.unfinished"
    with subprocess.Popen([sys.executable, "-c", IMPORTS + code], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(unfinished.glob("*.reading")):
            assert process.poll() is None, "it finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
    assert shard_bytes(build(SmallClips, "plain", folder, tmp_path)) == shard_bytes(built)


@pytest.fixture
def broken_codec(folder, tmp_path, monkeypatch):
    """Yield a function that adds clips whose names decide what a decoder, replaced in the processes, does.

    At a name with `DIES` the process aborts; at `HANGS` libav waits forever, on a pipe that nobody writes to.
    """
    some = tmp_path / "some"
    some.mkdir()
    os.mkfifo(some / "pipe")
    (some / "sitecustomize.py").write_text(
        "import os, av\nfrom avlearn.media import decode\nread = decode.read_clip\n"
        "def read_clip(path, **how):\n"
        "    os.abort() if 'DIES' in path else None\n"
        f"    av.open({str(some / 'pipe')!r}) if 'HANGS' in path else None\n"
        "    return read(path, **how)\n"
        "decode.read_clip = read_clip\n"
    )

    def add(*files):
        for file in files:
            (some / file).parent.mkdir(exist_ok=True)
            shutil.copy(folder / "a00.mp4", some / file)
        names = sorted({pathlib.Path(file).stem for file in files})
        (some / "clips.txt").write_text("\n".join(f"train {name} low" for name in names))
        return some

    monkeypatch.setenv("PYTHONPATH", f"{some}:{ROOT}")
    build_processes.close_pool()  # this test needs new processes
    yield add
    build_processes.close_pool()


def test_clips_that_kill_or_hang_their_process_are_refused_and_the_rest_built(broken_codec, tmp_path):
    some = broken_codec("a00.mp4", "a01.mp4", "DIES.mp4", "HANGS.mp4")
    limited = ClipsConfig(name="limited", frames_per_second=5, time_limit_seconds=2)
    builder = build(SmallClips, limited, some, tmp_path / "data", num_shards=1)
    not_built = coverage(builder)["splits"]["train"]["not_built"]
    assert {reason: entry["clip_ids"] for reason, entry in not_built.items()} == {
        "crashed": ["DIES"],
        "timed_out": ["HANGS"],
    }
    assert not_built["crashed"]["examples"] == [f"{some}/DIES.mp4: crashed: its process died 3 times"]
    assert not_built["timed_out"]["examples"] == [f"{some}/HANGS.mp4: timed_out: not read in 2 s"]
    assert set(records(builder, "train")) == {"a00", "a01"}


def test_a_clip_whose_process_was_killed_is_tried_by_the_next_build(broken_codec, tmp_path):
    """The system may have killed it for lack of memory."""
    some = broken_codec("a00.mp4", "DIES.mp4")
    builder = build(SmallClips, "plain", some, tmp_path / "data", num_shards=1)
    assert set(records(builder, "train")) == {"a00"}
    os.rename(builder.data_path, f"{builder.data_path}.unfinished")
    (some / "sitecustomize.py").unlink()
    build_processes.close_pool()
    again = build(SmallClips, "plain", some, tmp_path / "data", num_shards=1)
    assert set(records(again, "train")) == {"a00", "DIES"}


def test_beam_replaces_a_process_and_tries_the_next_file_of_the_clip(broken_codec, tmp_path):
    some = broken_codec("HANGS/a00.mp4", "good/a00.mp4")
    limited = ClipsConfig(name="limited", frames_per_second=5, time_limit_seconds=2)
    builder = build(SmallClips, limited, some, tmp_path / "data", beam_runner="DirectRunner")
    counts = coverage(builder)["splits"]["train"]
    assert counts["not_from_the_first_file"] == {"a00": f"{some}/HANGS/a00.mp4: timed_out: not read in 2 s"}
    assert set(records(builder, "train")) == {"a00"}
