"""Reads the images that a run wrote for TensorBoard."""

import io
import pathlib
import struct

import numpy as np
from PIL import Image
from tensorboardX.proto import event_pb2


def images(folder: pathlib.Path) -> dict[tuple[int, str], np.ndarray]:
    """Return the images by step and name."""
    return {
        (event.step, value.tag): np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
        for file in sorted(folder.iterdir())
        for event in map(event_pb2.Event.FromString, _payloads(file.read_bytes()))
        for value in event.summary.value
        if value.HasField("image")
    }


def _payloads(content: bytes):
    """Yield the payloads of a TFRecord file: 8 bytes of length, 4 of checksum, the payload, 4 of checksum."""
    position = 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        yield content[position + 12 : position + 12 + length]
        position += length + 16
