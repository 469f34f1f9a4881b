"""Writes TFRecord files without TensorFlow, which would cost every process of a build 0.7 GiB and seconds to start."""

import struct
from typing import BinaryIO

import google_crc32c

FRAMING_BYTES = 16  # of a record, besides itself


def write(file: BinaryIO, record: bytes) -> None:
    """Appends a record: its length (8 bytes), the length's checksum (4), the record, and its checksum (4)."""
    length = struct.pack("<Q", len(record))
    file.write(length + _masked_checksum(length))
    file.write(record)
    file.write(_masked_checksum(record))


def _masked_checksum(data: bytes) -> bytes:
    """CRC-32C turned right by 15 bits, plus a constant, as TensorFlow's record_writer defines it."""
    checksum = google_crc32c.value(data)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
