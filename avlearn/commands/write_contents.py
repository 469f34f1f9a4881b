"""Writes the tables of contents of a built dataset that has none, so that only what is used of a clip is read.

    avlearn contents data/audioset/instruments/1.0.0

Every record is read once for that, on all cores. The builders here write the tables themselves.
"""

import argparse
import pathlib
from concurrent.futures import ProcessPoolExecutor

import tqdm

from avlearn.data import contents


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `avlearn contents`."""
    parser.add_argument("dataset", type=pathlib.Path, help="the directory of a version of a built dataset")


def run(arguments: argparse.Namespace) -> str:
    """Writes the tables of all shards of a dataset; returns how many.

    Raises:
      ValueError: the directory has no shards, or a shard is damaged or cannot be read or written.
    """
    folder = arguments.dataset
    shards = sorted(path for path in folder.glob("*.tfrecord-*") if path.suffix.startswith(".tfrecord-"))
    if not shards:
        raise ValueError(f"{folder} holds no *.tfrecord-* files; give the directory of a version of a built dataset")
    with ProcessPoolExecutor() as processes:
        written = tqdm.tqdm(processes.map(contents.write, shards), total=len(shards), unit="shard")
        try:
            for _ in written:
                pass
        except OSError as error:
            raise ValueError(str(error)) from error
    return f"Wrote the tables of contents of {len(shards)} shards in {folder}"
