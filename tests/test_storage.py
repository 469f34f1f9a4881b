"""Files that are replaced as a whole: what remains after an error, and errors that name a damaged file."""

import pathlib

import pytest

from avlearn import storage
from tests.helpers.full_disk import files_no_larger_than


def contents(folder: pathlib.Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_all_files_take_their_places_together(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old")
    with storage.replaced(one, two) as new:
        for path in new:
            path.write_text("new")
        assert one.read_text() == "old"
        assert not two.exists()
    assert contents(tmp_path) == {"one": "new", "two": "new"}


def test_after_a_full_disk_the_old_files_remain(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old")

    def replace():
        with storage.replaced(one, two) as new:
            for path, text in zip(new, ("new", "longer"), strict=True):
                path.write_text(text)

    with files_no_larger_than(4), pytest.raises(OSError, match="File too large"):
        replace()
    assert contents(tmp_path) == {"one": "old"}


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "absent", "No such file or directory")):
        with pytest.raises(ValueError, match=rf"{path} cannot be read \({reason}\)\. Evaluate it again\."):
            storage.read_json(path, "Evaluate it again.")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"[1]", b'{"a": "\xff"}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json is damaged \(.*\)\. Evaluate it again\."):
        storage.read_json(tmp_path / "x.json", "Evaluate it again.")
