"""Encodes frames as JPEG."""

import cv2
import numpy as np
from jaxtyping import UInt8

QUALITY = 90


def encode(image: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """Encode an RGB image, or a grey one with one channel, as JPEG of quality 90."""
    if image.shape[-1] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return data.tobytes()
