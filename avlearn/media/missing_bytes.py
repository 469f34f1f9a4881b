"""Finds whether the end of a file is missing, from the sizes that its container states; nothing is decoded.

The time of a file's end cannot tell: a last picture may be held, and a subtitle may outlast picture and sound.
"""

import os
from typing import BinaryIO

MP4_BOXES = (
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"meta", b"sidx", b"ssix"),
    *(b"mfra", b"emsg", b"prft", b"pdin", b"udta", b"pnot", b"PICT"),
)
EBML, SEGMENT = 0x1A45DFA3, 0x18538067
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # id of the object that states the file's size
ASF_HEADER_BYTES = 65_536


def cut_short(path: str | os.PathLike, format_name: str) -> bool | None:
    """Return whether a file ends before its container's structure does; None for containers that do not tell.

    Args:
      path: the file.
      format_name: libav's name of its container.
    """
    readers = {"mov,mp4,m4a,3gp,3g2,mj2": _mp4_end, "matroska,webm": _matroska_end, "asf": _asf_end}
    if format_name not in readers:
        return None
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        return readers[format_name](file, size) > size


def _mp4_end(file: BinaryIO, size: int) -> int:
    """Return the end of the last box: each states its size, which is 0 if it reaches to the end of the file."""
    at = 0
    while at < size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:])
        if header[4:8] not in MP4_BOXES or length < 8:
            return size
        at += length
    return at


def _matroska_end(file: BinaryIO, size: int) -> int:
    """Return the end of the segment; a live recording does not state it."""
    end = 0
    for expected in (EBML, SEGMENT):
        file.seek(end)
        header = file.read(12)
        width = 9 - header[4].bit_length() if len(header) == 12 else 9
        if int.from_bytes(header[:4]) != expected or width > 8:
            return size
        length = int.from_bytes(header[4 : 4 + width]) & ((1 << 7 * width) - 1)
        if length == (1 << 7 * width) - 1:
            return size
        end += 4 + width + length
    return end


def _asf_end(file: BinaryIO, size: int) -> int:
    """Return the size that the header of a Windows Media file states; 0 of a live recording."""
    header = file.read(ASF_HEADER_BYTES)
    at = header.find(ASF_PROPERTIES)
    return int.from_bytes(header[at + 40 : at + 48], "little") if at >= 0 else size
