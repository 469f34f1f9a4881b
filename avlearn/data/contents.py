"""The table of contents of a shard: its records, with each large value replaced by its location.

It is stored next to the shard, as `<shard>.contents`: a TFRecord file with one entry per record. It lets the input
pipeline read one frame and one second of audio without the rest of a record. Builders write it, without TensorFlow.

The last entry shows whether a table belongs to its shard: it has the byte at which the shard's last record ends, and a
checksum of the checksums that frame the shard's records.
"""

import os
import uuid
from collections.abc import Sequence

import google_crc32c
from google.protobuf import message
from tensorflow_datasets.proto import tf_example_pb2

from avlearn.data import tfrecord_file

SUFFIX = ".contents"
LARGE = ("frames", "optical_flow", "log_spectrogram", "waveform")
END = "end_of_record"  # byte in the shard
CHECKSUM = "checksum_of_records"  # `records_checksum` up to and including this record; early versions have none


def make_entry(record: bytes, begin: int, checksum: int) -> bytes:
    """Return a record in which (byte in the shard, number of bytes) replaces each piece of a large value.

    Args:
      record: serialized record of `avlearn.data.schema`.
      begin: byte in the shard at which the record begins.
      checksum: `records_checksum` of the shard's records up to and including this one.

    Raises:
      ValueError: the bytes are not the record of a clip.
    """
    example = _parsed(record)
    for name in LARGE:
        if name in example.features.feature:
            feature = example.features.feature[name]
            spans = _spans(record, feature.bytes_list.value, begin)
            feature.int64_list.value[:] = spans  # replaces the bytes: a feature holds one list
    example.features.feature[END].int64_list.value.append(begin + len(record))
    example.features.feature[CHECKSUM].int64_list.value.append(checksum)
    return example.SerializeToString(deterministic=True)


def _spans(record: bytes, pieces: Sequence[bytes], begin: int) -> list[int]:
    """Return (byte in the shard, number of bytes) of each piece; a record holds them verbatim and in order."""
    spans, searched = [], 0
    for piece in pieces:
        searched = record.index(piece, searched)
        spans += [begin + searched, len(piece)]
        searched += len(piece)
    return spans


def records_checksum(checksums: bytes, before: int = 0) -> int:
    """Return the CRC-32C of the checksums that frame records, one after the other; `before`: that of earlier ones."""
    return google_crc32c.extend(before, checksums)


def write(shard: str | os.PathLike) -> None:
    """Write the table of contents of a finished shard next to it.

    Raises:
      ValueError: the shard is damaged, or holds other records.
      OSError: the shard cannot be read, or the table cannot be written.
    """
    table = f"{os.fspath(shard)}{SUFFIX}"
    partial = f"{table}.{uuid.uuid4().hex}.partial"
    checksum = 0
    try:
        with open(shard, "rb") as records, open(partial, "wb") as file:
            for begin, record in tfrecord_file.read(records):
                checksum = records_checksum(tfrecord_file.masked_checksum(record), checksum)
                tfrecord_file.write(file, make_entry(record, begin, checksum))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, table)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def shard_of(entry: bytes) -> tuple[int, int | None]:
    """Return what a table's last entry says about its shard: the end of the last record, and `records_checksum`.

    The checksum is None in tables of early versions, which do not show whether the shard was written again.

    Raises:
      ValueError: it is not an entry of a table of contents.
    """
    features = _parsed(entry).features.feature
    (end, *_), checksums = features[END].int64_list.value, features[CHECKSUM].int64_list.value
    return end, checksums[0] if checksums else None


def _parsed(record: bytes) -> tf_example_pb2.Example:
    try:
        return tf_example_pb2.Example.FromString(record)
    except message.DecodeError as error:
        raise ValueError(f"a record is not one of avlearn.data.schema: {error}") from error
