"""Where annotations come from: the folder of the user's clips, or their official addresses."""

import os
import pathlib

import tensorflow_datasets as tfds

from data_builders.clips import tfds_internals

MANUAL_DIR_HELP = "Give the folder of your clips: tfds build ... --manual_dir=FOLDER (see the dataset's README.md)."


def check_local(flag: str, folder: str | os.PathLike | None) -> None:
    """Refuses a bucket: a build wants files that it can lock, link and seek in.

    Raises:
      ValueError: says how to mount it.
    """
    scheme, separator, place = os.fspath(folder or "").partition(":/")
    if separator and "/" not in scheme:
        place = place.lstrip("/")
        raise ValueError(
            f"{flag}={scheme}://{place}: datasets are built from and to folders, and a bucket is none. Mount it on "
            f"every machine that builds, such as: gcsfuse --implicit-dirs {place.partition('/')[0]} MOUNT, and give "
            f"{flag}=MOUNT/{place.partition('/')[2]} (docs/data_preparation.md, Many machines)"
        )


def manual_dir(dl_manager: tfds.download.DownloadManager) -> pathlib.Path:
    """The folder that `--manual_dir` names.

    Raises:
      ValueError: none is given, or it is not there.
    """
    folder = tfds_internals.manual_dir(dl_manager)
    check_local("--manual_dir", folder)
    if folder is None or not os.path.isdir(folder):
        raise ValueError(f"--manual_dir={folder} is no folder. {MANUAL_DIR_HELP}")
    return pathlib.Path(folder)


def annotation_file(dl_manager: tfds.download.DownloadManager, name: str, url: str = "") -> pathlib.Path:
    """An annotation file: from below `--manual_dir` where it is there, else downloaded.

    Args:
      dl_manager: of the build.
      name: of the file.
      url: its official address; empty where it cannot be fetched by a program.

    Raises:
      ValueError: it is neither there nor to be had.
    """
    folder = manual_dir(dl_manager)
    for place in (folder, folder / "annotations"):
        if (place / name).is_file():
            return place / name
    if not url:
        raise ValueError(
            f"the annotation file {name} is not in --manual_dir={folder}; its README.md says where to get it"
        )
    return fetched(dl_manager, name, url)


def fetched(dl_manager: tfds.download.DownloadManager, names: str, url: str, *, unpack: bool = False) -> pathlib.Path:
    """A file from its official address; says what it is where no checksum of it is recorded.

    Args:
      dl_manager: of the build.
      names: of the annotation files it is, or holds.
      url: its address.
      unpack: whether it is an archive; the answer is the folder of what it holds.

    Raises:
      ValueError: it cannot be fetched, or is another one than was recorded.
    """
    by_hand = f"it by hand, and put {names} in --manual_dir={manual_dir(dl_manager)}"
    try:
        path = (dl_manager.download_and_extract if unpack else dl_manager.download)(url)
    except tfds_internals.NonMatchingChecksumError as error:
        expected, got = tfds_internals.expected_file(dl_manager, url), tfds_internals.received_file(dl_manager, url)
        raise ValueError(
            f"{url} gave another file than the one that is recorded.\nRecorded: {_described(expected)}\nFetched:  "
            f"{_described(got)}\nRun the command again, in case it was damaged on the way. If its publisher has "
            f"changed it, look at what has changed; then fetch {by_hand}, or record the new one: tfds build ... "
            "--register_checksums"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{names}: not in --manual_dir={manual_dir(dl_manager)}, and {url} cannot be fetched ({error}). Fetch "
            f"{by_hand}{' unpacked' if unpack else ''}"
        ) from error
    if tfds_internals.expected_file(dl_manager, url) is None and not dl_manager.register_checksums:
        got = _described(tfds_internals.received_file(dl_manager, url))
        print(
            f"{url} has no recorded checksum, and is taken as it came: {got}"
            ". To record it, so that any other file is refused: tfds build ... --register_checksums",
            flush=True,
        )
    return pathlib.Path(path)


def _described(info: tfds.download.checksums.UrlInfo) -> str:
    return f"{int(info.size)} bytes, sha256 {info.checksum}"
