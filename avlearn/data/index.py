"""Finds each record of a split, and decides whether tables of contents (`avlearn.data.contents`) can be used."""

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

SCAN_THREADS = 16  # more than cores, because scanning waits for the disk or the network, not for the CPU
# Per split; each shard has a table. Linux lets a process map 65,530 regions of memory, and a run has three splits.
MAX_MAPPED_SHARDS = 10_000
LOCAL_FILE_SYSTEMS = re.compile("apfs|btrfs|exfat|ext[234]|f2fs|hfs|ntfs3?|overlay|ramfs|tmpfs|vfat|xfs|zfs")


def record_offsets(
    files: Sequence[str], shard_lengths: Sequence[int], rebuild_hint: str
) -> Int64[np.ndarray, " clips"]:
    """Return the byte in its shard at which each record begins; reads only the headers.

    Args:
      files: paths of the shards.
      shard_lengths: number of records of each shard.
      rebuild_hint: how to write the shards again, for error messages.

    Raises:
      ValueError: a shard is missing, damaged or cut short.
    """
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        return np.concatenate(list(pool.map(functools.partial(_scan, rebuild_hint=rebuild_hint), files, shard_lengths)))


def full_records_reason(files: Sequence[str]) -> str:
    """Return the reason why records must be read in full; empty if the tables of contents can be used."""
    stored = file_system(files[0])
    if not LOCAL_FILE_SYSTEMS.fullmatch(stored):
        return (
            f"the records are not on a local disk ({stored or 'unknown'}), and one long read is faster there than many "
            "short ones"
        )
    if len(files) > MAX_MAPPED_SHARDS:
        return (
            f"the split has {len(files):,} shards, more than the {MAX_MAPPED_SHARDS:,} that can be mapped into memory"
        )
    if not all(os.path.exists(file + contents.SUFFIX) for file in files):
        return f"the tables of contents are missing; `{contents_command(files)}` writes them"
    return ""


def contents_command(files: Sequence[str]) -> str:
    """Return the command that writes the tables of contents of shards."""
    return f"avlearn contents {os.path.dirname(files[0])}"


def entry_offsets(files: Sequence[str], shard_lengths: Sequence[int]) -> Int64[np.ndarray, " clips"]:
    """Return the byte in its table of contents at which each record's entry begins.

    Raises:
      ValueError: a table is damaged, or belongs to another shard.
    """
    rebuild_hint = f"Write it again: {contents_command(files)}"
    offset = record_offsets([file + contents.SUFFIX for file in files], shard_lengths, rebuild_hint)
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
            raise ValueError(f"{file}{contents.SUFFIX} is not the table of contents of its shard. {rebuild_hint}")
    return offset


def _scan(file: str, records: int, *, rebuild_hint: str) -> Int64[np.ndarray, " records"]:
    """Return the offset of each record of a shard; reads only the headers."""
    path = epath.Path(file)
    if not path.exists():
        raise ValueError(f"{path} is missing. {rebuild_hint}")
    found, position, size = [], 0, path.stat().length
    with path.open("rb") as shard:
        while position + FRAMING_BYTES <= size:
            shard.seek(position)
            (length,) = struct.unpack("<Q", shard.read(LENGTH_BYTES))
            found.append(position)
            position += length + FRAMING_BYTES
    if position != size or len(found) != records:
        raise ValueError(
            f"{path} is damaged or cut short: {records} records were written, but its {size} bytes hold "
            f"{len(found) - (position > size)} complete ones. {rebuild_hint}"
        )
    return np.array(found, np.int64)


def file_system(path: str) -> str:
    """Return the type of file system that a file is on, such as `ext4`; empty if unknown or for a URL (`gs://...`)."""
    if "://" in path:
        return ""
    path = os.path.realpath(path)
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    above = [mount for mount in mounts if os.path.commonpath([path, mount]) == mount]
    return mounts[max(above, key=len)] if above else ""
