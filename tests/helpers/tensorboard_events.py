"""What a run wrote for TensorBoard."""

import io
import pathlib
import struct

import numpy as np
from PIL import Image
from tensorboardX.proto import event_pb2


def pictures(folder: pathlib.Path) -> dict[tuple[int, str], np.ndarray]:
    """(step, name) to picture."""
    return {
        (event.step, value.tag): np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
        for file in sorted(folder.iterdir())
        for event in map(event_pb2.Event.FromString, _payloads(file.read_bytes()))
        for value in event.summary.value
        if value.HasField("image")
    }


def _payloads(content: bytes):
    """Of a TFRecord file: a length (8 bytes), 4 of checksum, the payload, 4 of checksum."""
    position = 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        yield content[position + 12 : position + 12 + length]
        position += length + 16
