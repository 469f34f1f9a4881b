"""Reads the records of several clips at a time: small values at once, and only the needed parts of large values.

Large values (`contents.LARGE`) are frames, flow, log-spectrogram and waveform. A value has one piece or several, such
as the frames of a clip. `Pieces` returns the *location* of a piece, or of a part of it, as a tensor; `Records` reads
the bytes at a location. The functions run in TensorFlow's graph.
"""

import abc
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from avlearn.data.mapped_files import MappedFiles


class Pieces(abc.ABC):
    """One large value of several clips, in pieces."""

    def __init__(self, pieces: tf.RaggedTensor, values_per_piece: int):
        """Index the pieces: `pieces` `[clips, ...]` holds `values_per_piece` values for each piece."""
        self._first = pieces.row_starts() // values_per_piece
        self._count = pieces.row_lengths() // values_per_piece

    @abc.abstractmethod
    def num_bytes(self) -> tf.Tensor:
        """Return the size of each clip's first piece, int64 `[clips]`."""

    def pick(self, numbers: tf.Tensor) -> tf.Tensor:
        """Return the locations of pieces by their numbers in the clip, `[clips, ...]`.

        Raises (when the graph runs):
          tf.errors.InvalidArgumentError: a clip has fewer pieces.
        """
        exist = tf.reduce_all((numbers >= 0) & (numbers < _expand_like(self._count, numbers)))
        complaint = ["pieces", numbers, "do not all exist; the numbers of pieces are", self._count]
        with tf.control_dependencies([tf.debugging.Assert(exist, complaint)]):
            return self._pick(_expand_like(self._first, numbers) + numbers)

    @abc.abstractmethod
    def _pick(self, numbers: tf.Tensor) -> tf.Tensor:
        """Return locations as `pick` does, by numbers counted over all clips."""

    def cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        """Return the locations of `count` bytes of each clip's first piece.

        Args:
          first: first bytes, int64 `[clips, n]`.
          count: number of bytes.

        Raises (when the graph runs):
          tf.errors.InvalidArgumentError: the bytes are not all within the piece.
        """
        last = self.num_bytes()[:, None] - count
        fits = tf.reduce_all((first >= 0) & (first <= last))
        complaint = [count, "bytes from", first, "on are not all within the values, whose sizes are", self.num_bytes()]
        with tf.control_dependencies([tf.debugging.Assert(fits, complaint)]):
            return self._cut(first, count)

    @abc.abstractmethod
    def _cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        """Return locations as `cut` does, without the check."""


class Records(abc.ABC):
    """Reader of some values of records.

    Attributes:
      max_clips: largest number of clips in one call.
    """

    max_clips: int

    @abc.abstractmethod
    def __call__(self, clips: tf.Tensor) -> dict:
        """Read clips by number `[clips]`: small values as from `tf.io.parse_example`, large ones as `Pieces`."""

    @abc.abstractmethod
    def strings(self, locations: tf.Tensor) -> tf.Tensor:
        """Read the bytes at locations, as strings."""

    @abc.abstractmethod
    def rows(self, locations: tf.Tensor, count: int) -> tf.Tensor:
        """Read the bytes at n locations, each `count` bytes long, uint8 `[n, count]`."""


class FullRecords(Records):
    """Reader of complete records, on any file system, which verifies their checksums."""

    max_clips = 1  # a record may take megabytes

    def __init__(self, read: Callable[[tf.Tensor], tf.Tensor], features: Mapping[str, object], large: Sequence[str]):
        """Store the settings; nothing is read yet.

        Args:
          read: TensorFlow function from the number of a clip to its serialized record.
          features: features to parse, as for `tf.io.parse_example`.
          large: names of the large values to read.
        """
        self._read, self._large = read, large
        self._features = {**features, **dict.fromkeys(large, tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64))}

    def __call__(self, clips: tf.Tensor) -> dict:
        """Read one clip; see `Records`."""
        parsed = tf.io.parse_example(self._read(tf.ensure_shape(clips, (1,))[0])[None], self._features)
        return parsed | {name: LoadedPieces(parsed[name]) for name in self._large}

    def strings(self, locations: tf.Tensor) -> tf.Tensor:
        """Return the locations, which are the bytes themselves."""
        return locations

    def rows(self, locations: tf.Tensor, count: int) -> tf.Tensor:
        """Read the bytes at locations; see `Records`."""
        return tf.ensure_shape(tf.io.decode_raw(locations, tf.uint8), (locations.shape[0], count))


class LoadedPieces(Pieces):
    """Pieces that have already been read: a location is a string, the bytes themselves."""

    def __init__(self, pieces: tf.RaggedTensor):
        super().__init__(pieces, 1)
        self._pieces = pieces.values

    def num_bytes(self) -> tf.Tensor:
        """Return the size of each clip's first piece; see `Pieces`."""
        return tf.cast(tf.strings.length(self._pick(self._first)), tf.int64)

    def _pick(self, numbers: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._pieces, numbers)

    def _cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        pieces = tf.repeat(self._pick(self._first)[:, None], tf.shape(first)[1], axis=1)
        return tf.strings.substr(pieces, first, tf.fill(tf.shape(first), tf.constant(count, tf.int64)))


class PartialRecords(Records):
    """Reader of parts of records, which finds them in tables of contents (`avlearn.data.contents`)."""

    max_clips = sys.maxsize

    def __init__(
        self,
        tables: MappedFiles,
        shards: MappedFiles,
        file: np.ndarray,
        offset: np.ndarray,
        features: Mapping[str, object],
        large: Sequence[str],
    ):
        """Store the settings; nothing is read yet.

        Args:
          tables: tables of contents of the shards; the caller keeps a reference to them and to `shards`.
          shards: shards, with the large values.
          file: number of each clip's shard.
          offset: byte in the table at which each clip's entry begins.
          features: features to parse, as for `tf.io.parse_example`.
          large: names of the large values to read.
        """
        self._tables, self._shards, self._large = tables, shards, large
        self._file, self._offset = (tf.constant(values, tf.int64) for values in (file, offset))
        self._features = {
            **features,
            **dict.fromkeys(large, tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)),
        }

    def __call__(self, clips: tf.Tensor) -> dict:
        """Read clips; see `Records`."""
        file = tf.gather(self._file, clips)
        entries = _call_numpy(self._tables.records, [file, tf.gather(self._offset, clips)], tf.string)
        parsed = tf.io.parse_example(tf.ensure_shape(entries, clips.shape), self._features)
        return parsed | {name: ShardPieces(file, parsed[name]) for name in self._large}

    def strings(self, locations: tf.Tensor) -> tf.Tensor:
        """Read the bytes at locations, as strings; see `Records`."""
        return tf.ensure_shape(_call_numpy(self._shards.strings, [locations], tf.string), locations.shape[:-1])

    def rows(self, locations: tf.Tensor, count: int) -> tf.Tensor:
        """Read the bytes at locations; see `Records`."""
        found = _call_numpy(self._shards.rows, [locations, tf.constant(count)], tf.uint8)
        return tf.ensure_shape(found, (locations.shape[0], count))


def _call_numpy(method: Callable, arguments: list, dtype: tf.DType) -> tf.Tensor:
    """Call a method of mapped files in TensorFlow's graph.

    TensorFlow never releases the function, so it holds only a weak reference to the files; the open split owns them.
    """
    weakly = weakref.WeakMethod(method)

    def call(*values: np.ndarray | np.generic) -> np.ndarray:  # a scalar arrives as np.generic
        strongly = weakly()
        assert strongly is not None, "the split is closed"
        return strongly(*map(np.asarray, values))

    return tf.numpy_function(call, arguments, dtype, stateful=False)


class ShardPieces(Pieces):
    """Pieces in shards: a location is a row of integers, see `MappedFiles`."""

    def __init__(self, file: tf.Tensor, spans: tf.RaggedTensor):
        super().__init__(spans, 2)
        self._file, self._spans = file, tf.reshape(spans.values, (-1, 2))

    def num_bytes(self) -> tf.Tensor:
        """Return the size of each clip's first piece; see `Pieces`."""
        return tf.gather(self._spans, self._first)[:, 1]

    def _pick(self, numbers: tf.Tensor) -> tf.Tensor:
        spans = tf.gather(self._spans, numbers)
        return self._locations(numbers, spans[..., 0], spans[..., 1])

    def _cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        begin = tf.gather(self._spans, self._first)[:, :1] + first
        return self._locations(first, begin, tf.fill(tf.shape(first), tf.constant(count, tf.int64)))

    def _locations(self, like: tf.Tensor, begin: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.broadcast_to(_expand_like(self._file, like), tf.shape(like)), begin, size], axis=-1)


def _expand_like(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Add trailing axes of size 1 to values `[clips]`, so that they broadcast against `like` `[clips, ...]`."""
    return tf.reshape(values, [-1] + [1] * (len(like.shape) - 1))
