"""The table of contents of a shard: its records, with each large value replaced by its location.

It is stored next to the shard, as `<shard>.contents`: a TFRecord file with one entry per record. It lets the input
pipeline read one frame and one second of audio without the rest of a record. Builders write it, without TensorFlow.
"""

import os
import uuid
from collections.abc import Sequence

from tensorflow_datasets.proto import tf_example_pb2

from avlearn.data import tfrecord_file

SUFFIX = ".contents"
LARGE = ("frames", "optical_flow", "log_spectrogram", "waveform")
END = "end_of_record"  # byte in the shard; the last record's shows whether a table belongs to its shard


def make_entry(record: bytes, begin: int) -> bytes:
    """Return a record in which (byte in the shard, number of bytes) replaces each piece of a large value.

    Args:
      record: serialized record of `avlearn.data.schema`.
      begin: byte in the shard at which the record begins.
    """
    example = tf_example_pb2.Example.FromString(record)
    for name in LARGE:
        if name in example.features.feature:
            feature = example.features.feature[name]
            spans = _spans(record, feature.bytes_list.value, begin)
            feature.int64_list.value[:] = spans  # replaces the bytes: a feature holds one list
    example.features.feature[END].int64_list.value.append(begin + len(record))
    return example.SerializeToString(deterministic=True)


def _spans(record: bytes, pieces: Sequence[bytes], begin: int) -> list[int]:
    """Return (byte in the shard, number of bytes) of each piece; a record holds them verbatim and in order."""
    spans, searched = [], 0
    for piece in pieces:
        searched = record.index(piece, searched)
        spans += [begin + searched, len(piece)]
        searched += len(piece)
    return spans


def write(shard: str | os.PathLike) -> None:
    """Write the table of contents of a finished shard next to it.

    Raises:
      ValueError: the shard is damaged.
      OSError: the shard cannot be read, or the table cannot be written.
    """
    table = f"{os.fspath(shard)}{SUFFIX}"
    partial = f"{table}.{uuid.uuid4().hex}.partial"
    try:
        with open(shard, "rb") as records, open(partial, "wb") as file:
            for begin, record in tfrecord_file.read(records):
                tfrecord_file.write(file, make_entry(record, begin))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, table)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def end_of_record(entry: bytes) -> int:
    """Return the byte in the shard that follows the record of an entry.

    Raises:
      ValueError: it is not an entry of a table of contents.
    """
    (end, *_) = tf_example_pb2.Example.FromString(entry).features.feature[END].int64_list.value
    return end
