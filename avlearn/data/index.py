"""Finds each record of a split, and decides whether tables of contents (`avlearn.data.contents`) can be used."""

import dataclasses
import functools
import os
import re
import shlex
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
from etils import epath
from jaxtyping import Int64

from avlearn.data import contents, tfrecord_file
from avlearn.data.tfrecord_file import CHECKSUM_BYTES, FRAMING_BYTES, LENGTH_BYTES

SCAN_THREADS = 16  # more than cores, because scanning waits for the disk or the network, not for the CPU
# Per split; each shard has a table. Linux lets a process map 65,530 regions of memory, and a run has three splits.
MAX_MAPPED_SHARDS = 10_000
LOCAL_FILE_SYSTEMS = re.compile("apfs|btrfs|exfat|ext[234]|f2fs|hfs|ntfs3?|overlay|ramfs|tmpfs|vfat|xfs|zfs")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A TFRecord file, known by the framing of its records.

    Attributes:
      file: path.
      offset: byte at which each record begins.
      checksum: `contents.records_checksum` of all its records.
      num_bytes: size of the file.
    """

    file: str
    offset: Int64[np.ndarray, " records"]
    checksum: int
    num_bytes: int


def scan_shards(files: Sequence[str], shard_lengths: Sequence[int], rebuild_hint: str) -> list[Shard]:
    """Find the records of shards; reads only the framing.

    Args:
      files: paths of the shards.
      shard_lengths: number of records of each shard.
      rebuild_hint: how to write the shards again, for error messages.

    Raises:
      ValueError: a shard is missing, damaged or cut short, or two have the same records.
    """
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        shards = list(pool.map(functools.partial(_scan, rebuild_hint=rebuild_hint), files, shard_lengths))
    first: dict[tuple[int, int], Shard] = {}  # of 65,536 shards, two have the same checksum by chance
    for shard in shards:
        other = first.setdefault((shard.checksum, shard.num_bytes), shard)
        if len(shard.offset) and other is not shard and np.array_equal(shard.offset, other.offset):
            raise ValueError(
                f"{shard.file} has the same records as {other.file}: one was copied over the other. {rebuild_hint}"
            )
    return shards


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
    return f"avlearn contents {shlex.quote(os.path.dirname(files[0]))}"


def scan_tables(shards: Sequence[Shard]) -> list[Shard]:
    """Find the entries of the shards' tables of contents; reads only their framing and the last entry.

    Raises:
      ValueError: a table is damaged, of an early version, or belongs to other records.
    """
    rebuild_hint = f"Write it again: {contents_command([shard.file for shard in shards])}"
    files = [shard.file + contents.SUFFIX for shard in shards]
    tables = scan_shards(files, [len(shard.offset) for shard in shards], rebuild_hint)
    for shard, table in zip(shards, tables, strict=True):
        if len(shard.offset):
            _check_table(shard, table, rebuild_hint)
    return tables


def _check_table(shard: Shard, table: Shard, rebuild_hint: str) -> None:
    try:
        with open(table.file, "rb") as file:
            file.seek(int(table.offset[-1]))
            _, entry = next(tfrecord_file.read(file))
        end, checksum = contents.shard_of(entry)
    except ValueError:
        end, checksum = -1, -1
    if checksum is None:
        raise ValueError(
            f"{table.file} is of an early version, which does not show whether it belongs to its shard. {rebuild_hint}"
        )
    if end + CHECKSUM_BYTES != shard.num_bytes or checksum != shard.checksum:
        raise ValueError(
            f"{table.file} is not the table of contents of its shard: one of the two was written again or copied. "
            f"{rebuild_hint}"
        )


def _scan(file: str, records: int, *, rebuild_hint: str) -> Shard:
    """Return the offset of each record of a shard, and the checksum of their checksums; reads only the framing."""
    path = epath.Path(file)
    if not path.exists():
        raise ValueError(f"{path} is missing. {rebuild_hint}")
    found, checksum, position, size = [], 0, 0, path.stat().length
    with path.open("rb") as shard:
        while position + FRAMING_BYTES <= size:
            (length,) = struct.unpack("<Q", shard.read(LENGTH_BYTES))
            found.append(position)
            position += length + FRAMING_BYTES
            if position <= size:
                shard.seek(position - CHECKSUM_BYTES)  # the next record follows
                checksum = contents.records_checksum(shard.read(CHECKSUM_BYTES), checksum)
    if position != size or len(found) != records:
        raise ValueError(
            f"{path} is damaged or cut short: {records} records were written, but its {size} bytes hold "
            f"{len(found) - (position > size)} complete ones. {rebuild_hint}"
        )
    return Shard(file, np.array(found, np.int64), checksum, size)


def file_system(path: str) -> str:
    """Return the type of file system that a file is on, such as `ext4`; empty if unknown or for a URL (`gs://...`)."""
    if "://" in path:
        return ""
    path = os.path.realpath(path)
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    above = [mount for mount in mounts if os.path.commonpath([path, mount]) == mount]
    return mounts[max(above, key=len)] if above else ""
