"""Where annotations come from: the folder of the user's clips, or their official addresses."""

import os
import pathlib

import tensorflow_datasets as tfds

MANUAL_DIR_HELP = "Give the folder of your clips: tfds build ... --manual_dir=FOLDER (see the dataset's README.md)."


def manual_dir(dl_manager: tfds.download.DownloadManager) -> pathlib.Path:
    """The folder that `--manual_dir` names.

    Raises:
      ValueError: none is given, or it is not there.
    """
    folder = dl_manager._manual_dir
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
    try:
        return pathlib.Path(dl_manager.download(url))
    except Exception as error:
        raise ValueError(
            f"the annotation file {name} is not in --manual_dir={folder}, and {url} cannot be fetched ({error}). Fetch "
            f"it by hand and put it there"
        ) from error
