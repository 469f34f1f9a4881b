"""TFRecord files without TensorFlow, which would cost every process of a build 0.7 GiB and seconds to start."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

LENGTH_BYTES = 8
HEADER_BYTES = 12  # of a record: its length, and the length's checksum
FRAMING_BYTES = 16  # of a record, besides itself: the header, and the record's checksum
DAMAGED = "its checksum is wrong"


def write(file: BinaryIO, record: bytes) -> None:
    """Appends a record: its length (8 bytes), the length's checksum (4), the record, and its checksum (4)."""
    length = struct.pack("<Q", len(record))
    file.write(length + _masked_checksum(length))
    file.write(record)
    file.write(_masked_checksum(record))


def read(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Records of a whole file, each with the place of its first byte.

    Raises:
      ValueError: a record is damaged or cut short.
    """
    while header := file.read(HEADER_BYTES):
        begin = file.tell()
        if _masked_checksum(header[:LENGTH_BYTES]) != header[LENGTH_BYTES:]:
            raise ValueError(f"{file.name} is damaged or cut short at byte {begin - len(header):,}")
        (length,) = struct.unpack("<Q", header[:LENGTH_BYTES])
        record = file.read(length)
        if file.read(4) != _masked_checksum(record):
            raise ValueError(f"{file.name} is damaged or cut short: the record at byte {begin - HEADER_BYTES:,}")
        yield begin, record


def framed_bytes(header: bytes) -> int:
    """Size of a record with its framing, of which these are the first `HEADER_BYTES`.

    Raises:
      ValueError: the header is damaged.
    """
    if _masked_checksum(header[:LENGTH_BYTES]) != header[LENGTH_BYTES:]:
        raise ValueError(DAMAGED)
    return struct.unpack("<Q", header[:LENGTH_BYTES])[0] + FRAMING_BYTES


def unframed(framed: bytes) -> bytes:
    """A record out of its framing.

    Raises:
      ValueError: it is damaged.
    """
    record = framed[HEADER_BYTES:-4]
    if _masked_checksum(record) != framed[-4:]:
        raise ValueError(DAMAGED)
    return record


def _masked_checksum(data: bytes) -> bytes:
    """CRC-32C turned right by 15 bits, plus a constant, as TensorFlow's record_writer defines it."""
    checksum = google_crc32c.value(data)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
