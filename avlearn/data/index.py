"""Where each record of a split lies, and whether it can be read by tables of contents (`avlearn.data.contents`)."""

import functools
import os
import re
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
from etils import epath
from jaxtyping import Int64

from avlearn.data import contents, tfrecord_file
from avlearn.data.tfrecord_file import FRAMING_BYTES, HEADER_BYTES, LENGTH_BYTES

SCAN_THREADS = 16  # scanning waits for the disk or the network, not for the processor
MOST_MAPPED = 10_000  # shards of a split, each with its table; Linux lets a process map 65,530 pieces of memory, and
# a run has three splits
LOCAL = re.compile("apfs|btrfs|exfat|ext[234]|f2fs|hfs|ntfs3?|overlay|ramfs|tmpfs|vfat|xfs|zfs")  # file systems


def of_shards(files: Sequence[str], shard_lengths: Sequence[int], mend: str) -> Int64[np.ndarray, " clips"]:
    """Where each record begins in its shard, from the headers only.

    Args:
      files: the shards.
      shard_lengths: records of each.
      mend: the command that writes them anew.

    Raises:
      ValueError: a shard is missing, or does not hold what was written.
    """
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        return np.concatenate(list(pool.map(functools.partial(_scan, mend=mend), files, shard_lengths)))


def why_whole(files: Sequence[str]) -> str:
    """Why whole records are to be read; empty where the tables of contents can be used."""
    stored = file_system(files[0])
    if not LOCAL.fullmatch(stored):
        return (
            f"the records are not on a local disk ({stored or 'unknown'}), and elsewhere one long read is quicker than "
            "many short ones"
        )
    if len(files) > MOST_MAPPED:
        return f"of the split's {len(files):,} shards {MOST_MAPPED:,} can be mapped; fewer and larger ones would do"
    if not all(os.path.exists(file + contents.SUFFIX) for file in files):
        return f"there are no tables of contents; `{contents_command(files)}` writes them"
    return ""


def contents_command(files: Sequence[str]) -> str:
    """The command that writes the tables of contents of some shards."""
    return f"avlearn contents {os.path.dirname(files[0])}"


def of_contents(files: Sequence[str], shard_lengths: Sequence[int]) -> Int64[np.ndarray, " clips"]:
    """Offset of each record's example in the tables of contents.

    Raises:
      ValueError: a table is damaged, or of another shard.
    """
    mend = f"Write it anew: {contents_command(files)}"
    offset = of_shards([file + contents.SUFFIX for file in files], shard_lengths, mend)
    for file, last, length in zip(files, offset[np.cumsum(shard_lengths) - 1], shard_lengths, strict=True):
        if not length:
            continue
        try:
            with open(file + contents.SUFFIX, "rb") as table:
                table.seek(last)
                _, entry = next(tfrecord_file.read(table))
            end = contents.end_of_record(entry)
        except ValueError:
            end = -1
        if end + FRAMING_BYTES - HEADER_BYTES != os.path.getsize(file):
            raise ValueError(f"{file}{contents.SUFFIX} is not the table of contents of this shard. {mend}")
    return offset


def _scan(path: str, records: int, *, mend: str) -> Int64[np.ndarray, " records"]:
    """Offset of each record of a shard, from the headers only."""
    path = epath.Path(path)
    if not path.exists():
        raise ValueError(f"{path} is missing. {mend}")
    found, position, size = [], 0, path.stat().length
    with path.open("rb") as shard:
        while position + FRAMING_BYTES <= size:
            shard.seek(position)
            (length,) = struct.unpack("<Q", shard.read(LENGTH_BYTES))
            found.append(position)
            position += length + FRAMING_BYTES
    if position != size or len(found) != records:
        raise ValueError(
            f"{path} is damaged or cut short: {records} records were written, its {size} bytes hold "
            f"{len(found) - (position > size)} whole ones. {mend}"
        )
    return np.array(found, np.int64)


def file_system(path: str) -> str:
    """Kind of the file system that a file is on, such as `ext4`; empty for an address as `gs://...`, or if unknown."""
    if "://" in path:
        return ""
    path = os.path.realpath(path)
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    above = [mount for mount in mounts if os.path.commonpath([path, mount]) == mount]
    return mounts[max(above, key=len)] if above else ""
