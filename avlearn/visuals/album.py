"""Frames and audio of clips, as data URIs for a self-contained page."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.visuals import playable_audio, spectrogram_image

FRAME_PIXELS = 224  # longest side of an image on the page; smaller frames keep their size
SPECTROGRAM_PIXELS = 128

Examples = Callable[[Sequence[int]], tuple[np.ndarray, np.ndarray]]


class Album:
    """The clips that a page shows of one run, read in one call.

    Args:
      examples: item numbers to frames `[items, height, width, 3]` uint8 and log-spectrograms `[items, columns, bins]`.
      items: numbers of all clips shown, in any order; repetitions are allowed.
      audible: numbers of the clips that can be played, a subset of `items`.
      names: item number to a text that names the classes of the clip.
      front_end: audio front end of the log-spectrograms.

    Attributes:
      frames, log_spectrograms: item number to array.
      frame_uris: item number to a JPEG of the frame.
      spectrogram_uris: item number of an audible clip to a JPEG of its second of audio.
      sound_keys: item number of an audible clip to the key of its audio in the result of `encode_sounds`.
    """

    def __init__(
        self,
        examples: Examples,
        items: Iterable[int],
        audible: Iterable[int],
        names: Mapping[int, str],
        front_end: str,
    ):
        items, audible = sorted(set(items)), sorted(set(audible))
        frames, log_spectrograms = examples(items) if items else ((), ())
        self.frames = dict(zip(items, frames, strict=True))
        self.log_spectrograms = dict(zip(items, log_spectrograms, strict=True))
        self.names = names
        self.front_end = front_end
        self.frame_uris = {item: jpeg(frame) for item, frame in self.frames.items()}
        self.spectrogram_uris = {item: self._spectrogram(item) for item in audible}
        self.sound_keys = {item: self._sound_key(item) for item in audible}

    def _spectrogram(self, item: int) -> str:
        image = spectrogram_image.draw(self.log_spectrograms[item], SPECTROGRAM_PIXELS, SPECTROGRAM_PIXELS)
        return jpeg(image)

    def _sound_key(self, item: int) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.log_spectrograms[item])).hexdigest()[:12]


def encode_sounds(albums: Iterable[Album]) -> dict[str, str]:
    """Encode the audible clips of several albums: key to MP3. Audio that several albums share is encoded once."""
    encoded: dict[str, str] = {}
    for album in albums:
        for item, key in album.sound_keys.items():
            if key not in encoded:
                waveform = playable_audio.waveform(album.log_spectrograms[item], album.front_end)
                encoded[key] = mp3(waveform, FRONT_ENDS[album.front_end].sample_rate_hz)
    return encoded


def jpeg(image: UInt8[np.ndarray, "height width 3"], longest_side: int = FRAME_PIXELS) -> str:
    """Encode an image as a data URI, scaled down so that its longest side fits."""
    scaled = Image.fromarray(image)
    scaled.thumbnail((longest_side, longest_side))
    file = io.BytesIO()
    scaled.save(file, "jpeg", quality=85)
    return _data_uri("image/jpeg", file.getvalue())


def mp3(waveform: Float32[np.ndarray, " samples"], sample_rate_hz: int) -> str:
    """Encode audio as a data URI."""
    return _data_uri("audio/mpeg", playable_audio.mp3(waveform, sample_rate_hz))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
