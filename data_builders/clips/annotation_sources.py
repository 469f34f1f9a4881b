"""Finds annotation files in the folder of the user's clips, or downloads them from their official addresses."""

import os
import pathlib
import shlex
import threading

import requests
import tensorflow_datasets as tfds

from data_builders.clips import tfds_internals

ANSWER_SECONDS = 15  # TFDS repeats a failed connection for minutes
MANUAL_DIR_HELP = "Give the folder of your clips: tfds build ... --manual_dir=FOLDER (see the dataset's README.md)."


def check_local(flag: str, folder: str | os.PathLike | None) -> None:
    """Refuse a bucket, since a build locks, links and seeks in files.

    Raises:
      ValueError: explains how to mount the bucket.
    """
    scheme, separator, location = os.fspath(folder or "").partition(":/")
    if separator and "/" not in scheme:
        location = location.lstrip("/")
        bucket, _, path = location.partition("/")
        raise ValueError(
            f"{flag}={scheme}://{location} is a bucket; datasets are built from folders to folders. Mount it on every "
            f"machine that builds, such as: gcsfuse --implicit-dirs {shlex.quote(bucket)} MOUNT, and give "
            f"{flag}={shlex.quote(f'MOUNT/{path}')} "
            "(docs/data/preparation.md, Many machines)"
        )


def manual_dir(dl_manager: tfds.download.DownloadManager, *, or_file: bool = False) -> pathlib.Path:
    """Return the folder that `--manual_dir` names.

    Args:
      dl_manager: download manager of the build.
      or_file: whether it may name a single file.

    Raises:
      ValueError: it is not given or does not exist.
    """
    folder = tfds_internals.manual_dir(dl_manager)
    check_local("--manual_dir", folder)
    if folder is None or not (os.path.isdir(folder) or (or_file and os.path.isfile(folder))):
        raise ValueError(f"--manual_dir={folder} is not a folder{' or a file' if or_file else ''}. {MANUAL_DIR_HELP}")
    return pathlib.Path(folder)


def annotation_file(dl_manager: tfds.download.DownloadManager, name: str, url: str = "") -> pathlib.Path:
    """Return an annotation file: from `--manual_dir` or its `annotations/` if it is there, else downloaded.

    Args:
      dl_manager: download manager of the build.
      name: name of the file.
      url: its official address; empty if a program cannot download it.

    Raises:
      ValueError: the file is not in the folder and cannot be downloaded.
    """
    folder = manual_dir(dl_manager)
    for parent in (folder, folder / "annotations"):
        if (parent / name).is_file():
            return parent / name
    if not url:
        raise ValueError(
            f"the annotation file {name} is not in --manual_dir={folder}; its README.md says where to get it"
        )
    return fetch(dl_manager, name, url)


def fetch(dl_manager: tfds.download.DownloadManager, names: str, url: str, *, unpack: bool = False) -> pathlib.Path:
    """Download a file from its official address; print its checksum if none is recorded.

    Args:
      dl_manager: download manager of the build.
      names: names of the annotation files in it, for messages.
      url: its address.
      unpack: whether it is an archive to unpack; then the folder of its contents is returned.

    Raises:
      ValueError: it cannot be downloaded, or differs from the recorded file.
    """
    by_hand = f"it by hand, and put {names} in --manual_dir={manual_dir(dl_manager)}"
    try:
        with tfds_internals.before_download(dl_manager, check_reachable):
            path = (dl_manager.download_and_extract if unpack else dl_manager.download)(url)
    except tfds_internals.NonMatchingChecksumError as error:
        expected, got = tfds_internals.expected_file(dl_manager, url), tfds_internals.received_file(dl_manager, url)
        raise ValueError(
            f"{url} is not the file that was recorded.\nRecorded: {_describe(expected)}\nFetched:  {_describe(got)}\n"
            "Run the command again, in case it was damaged during the download. If its publisher has changed it, look "
            f"at what has changed; then fetch {by_hand}, or record the new one: tfds build ... --register_checksums"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{names}: not in --manual_dir={manual_dir(dl_manager)}, and {url} cannot be fetched ({error}). Fetch "
            f"{by_hand}{' unpacked' if unpack else ''}"
        ) from error
    if tfds_internals.expected_file(dl_manager, url) is None and not dl_manager.register_checksums:
        got = _describe(tfds_internals.received_file(dl_manager, url))
        print(
            f"{url} has no recorded checksum and is accepted unchecked: {got}. To record it, so that any other file is "
            "refused: tfds build ... --register_checksums",
            flush=True,
        )
    return pathlib.Path(path)


def check_reachable(url: str) -> None:
    """Check that a server answers.

    Raises:
      OSError: it does not, or not within `ANSWER_SECONDS`.
    """
    errors = [TimeoutError(f"no answer in {ANSWER_SECONDS} s")]

    def ask():
        try:
            requests.get(url, stream=True, timeout=ANSWER_SECONDS).close()
        except Exception as error:
            errors[0] = error
        else:
            errors.clear()

    thread = threading.Thread(target=ask, daemon=True)  # looking up a host's address has no time limit
    thread.start()
    thread.join(ANSWER_SECONDS)
    for error in errors:
        raise error


def _describe(info: tfds.download.checksums.UrlInfo) -> str:
    return f"{int(info.size)} bytes, sha256 {info.checksum}"
