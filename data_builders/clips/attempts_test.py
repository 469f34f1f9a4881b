"""Files that a process did not come back from, as the next process and the next build remember them."""

import pytest

from avlearn.media.decode import UnreadableClip
from data_builders.clips.attempts import ATTEMPTS, Attempts
from data_builders.clips.clip_files import ClipFile
from data_builders.clips.segments import Located, Segment

SEGMENT = Segment(clip_id="a", video_id="a", labels=())


def located(path: str) -> Located:
    return Located(SEGMENT, ClipFile(path.removesuffix(".mp4"), path, 1, 1), cut=False)


def end_at(path, name: str, times: int) -> None:
    """As a process leaves it that ends while it reads a file."""
    for _ in range(times):
        Attempts(path).at(located(name), 60.0).__enter__()


def test_a_file_that_ends_its_process_is_given_up_until_the_next_build(tmp_path):
    path = str(tmp_path / "shard.reading")
    end_at(path, "broken.mp4", ATTEMPTS)
    with (
        pytest.raises(UnreadableClip, match="its process ended 3 times"),
        Attempts(path).at(located("broken.mp4"), 60.0),
    ):
        pass
    with Attempts(path).at(located("whole.mp4"), 60.0):
        pass
    Attempts(path).start_anew()
    with Attempts(path).at(located("broken.mp4"), 60.0):
        pass


def test_a_file_that_took_too_long_stays_so_with_as_much_time(tmp_path, monkeypatch):
    path = str(tmp_path / "shard.reading")
    ended = []
    monkeypatch.setattr("data_builders.clips.attempts.os._exit", ended.append)
    slow = Attempts(path)
    with slow.at(located("slow.mp4"), 5.0):
        slow._end_process("a: slow.mp4", 5.0)
    slow._end_process("a: slow.mp4", 5.0)  # its time was up just when it was finished
    assert ended == [1]
    Attempts(path).start_anew()
    assert Attempts(path).timed_out == 1
    with pytest.raises(UnreadableClip, match="not read in 5 s"), Attempts(path).at(located("slow.mp4"), 5.0):
        pass
    with Attempts(path).at(located("slow.mp4"), 6.0):
        pass
