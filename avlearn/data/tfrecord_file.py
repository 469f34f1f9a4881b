"""Reads and writes TFRecord files without TensorFlow, which costs 0.7 GiB and seconds of start-up per process."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

LENGTH_BYTES = 8
HEADER_BYTES = 12  # the record's length and the length's checksum
CHECKSUM_BYTES = 4  # the record's checksum, which follows it
FRAMING_BYTES = HEADER_BYTES + CHECKSUM_BYTES
DAMAGED = "its checksum is wrong"


def write(file: BinaryIO, record: bytes) -> None:
    """Append a record: its length (8 bytes), the length's checksum (4), the record, and its checksum (4)."""
    length = struct.pack("<Q", len(record))
    file.write(length + masked_checksum(length))
    file.write(record)
    file.write(masked_checksum(record))


def read(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the offset of each record of a file, and the record.

    Raises:
      ValueError: a record is damaged or cut short.
    """
    while header := file.read(HEADER_BYTES):
        begin = file.tell()
        if masked_checksum(header[:LENGTH_BYTES]) != header[LENGTH_BYTES:]:
            raise ValueError(f"{file.name} is damaged or cut short at byte {begin - len(header):,}")
        (length,) = struct.unpack("<Q", header[:LENGTH_BYTES])
        record = file.read(length)
        if file.read(4) != masked_checksum(record):
            raise ValueError(f"{file.name} is damaged or cut short: the record at byte {begin - HEADER_BYTES:,}")
        yield begin, record


def framed_size(header: bytes) -> int:
    """Return the size of a framed record, given its first `HEADER_BYTES`.

    Raises:
      ValueError: the header is damaged.
    """
    if masked_checksum(header[:LENGTH_BYTES]) != header[LENGTH_BYTES:]:
        raise ValueError(DAMAGED)
    return struct.unpack("<Q", header[:LENGTH_BYTES])[0] + FRAMING_BYTES


def unframe(framed: bytes) -> bytes:
    """Return a record without its framing.

    Raises:
      ValueError: the record is damaged.
    """
    record = framed[HEADER_BYTES:-4]
    if masked_checksum(record) != framed[-4:]:
        raise ValueError(DAMAGED)
    return record


def masked_checksum(data: bytes) -> bytes:
    """Return the CRC-32C rotated right by 15 bits, plus a constant, as TensorFlow's record_writer defines it."""
    checksum = google_crc32c.value(data)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
