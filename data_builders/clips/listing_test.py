"""Folders with more files than should be held in memory."""

import hashlib
import pathlib
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from data_builders.clips import clip_files
from data_builders.clips import listing as listing_module
from data_builders.clips.listing import Listing

COUNT = 5000


def test_the_first_file_of_each_name_is_listed():
    paths = ("/f/b.mp4", "/f/x/a.mp4", "/f/b.webm", "/f/y/b.mp4")
    listing = Listing(pathlib.Path("/f"), paths, lambda path: path.stem)
    assert sorted(listing.names) == ["a", "b"]
    assert sorted(listing.relative_paths(slice(0, 9))) == ["b.mp4", "x/a.mp4"]
    assert list(listing.same_name) == ["b.webm: b.mp4 is used", "y/b.mp4: b.mp4 is used"]
    assert (listing.path("b"), listing.path("c")) == ("b.mp4", None)


def test_the_first_file_of_each_content_is_listed(tmp_path):
    contents = {"a": b"one", "b": b"two", "c": b"one", "d": b"longer", "e": b"", "f": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "0").symlink_to(tmp_path / "d")
    listing = Listing(tmp_path, [str(tmp_path / name) for name in ("0", *contents)], str)
    listing.drop_copies()
    assert list(listing.names) == ["0", "a", "b", "e", "f"]
    assert list(listing.same_contents) == ["c: a is used", "d: 0 is used"]


def test_only_files_with_the_same_ends_are_read_in_full(tmp_path, monkeypatch):
    ends, middle = b"x" * listing_module.END_BYTES, b"middle"
    contents = {
        "a": ends + middle + ends,
        "b": ends + middle[::-1] + ends,
        "c": b"y" + ends + middle[1:] + ends,
        "d": ends + middle + ends[1:] + b"z",
        "e": ends + middle + ends,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    read = []
    digest = listing_module._digest
    monkeypatch.setattr(listing_module, "_digest", lambda file: read.append(file.name) or digest(file))
    listing = Listing(tmp_path, [str(tmp_path / name) for name in contents], str)
    listing.drop_copies()
    assert read == [str(tmp_path / name) for name in "abe"]
    assert list(listing.same_contents) == ["e: a is used"]


def test_files_without_a_record_come_last():
    listing = Listing(pathlib.Path("/f"), [f"/f/{number}" for number in range(4)], str)
    order = list(listing.relative_paths(slice(0, 4)))
    for name, built in ((order[0], False), (order[1], True), (order[2], True), (order[2], False)):
        listing.record(name, built=built)
    assert listing.unusable == 1
    assert list(listing.relative_paths(slice(0, 4))) == [*order[1:], order[0]]


def test_parts_are_cut_from_the_order_by_hash():
    files = [f"{number}.mp4" for number in range(20)]
    by_hash = sorted(files, key=lambda path: hashlib.sha256(path.encode()).hexdigest())
    listing = Listing(pathlib.Path("/f"), [f"/f/{file}" for file in files], str)
    assert list(listing.relative_paths(slice(0, 20))) == by_hash
    assert list(listing.relative_paths(slice(3, 7))) == by_hash[3:7]
    assert len(listing.relative_paths(slice(3, 7))) == 4
    assert by_hash != files


def peak_of_listing(folder: pathlib.Path) -> int:
    """Peak of Python's memory, in bytes, while a folder is listed."""

    def list_folder():
        listing = Listing(folder, (file.path for file in clip_files.walk(folder, (".mp4",))), lambda path: path.stem)
        listing.drop_copies()
        return listing

    list_folder()  # warms up caches
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        listing = list_folder()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert list(listing.names) == [f"{number:06d}" for number in range(COUNT)]
    return min(peaks)  # Python's table of strings that pathlib interns may be resized in one of them


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    for number in range(COUNT):
        (tmp_path / f"{number:06d}.mp4").touch()
    # In a fresh process: threads that other tests started in this one allocate memory, too.
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        peak = fresh.submit(peak_of_listing, tmp_path).result()
    assert peak < 10 * COUNT  # bytes; a name alone takes 60
