"""Writes the tables of contents of a built dataset that has none, so that only what is used of a clip is read.

    python -m avlearn.write_contents data/audioset/instruments/1.0.0

Every record is read once for that, on all cores. The builders here write the tables themselves.
"""

import argparse
import pathlib
from concurrent.futures import ProcessPoolExecutor

import tqdm

from avlearn.data import contents


def main(arguments: list[str] | None = None) -> None:
    """Writes the tables of all shards of a dataset; ends with what is wrong, if anything."""
    parser = argparse.ArgumentParser(prog="python -m avlearn.write_contents", description=__doc__.split("\n")[0])
    parser.add_argument("dataset", type=pathlib.Path, help="the directory of a version of a built dataset")
    folder = parser.parse_args(arguments).dataset
    shards = sorted(path for path in folder.glob("*.tfrecord-*") if path.suffix.startswith(".tfrecord-"))
    if not shards:
        parser.error(f"{folder} holds no *.tfrecord-* files; give the directory of a version of a built dataset")
    with ProcessPoolExecutor() as processes:
        written = tqdm.tqdm(processes.map(contents.write, shards), total=len(shards), unit="shard")
        try:
            for _ in written:
                pass
        except (ValueError, OSError) as error:
            parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
