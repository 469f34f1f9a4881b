"""Large values of a record, of which only what is used is decoded: pictures, log-spectrogram, waveform.

A value is one piece or, as the pictures of a clip, several. The functions run in TensorFlow's graph.
"""

import abc
import ctypes
import functools
import mmap
import os
import weakref
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class Pieces(abc.ABC):
    """A large value."""

    @abc.abstractmethod
    def __getitem__(self, number: tf.Tensor) -> tf.Tensor:
        """A piece by its number, a string."""

    @abc.abstractmethod
    def num_bytes(self) -> tf.Tensor:
        """Size of the first piece, int64."""

    @abc.abstractmethod
    def cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        """So many bytes of the first piece from one of them on, uint8 `[count]`."""


class InRecord(Pieces):
    """Of a record that was read whole.

    Args:
      pieces: strings, a vector.
    """

    FEATURE = tf.io.RaggedFeature(tf.string)

    def __init__(self, pieces: tf.Tensor):
        self._pieces = pieces

    def __getitem__(self, number: tf.Tensor) -> tf.Tensor:
        return self._pieces[number]

    def num_bytes(self) -> tf.Tensor:
        """See `Pieces`."""
        return tf.cast(tf.strings.length(self._pieces[0]), tf.int64)

    def cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        """See `Pieces`."""
        return tf.io.decode_raw(tf.strings.substr(self._pieces[0], first, count), tf.uint8)


class InShard(Pieces):
    """Of a shard that is mapped into memory: of the disk are read the pages that they lie on, and no others.

    Args:
      shard: all its bytes.
      places: of each piece, first byte and size; a vector, as `avlearn.data.contents` has it.
    """

    FEATURE = tf.io.RaggedFeature(tf.int64)

    def __init__(self, shard: tf.Tensor, places: tf.Tensor):
        self._shard, self._places = shard, tf.reshape(places, (-1, 2))

    def __getitem__(self, number: tf.Tensor) -> tf.Tensor:
        begin, size = tf.unstack(self._places[number])
        # TensorFlow has no function from bytes to a string; but a serialized tensor ends with its bytes.
        return tf.strings.substr(tf.io.serialize_tensor(self._shard[begin : begin + size]), -size, size)

    def num_bytes(self) -> tf.Tensor:
        """See `Pieces`."""
        return self._places[0, 1]

    def cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        """See `Pieces`."""
        begin = self._places[0, 0] + first
        return self._shard[begin : begin + count]


def mapped(files: Sequence[str | os.PathLike]) -> tf.Tensor:
    """Maps files into memory, none of which is read by that; for `at`.

    Raises:
      OSError: one cannot be mapped.
    """
    # A list of one tensor for each file, since only such a handle can stand in a vector and be picked by its number.
    empty = tf.raw_ops.EmptyTensorList(
        element_dtype=tf.uint8, element_shape=tf.constant([-1]), max_num_elements=tf.constant(1)
    )
    return tf.stack([tf.raw_ops.TensorListPushBack(input_handle=empty, tensor=_mapped(file)) for file in files])


def at(files: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """All bytes of one of the files that were `mapped`, uint8; not copied."""
    return tf.raw_ops.TensorListGetItem(
        input_handle=files[number], index=0, element_shape=tf.constant([-1]), element_dtype=tf.uint8
    )


def _mapped(file: str | os.PathLike) -> tf.Tensor:
    if not os.path.getsize(file):
        return tf.zeros(0, tf.uint8)  # nothing cannot be mapped
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Memory(file)).__dlpack__())


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
        # DLPack in its first form has no word for memory that must not be written, and so NumPy would keep it back.
        # TensorFlow writes into no tensor that somebody else holds, as a captured one always is.
        self.__array_interface__ = {"version": 3, "shape": (size,), "typestr": "|u1", "data": (address, False)}


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    place = (ctypes.c_void_p, ctypes.c_size_t)
    libc.mmap.argtypes = (*place, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes, libc.madvise.argtypes = place, (*place, ctypes.c_int)
    return libc
