"""Annotation files: a download is the recorded file, or is reported to have no record."""

import functools
import hashlib
import http.server
import shutil
import socket
import threading
import time

import pytest
import tensorflow_datasets as tfds

from data_builders.clips import annotation_sources
from tests.helpers.build_dataset import build
from tests.helpers.small_clips import SmallClips

TEXT = b"train a00 low\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def official(tmp_path):
    """Yield the address of a local server that has `clips.txt` and `clips.zip`."""
    folder = tmp_path / "official"
    (folder / "packed").mkdir(parents=True)
    (folder / "clips.txt").write_bytes(TEXT)
    (folder / "packed" / "clips.txt").write_bytes(TEXT)
    shutil.make_archive(str(folder / "clips"), "zip", folder / "packed")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}"
        server.shutdown()


def manager(tmp_path, **options):
    (tmp_path / "manual").mkdir(exist_ok=True)
    return tfds.download.DownloadManager(
        download_dir=tmp_path / "downloads", manual_dir=tmp_path / "manual", dataset_name="small", **options
    )


def recorded(url, checksum):
    return {url: tfds.download.checksums.UrlInfo(len(TEXT), checksum, "clips.txt")}


def test_a_file_without_a_record_is_accepted_and_reported(official, tmp_path, capsys, monkeypatch):
    url = f"{official}/clips.txt"
    assert annotation_sources.annotation_file(manager(tmp_path), "clips.txt", url).read_bytes() == TEXT
    reported = f"{url} has no recorded checksum and is accepted unchecked: {len(TEXT)} bytes, sha256 {SHA256}. "
    assert f"{reported}To record it, so that any other file is refused: tfds build ... --reg" in capsys.readouterr().out
    monkeypatch.setattr(annotation_sources, "check_reachable", None)  # not called:
    annotation_sources.annotation_file(manager(tmp_path), "clips.txt", url)  # it comes from the cache
    assert reported in capsys.readouterr().out


def test_a_record_can_be_made_and_is_then_checked_silently(official, tmp_path, capsys):
    url, checksums = f"{official}/clips.txt", tmp_path / "checksums.tsv"
    checksums.touch()
    register = manager(tmp_path, register_checksums=True, register_checksums_path=checksums)
    annotation_sources.annotation_file(register, "clips.txt", url)
    assert checksums.read_text() == f"{url}\t{len(TEXT)}\t{SHA256}\tclips.txt\n"
    shutil.rmtree(tmp_path / "downloads")
    kept = manager(tmp_path, url_infos=tfds.download.checksums.load_url_infos(checksums))
    assert annotation_sources.annotation_file(kept, "clips.txt", url).read_bytes() == TEXT
    assert capsys.readouterr().out == ""


def test_a_file_that_differs_from_its_record_is_refused(official, tmp_path):
    url = f"{official}/clips.txt"
    message = (
        rf"{url} is not the file that was recorded.\nRecorded: 14 bytes, sha256 0{{64}}\n"
        rf"Fetched:  14 bytes, sha256 {SHA256}\nRun the command again.*put clips.txt in --manual_dir=.*/manual"
    )
    for _ in range(2):  # a refused file is not in the cache
        with pytest.raises(ValueError, match=message):
            annotation_sources.annotation_file(manager(tmp_path, url_infos=recorded(url, "0" * 64)), "clips.txt", url)


def test_an_archive_is_unpacked(official, tmp_path, capsys):
    folder = annotation_sources.fetch(manager(tmp_path), "clips.txt", f"{official}/clips.zip", unpack=True)
    assert [path.name for path in folder.iterdir()] == ["clips.txt"]
    assert "clips.zip has no recorded checksum and is accepted unchecked" in capsys.readouterr().out


def test_a_file_that_cannot_be_fetched_is_named_with_its_address(official, tmp_path):
    with pytest.raises(
        ValueError, match=r"^absent.csv: not in --manual_dir=.*, and http\S+/absent.csv cannot be fetched"
    ):
        annotation_sources.annotation_file(manager(tmp_path), "absent.csv", f"{official}/absent.csv")


@pytest.mark.parametrize("server", ["refuses", "is silent", "has no known address"])
def test_without_a_network_the_build_ends_at_once(tmp_path, monkeypatch, server):
    def look_up(*args, **kwargs):
        time.sleep(4)
        raise socket.gaierror

    monkeypatch.setattr(annotation_sources, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("localhost", 0)) as silent:
        port = silent.getsockname()[1]
        if server == "refuses":
            silent.close()
        elif server == "has no known address":
            monkeypatch.setattr(socket, "getaddrinfo", look_up)
        start = time.monotonic()
        message = rf"^clips.txt: not in --manual_dir=.*/manual, and http://localhost:{port}/clips.txt cannot be fetched"
        with pytest.raises(
            ValueError, match=message + r" \(.*\)\. Fetch it by hand, and put clips.txt in --manual_dir="
        ):
            annotation_sources.annotation_file(manager(tmp_path), "clips.txt", f"http://localhost:{port}/clips.txt")
    assert time.monotonic() - start < 3


def test_the_users_own_file_comes_first(tmp_path):
    (tmp_path / "manual" / "annotations").mkdir(parents=True)
    (tmp_path / "manual" / "annotations" / "clips.txt").write_text("own")
    found = annotation_sources.annotation_file(manager(tmp_path), "clips.txt", "http://localhost:1/clips.txt")
    assert found.read_text() == "own"


@pytest.mark.parametrize("flag", ["--manual_dir", "--data_dir"])
@pytest.mark.parametrize("folder", ["gs://bucket/some/path", "s3://bucket/some/path"])
def test_a_bucket_is_refused_with_the_command_that_mounts_it(tmp_path, flag, folder):
    mount = rf"gcsfuse --implicit-dirs bucket MOUNT, and give {flag}=MOUNT/some/path \(docs/"
    with pytest.raises(ValueError, match=rf"{flag}={folder} is a bucket; .* {mount}"):
        annotation_sources.check_local(flag, folder)
    with pytest.raises(ValueError, match=rf"{flag}='MOUNT/a b' \(docs/"):
        annotation_sources.check_local(flag, "gs://bucket/a b")
    annotation_sources.check_local(flag, tmp_path / "a:b")
    annotation_sources.check_local(flag, None)


def test_a_build_from_or_to_a_bucket_is_refused_at_the_start(tmp_path):
    with pytest.raises(ValueError, match=r"--manual_dir=gs://bucket/clips is a bucket.*give --manual_dir=MOUNT/clips"):
        build(SmallClips, "plain", "gs://bucket/clips", tmp_path)
    assert not list(tmp_path.rglob("*.unfinished"))
    with pytest.raises(ValueError, match=r"--data_dir=gs://bucket/data is a bucket; .*give --data_dir=MOUNT/data"):
        SmallClips(config="plain", data_dir="gs://bucket/data")
