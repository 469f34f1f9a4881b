"""Memory-mapped files: only the pages that are accessed are read from disk."""

import ctypes
import functools
import mmap
import os
import weakref
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

from avlearn.data import tfrecord_file


class MappedFiles:
    """Files mapped into memory; mapping neither reads them nor keeps them open.

    A *location* is a row of three integers: number of the file, first byte, number of bytes. Each call asks the kernel
    to fetch all its locations before it copies the first one; other Python threads run while it waits for the disk.
    """

    def __init__(self, files: Sequence[str | os.PathLike]):
        """Map the files.

        Raises:
          OSError: a file cannot be mapped.
        """
        self._files = [_mapped(file) for file in files]
        self._sizes = np.array([file.size for file in self._files], np.int64)
        self._addresses = np.array([file.ctypes.data for file in self._files], np.int64)

    def records(self, files: Int[np.ndarray, " n"], offsets: Int[np.ndarray, " n"]) -> np.ndarray:
        """Return the records of TFRecord files at the given offsets of their framing: bytes, as objects `[n]`.

        Raises:
          ValueError: a checksum is wrong (`tfrecord_file.DAMAGED`).
        """
        heads = np.stack([files, offsets, np.full_like(offsets, tfrecord_file.HEADER_BYTES)], axis=1)
        self._prefetch(heads)
        framed = heads.copy()
        framed[:, 2] = [tfrecord_file.framed_size(head) for head in self._copies(heads)]
        return _objects([tfrecord_file.unframe(record) for record in self._copies(framed)])

    def strings(self, locations: Int[np.ndarray, "*shape 3"]) -> np.ndarray:
        """Return the bytes at each location, as objects of shape `locations.shape[:-1]`."""
        rows = locations.reshape(-1, 3)
        self._prefetch(rows)
        return _objects(self._copies(rows)).reshape(locations.shape[:-1])

    def rows(self, locations: Int[np.ndarray, "n 3"], count: int | Int[np.ndarray, ""]) -> UInt8[np.ndarray, "n count"]:
        """Return the bytes at n locations, each `count` bytes long."""
        self._prefetch(locations)
        out = np.empty((len(locations), count), np.uint8)
        for row, (file, begin, size) in zip(out, locations.tolist(), strict=True):
            row[:] = self._files[file][begin : begin + size]
        return out

    def _copies(self, locations: Int[np.ndarray, "n 3"]) -> list[bytes]:
        copies = []
        for file, begin, size in locations.tolist():
            copy = np.empty(size, np.uint8)  # NumPy releases the GIL while it copies, `bytes` does not
            copy[:] = self._files[file][begin : begin + size]
            copies.append(copy.tobytes())
        return copies

    def _prefetch(self, locations: Int[np.ndarray, "n 3"]) -> None:
        """Ask the kernel to fetch all locations at once rather than one after the other."""
        if (locations[:, 1] + locations[:, 2] > self._sizes[locations[:, 0]]).any():
            raise ValueError(tfrecord_file.DAMAGED)
        madvise = _libc().madvise
        begin = self._addresses[locations[:, 0]] + locations[:, 1]
        skipped = begin % mmap.PAGESIZE
        for address, size in zip((begin - skipped).tolist(), (locations[:, 2] + skipped).tolist(), strict=True):
            madvise(address, size, mmap.MADV_WILLNEED)


def _objects(values: list[bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _mapped(file: str | os.PathLike) -> UInt8[np.ndarray, " bytes"]:
    if not os.path.getsize(file):
        return np.empty(0, np.uint8)  # an empty file cannot be mapped
    return np.asarray(_Memory(file))


class _Memory:
    """A mapped file for `np.asarray`. `mmap.mmap` would keep the file open, and often only 1,024 may be open."""

    def __init__(self, file: str | os.PathLike):
        libc, size = _libc(), os.path.getsize(file)
        with open(file, "rb") as opened:
            address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, opened.fileno(), 0)
        if address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), os.fspath(file))
        weakref.finalize(self, libc.munmap, address, size).atexit = False  # threads may still be reading at exit
        # Otherwise reading a page also reads its neighbours, megabytes on some disks.
        libc.madvise(address, size, mmap.MADV_RANDOM)
        self.__array_interface__ = {"version": 3, "shape": (size,), "typestr": "|u1", "data": (address, True)}


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    region = (ctypes.c_void_p, ctypes.c_size_t)
    libc.mmap.argtypes = (*region, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes, libc.madvise.argtypes = region, (*region, ctypes.c_int)
    return libc
