"""The table of contents of a shard: its records without what is large in them, and where in the shard that lies.

It stands beside the shard, as `<shard>.contents`: a TFRecord file with an example for each of the shard's. By it one
frame and one second of a clip are read without the rest of its record. No TensorFlow here: builders write it.
"""

import os
import uuid
from collections.abc import Sequence

from tensorflow_datasets.proto import tf_example_pb2

from avlearn.data import tfrecord_file

SUFFIX = ".contents"
LARGE = ("frames", "optical_flow", "log_spectrogram", "waveform")
END = "end_of_record"  # place in the shard: by the last one a table shows whether it is this shard's


def of_record(record: bytes, begin: int) -> bytes:
    """An example with, in place of each large value, the place in the shard of its first byte and its size.

    Args:
      record: serialized, of `avlearn.data.schema`.
      begin: place in the shard of its first byte.
    """
    example = tf_example_pb2.Example.FromString(record)
    for name in LARGE:
        if name in example.features.feature:
            feature = example.features.feature[name]
            spans = _spans(record, feature.bytes_list.value, begin)
            feature.int64_list.value[:] = spans  # and so the bytes are gone
    example.features.feature[END].int64_list.value.append(begin + len(record))
    return example.SerializeToString(deterministic=True)


def _spans(record: bytes, pieces: Sequence[bytes], begin: int) -> list[int]:
    """Place and size of each piece; they stand in the record as they are, one after the other."""
    spans, searched = [], 0
    for piece in pieces:
        searched = record.index(piece, searched)
        spans += [begin + searched, len(piece)]
        searched += len(piece)
    return spans


def write(shard: str | os.PathLike) -> None:
    """Writes the table of contents of a finished shard beside it.

    Raises:
      ValueError: the shard is damaged.
      OSError: it cannot be read, or the table not be written.
    """
    table = f"{os.fspath(shard)}{SUFFIX}"
    partial = f"{table}.{uuid.uuid4().hex}.partial"
    try:
        with open(shard, "rb") as records, open(partial, "wb") as file:
            for begin, record in tfrecord_file.read(records):
                tfrecord_file.write(file, of_record(record, begin))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, table)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def end_of_record(entry: bytes) -> int:
    """Place in the shard after the last byte of the record that an example of a table stands for.

    Raises:
      ValueError: it is no example of a table.
    """
    (end, *_) = tf_example_pb2.Example.FromString(entry).features.feature[END].int64_list.value
    return end
