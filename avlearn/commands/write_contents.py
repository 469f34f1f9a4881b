"""Writes a table of contents next to each shard of a built dataset, so that only the needed parts of clips are read.

    avlearn contents data/audioset/instruments/1.0.0

Reads every record once, on all cores. Datasets of the builders in data_builders/ already have these tables.
"""

import argparse
import pathlib

import loky
import tqdm

from avlearn.data import contents


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `avlearn contents`."""
    parser.add_argument(
        "dataset", metavar="FOLDER", type=pathlib.Path, help="version folder of a built dataset, such as the one above"
    )


def run(arguments: argparse.Namespace) -> str:
    """Write the tables of all shards of a dataset; return a line for the terminal.

    Raises:
      ValueError: the folder has no shards, a shard is damaged or cannot be read, or a table cannot be written.
    """
    folder = arguments.dataset
    shards = sorted(path for path in folder.glob("*.tfrecord-*") if path.suffix.startswith(".tfrecord-"))
    if not shards:
        raise ValueError(
            f"{folder} has no *.tfrecord-* files; name the version folder of a built dataset, such as "
            "data/audioset/instruments/1.0.0"
        )
    # loky's processes are started afresh: one that is forked where other threads run may hang.
    with loky.ProcessPoolExecutor() as processes:
        written = tqdm.tqdm(processes.map(contents.write, shards), total=len(shards), unit="shard")
        try:
            for _ in written:
                pass
        except OSError as error:
            raise ValueError(str(error)) from error
    return f"Wrote {len(shards)} tables of contents in {folder}"
