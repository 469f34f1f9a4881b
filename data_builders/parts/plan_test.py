"""Which file a segment gets where several folders hold files of one name."""

import pytest

from data_builders.parts.plan import Plan
from data_builders.parts.segments import Segment


@pytest.fixture
def manual_dir(tmp_path):
    for name in ("public/bus01.wav", "private/deeper/bus01.wav", "private/deeper/tube01.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def paths(manual_dir, *segments):
    plan = Plan(manual_dir, (".wav",))
    plan.add("all", segments)
    (shard,) = plan.shards("all", 1)
    return {segment.clip_id: path.removeprefix(f"{manual_dir}/") for segment, path, _ in shard}


def test_a_segment_of_a_folder_gets_the_file_that_is_in_it(manual_dir):
    found = paths(
        manual_dir,
        Segment("a", "bus01", (), folder="public"),
        Segment("b", "bus01", (), folder="private"),
        Segment("c", "tube01", (), folder="private"),
        Segment("d", "tube01", (), folder="public"),  # it is in the other folder
        Segment("e", "tube01", (), folder="absent"),
        Segment("f", "bus01", (), start_seconds=3, duration_seconds=2, folder="private"),
    )
    assert found == {
        "a": "public/bus01.wav",
        "b": "private/deeper/bus01.wav",
        "c": "private/deeper/tube01.wav",
        "f": "private/deeper/bus01.wav",
    }


def test_a_segment_of_no_folder_gets_the_first_file_anywhere(manual_dir):
    assert paths(manual_dir, Segment("a", "bus01", ()), Segment("b", "tube01", ())) == {
        "a": "private/deeper/bus01.wav",
        "b": "private/deeper/tube01.wav",
    }


def test_the_folder_is_named_where_nothing_is_found(manual_dir):
    plan = Plan(manual_dir, (".wav",))
    plan.add("test", [Segment("a", "park01", (), folder="public")])
    with pytest.raises(ValueError, match=r"Looked for .*: 'public/park01'"):
        plan.check_any_found()
