"""Files that killed a process, as the next process and the next build remember them."""

import pytest

from avlearn.media.decode import UnreadableClip
from data_builders.clips.attempts import ATTEMPTS, Attempts
from data_builders.clips.clip_files import ClipFile
from data_builders.clips.segments import Located, Segment

SEGMENT = Segment(clip_id="a", video_id="a", labels=())


def located(path: str) -> Located:
    return Located(SEGMENT, ClipFile(path.removesuffix(".mp4"), path, 1, 1), cut=False)


def die_reading(path, name: str, times: int) -> None:
    """Leave the file as a process does that dies while it reads a clip."""
    for _ in range(times):
        Attempts(path).reading(located(name), 60.0).__enter__()


def test_a_file_that_kills_its_process_is_skipped_until_the_next_build(tmp_path):
    path = str(tmp_path / "shard.reading")
    die_reading(path, "broken.mp4", ATTEMPTS)
    with (
        pytest.raises(UnreadableClip, match="its process died 3 times"),
        Attempts(path).reading(located("broken.mp4"), 60.0),
    ):
        pass
    with Attempts(path).reading(located("intact.mp4"), 60.0):
        pass
    Attempts(path).reset()
    with Attempts(path).reading(located("broken.mp4"), 60.0):
        pass


def test_a_file_that_took_too_long_is_skipped_at_the_same_limit(tmp_path, monkeypatch):
    path = str(tmp_path / "shard.reading")
    exits = []
    monkeypatch.setattr("data_builders.clips.attempts.os._exit", exits.append)
    slow = Attempts(path)
    with slow.reading(located("slow.mp4"), 5.0):
        slow._end_process("a: slow.mp4", 5.0)
    slow._end_process("a: slow.mp4", 5.0)  # its time was up when it had just finished
    assert exits == [1]
    Attempts(path).reset()
    assert Attempts(path).timed_out == 1
    with pytest.raises(UnreadableClip, match="not read in 5 s"), Attempts(path).reading(located("slow.mp4"), 5.0):
        pass
    with Attempts(path).reading(located("slow.mp4"), 6.0):
        pass
