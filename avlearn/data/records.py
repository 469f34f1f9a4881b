"""Reads records, those of several clips at a time: what is small of them, and of what is large only what is used.

Large values (`contents.LARGE`) are pictures, log-spectrogram and waveform; a value is one piece or, as the pictures of
a clip, several. `Pieces` say in which *place* a piece or a part of it is, a tensor that can wait, and `Records` what is
there. The functions run in TensorFlow's graph.
"""

import abc
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from avlearn.data.mapped_files import MappedFiles


class Pieces(abc.ABC):
    """A large value of each of some clips."""

    def __init__(self, pieces: tf.RaggedTensor, numbers_of_a_piece: int):
        """`pieces` has of each piece so many numbers (or one string), `[clips, ...]`."""
        self._first = pieces.row_starts() // numbers_of_a_piece
        self._count = pieces.row_lengths() // numbers_of_a_piece

    @abc.abstractmethod
    def num_bytes(self) -> tf.Tensor:
        """Size of each clip's first piece, int64 `[clips]`."""

    def pick(self, numbers: tf.Tensor) -> tf.Tensor:
        """Places of pieces by their numbers, `[clips, ...]`.

        Raises (when it runs):
          tf.errors.InvalidArgumentError: a clip has not so many.
        """
        there = tf.reduce_all((numbers >= 0) & (numbers < _along(self._count, numbers)))
        complaint = ["pieces", numbers, "are not all among those of a value, which are", self._count]
        with tf.control_dependencies([tf.debugging.Assert(there, complaint)]):
            return self._pick(_along(self._first, numbers) + numbers)

    @abc.abstractmethod
    def _pick(self, numbers: tf.Tensor) -> tf.Tensor:
        """As `pick`, by numbers counted over all clips."""

    def cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        """Places of so many bytes of each clip's first piece, from some of them on, int64 `[clips, n]`.

        Raises (when it runs):
          tf.errors.InvalidArgumentError: the piece has not so many.
        """
        last = self.num_bytes()[:, None] - count
        fits = tf.reduce_all((first >= 0) & (first <= last))
        complaint = [count, "bytes from", first, "on are not all within a value of", self.num_bytes()]
        with tf.control_dependencies([tf.debugging.Assert(fits, complaint)]):
            return self._cut(first, count)

    @abc.abstractmethod
    def _cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        """See `cut`."""


class Records(abc.ABC):
    """Called with numbers of clips `[clips]`, gives what was asked for of their records, large values as `Pieces`.

    Attributes:
      at_once: how many clips may be asked for in one call.
    """

    at_once: int

    @abc.abstractmethod
    def __call__(self, clips: tf.Tensor) -> dict:
        """Parsed values, as `tf.io.parse_example` has them."""

    @abc.abstractmethod
    def strings(self, places: tf.Tensor) -> tf.Tensor:
        """What is at some places, strings."""

    @abc.abstractmethod
    def rows(self, places: tf.Tensor, count: int) -> tf.Tensor:
        """What is at places of `count` bytes `[n]`, uint8 `[n, count]`."""


class WholeRecords(Records):
    """Reads records whole, from any file system, and compares them with their checksums."""

    at_once = 1  # one may have megabytes

    def __init__(self, read: Callable[[tf.Tensor], tf.Tensor], features: Mapping[str, object], large: Sequence[str]):
        """Reads nothing yet.

        Args:
          read: a function of TensorFlow's graph, number of a clip to its serialized record.
          features: to parse, as `tf.io.parse_example` has it.
          large: names of further values.
        """
        self._read, self._large = read, large
        self._features = {**features, **dict.fromkeys(large, tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64))}

    def __call__(self, clips: tf.Tensor) -> dict:
        """See `Records`."""
        parsed = tf.io.parse_example(self._read(tf.ensure_shape(clips, (1,))[0])[None], self._features)
        return parsed | {name: InRecords(parsed[name]) for name in self._large}

    def strings(self, places: tf.Tensor) -> tf.Tensor:
        """See `Records`."""
        return places

    def rows(self, places: tf.Tensor, count: int) -> tf.Tensor:
        """See `Records`."""
        return tf.ensure_shape(tf.io.decode_raw(places, tf.uint8), (places.shape[0], count))


class InRecords(Pieces):
    """What has been read, strings: a place is what is there."""

    def __init__(self, pieces: tf.RaggedTensor):
        super().__init__(pieces, 1)
        self._pieces = pieces.values

    def num_bytes(self) -> tf.Tensor:
        """See `Pieces`."""
        return tf.cast(tf.strings.length(self._pick(self._first)), tf.int64)

    def _pick(self, numbers: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._pieces, numbers)

    def _cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        whole = tf.repeat(self._pick(self._first)[:, None], tf.shape(first)[1], axis=1)
        return tf.strings.substr(whole, first, tf.fill(tf.shape(first), tf.constant(count, tf.int64)))


class RecordsByContents(Records):
    """Reads records by tables of contents (`avlearn.data.contents`): of a shard, what is at the places asked for."""

    at_once = sys.maxsize

    def __init__(
        self,
        tables: MappedFiles,
        shards: MappedFiles,
        file: np.ndarray,
        offset: np.ndarray,
        features: Mapping[str, object],
        large: Sequence[str],
    ):
        """Reads nothing yet.

        Args:
          tables: of contents of the shards; the open split's, as the next.
          shards: where the large values are.
          file: number of each clip's shard.
          offset: of each clip, where its example begins in the table.
          features: to parse, as `tf.io.parse_example` has it.
          large: names of further values.
        """
        self._tables, self._shards, self._large = tables, shards, large
        self._file, self._offset = (tf.constant(values, tf.int64) for values in (file, offset))
        self._features = {
            **features,
            **dict.fromkeys(large, tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)),
        }

    def __call__(self, clips: tf.Tensor) -> dict:
        """See `Records`."""
        file = tf.gather(self._file, clips)
        entries = _called(self._tables.records, [file, tf.gather(self._offset, clips)], tf.string)
        parsed = tf.io.parse_example(tf.ensure_shape(entries, clips.shape), self._features)
        return parsed | {name: InShards(file, parsed[name]) for name in self._large}

    def strings(self, places: tf.Tensor) -> tf.Tensor:
        """See `Records`."""
        return tf.ensure_shape(_called(self._shards.strings, [places], tf.string), places.shape[:-1])

    def rows(self, places: tf.Tensor, count: int) -> tf.Tensor:
        """See `Records`."""
        return tf.ensure_shape(
            _called(self._shards.rows, [places, tf.constant(count)], tf.uint8), (places.shape[0], count)
        )


def _called(method: Callable, arguments: list, dtype: tf.DType) -> tf.Tensor:
    """A method of mapped files, in TensorFlow's graph.

    TensorFlow keeps the function for ever. The files it does not: they are an open split's.
    """
    weakly = weakref.WeakMethod(method)
    return tf.numpy_function(lambda *values: weakly()(*map(np.asarray, values)), arguments, dtype, stateful=False)


class InShards(Pieces):
    """Where values are in their shards; a place is as `MappedFiles` has it."""

    def __init__(self, file: tf.Tensor, spans: tf.RaggedTensor):
        super().__init__(spans, 2)
        self._file, self._spans = file, tf.reshape(spans.values, (-1, 2))

    def num_bytes(self) -> tf.Tensor:
        """See `Pieces`."""
        return tf.gather(self._spans, self._first)[:, 1]

    def _pick(self, numbers: tf.Tensor) -> tf.Tensor:
        spans = tf.gather(self._spans, numbers)
        return self._places(numbers, spans[..., 0], spans[..., 1])

    def _cut(self, first: tf.Tensor, count: int) -> tf.Tensor:
        begin = tf.gather(self._spans, self._first)[:, :1] + first
        return self._places(first, begin, tf.fill(tf.shape(first), tf.constant(count, tf.int64)))

    def _places(self, like: tf.Tensor, begin: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.broadcast_to(_along(self._file, like), tf.shape(like)), begin, size], axis=-1)


def _along(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Values `[clips]`, of as many axes as `like` `[clips, ...]`."""
    return tf.reshape(values, [-1] + [1] * (len(like.shape) - 1))
