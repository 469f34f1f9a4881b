"""Folders of more files than anyone wants in memory."""

import hashlib
import pathlib
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from data_builders.clips import clip_files
from data_builders.clips.listing import Listing

COUNT = 5000


def test_of_each_name_there_is_the_first_file():
    paths = ("/f/b.mp4", "/f/x/a.mp4", "/f/b.webm", "/f/y/b.mp4")
    listing = Listing(pathlib.Path("/f"), paths, lambda place: place.stem)
    assert sorted(listing.names) == ["a", "b"]
    assert sorted(listing.relative_paths(slice(0, 9))) == ["b.mp4", "x/a.mp4"]
    assert list(listing.duplicates) == ["/f/b.webm", "/f/y/b.mp4"]


def test_parts_are_cut_from_an_order_by_hash():
    files = [f"{number}.mp4" for number in range(20)]
    by_hash = sorted(files, key=lambda place: hashlib.sha256(place.encode()).hexdigest())
    listing = Listing(pathlib.Path("/f"), [f"/f/{file}" for file in files], str)
    assert list(listing.relative_paths(slice(0, 20))) == by_hash
    assert list(listing.relative_paths(slice(3, 7))) == by_hash[3:7]
    assert len(listing.relative_paths(slice(3, 7))) == 4
    assert by_hash != files


def peak_of_going_through(folder: pathlib.Path) -> int:
    """Bytes of Python's that a listing of a folder needs at the most."""

    def go_through():
        return Listing(folder, (file.path for file in clip_files.walk(folder, (".mp4",))), lambda place: place.stem)

    go_through()  # makes what is made once
    tracemalloc.start()
    listing = go_through()
    peak = tracemalloc.get_traced_memory()[1]
    assert list(listing.names) == [f"{number:06d}" for number in range(COUNT)]
    return peak


def test_a_folder_of_any_size_is_gone_through_without_holding_it(tmp_path):
    for number in range(COUNT):
        (tmp_path / f"{number:06d}.mp4").touch()
    # In a process of its own: in this one, threads that other tests started allocate, too.
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        peak = fresh.submit(peak_of_going_through, tmp_path).result()
    assert peak < 10 * COUNT  # bytes; a name alone takes 60
