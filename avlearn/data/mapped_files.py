"""Files in memory, of which the disk delivers the pages that are looked at, and no others."""

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
    """Some files, mapped into memory; none is read or kept open by that.

    A *place* is a number of a file, the first byte, and how many bytes, a row of integers. All places of a call are
    announced to the disk before the first is copied, and while large pieces are waited for, other Python threads run.
    """

    def __init__(self, files: Sequence[str | os.PathLike]):
        """Maps them.

        Raises:
          OSError: one cannot be mapped.
        """
        self._files = [_mapped(file) for file in files]
        self._sizes = np.array([file.size for file in self._files], np.int64)
        self._addresses = np.array([file.ctypes.data for file in self._files], np.int64)

    def records(self, files: Int[np.ndarray, " n"], offsets: Int[np.ndarray, " n"]) -> np.ndarray:
        """Records of TFRecord files by where their framing begins; bytes, as objects `[n]`.

        Raises:
          ValueError: a checksum is wrong (`tfrecord_file.DAMAGED`).
        """
        heads = np.stack([files, offsets, np.full_like(offsets, tfrecord_file.HEADER_BYTES)], axis=1)
        self._announce(heads)
        whole = heads.copy()
        whole[:, 2] = [tfrecord_file.framed_bytes(head) for head in self._copied(heads)]
        return _objects([tfrecord_file.unframed(framed) for framed in self._copied(whole)])

    def strings(self, places: Int[np.ndarray, "*shape 3"]) -> np.ndarray:
        """What lies at some places, bytes, as objects of the shape of the places."""
        rows = places.reshape(-1, 3)
        self._announce(rows)
        return _objects(self._copied(rows)).reshape(places.shape[:-1])

    def rows(self, places: Int[np.ndarray, "n 3"], count: int | Int[np.ndarray, ""]) -> UInt8[np.ndarray, "n count"]:
        """What lies at places of `count` bytes."""
        self._announce(places)
        out = np.empty((len(places), count), np.uint8)
        for row, (file, begin, size) in zip(out, places.tolist(), strict=True):
            row[:] = self._files[file][begin : begin + size]
        return out

    def _copied(self, places: Int[np.ndarray, "n 3"]) -> list[bytes]:
        copies = []
        for file, begin, size in places.tolist():
            copy = np.empty(size, np.uint8)  # NumPy lets other threads run while it copies, `bytes` does not
            copy[:] = self._files[file][begin : begin + size]
            copies.append(copy.tobytes())
        return copies

    def _announce(self, places: Int[np.ndarray, "n 3"]) -> None:
        """Has the disk fetch them all at once, in place of one after the other."""
        if (places[:, 1] + places[:, 2] > self._sizes[places[:, 0]]).any():
            raise ValueError(tfrecord_file.DAMAGED)
        madvise = _libc().madvise
        begin = self._addresses[places[:, 0]] + places[:, 1]
        skipped = begin % mmap.PAGESIZE
        for address, size in zip((begin - skipped).tolist(), (places[:, 2] + skipped).tolist(), strict=True):
            madvise(address, size, mmap.MADV_WILLNEED)


def _objects(values: list[bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _mapped(file: str | os.PathLike) -> UInt8[np.ndarray, " bytes"]:
    if not os.path.getsize(file):
        return np.empty(0, np.uint8)  # nothing cannot be mapped
    return np.asarray(_Memory(file))


class _Memory:
    """A file in memory, to be made an array of. `mmap.mmap` keeps the file open, and of those 1,024 are often all."""

    def __init__(self, file: str | os.PathLike):
        libc, size = _libc(), os.path.getsize(file)
        with open(file, "rb") as opened:
            address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, opened.fileno(), 0)
        if address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), os.fspath(file))
        weakref.finalize(self, libc.munmap, address, size).atexit = False  # threads may still read then
        libc.madvise(address, size, mmap.MADV_RANDOM)  # else a page brings its neighbours, on some disks megabytes
        self.__array_interface__ = {"version": 3, "shape": (size,), "typestr": "|u1", "data": (address, True)}


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    place = (ctypes.c_void_p, ctypes.c_size_t)
    libc.mmap.argtypes = (*place, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes, libc.madvise.argtypes = place, (*place, ctypes.c_int)
    return libc
