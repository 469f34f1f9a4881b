"""Pictures and sounds of clips, as data URIs of a page that needs no other file."""

import base64
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.visuals import playable_sound, spectrogram_picture

FRAME_PIXELS = 224  # longest side of a picture on the page; smaller frames stay as they are
SPECTROGRAM_PIXELS = 128

Examples = Callable[[Sequence[int]], tuple[np.ndarray, np.ndarray]]


class Album:
    """The clips of one run that its part of the page shows, fetched in one call; each is encoded when first asked for.

    Args:
      examples: item numbers to frames `[items, height, width, 3]` uint8 and log-spectrograms `[items, columns, bins]`.
      items: item numbers that will be asked for, in any order, repeated or not.
      names: what to call each item.
      front_end: audio front end of the log-spectrograms.
      sounds: the page's sounds, key to data URI; those asked for are added, equal sounds (of several runs) once.
    """

    def __init__(
        self, examples: Examples, items: Sequence[int], names: Mapping[int, str], front_end: str, sounds: dict[str, str]
    ):
        items = sorted(set(items))
        frames, spectrograms = examples(items) if items else ((), ())
        self.frames = dict(zip(items, frames, strict=True))
        self.log_spectrograms = dict(zip(items, spectrograms, strict=True))
        self.names = names
        self.front_end = front_end
        self.sounds = sounds
        self.encoded: dict[tuple[str, int], str] = {}

    def name(self, item: int) -> str:
        """What the clip is called: its classes."""
        return self.names[item]

    def frame(self, item: int) -> str:
        """The clip's frame."""
        if ("frame", item) not in self.encoded:
            self.encoded["frame", item] = jpeg(self.frames[item])
        return self.encoded["frame", item]

    def spectrogram(self, item: int) -> str:
        """A picture of the clip's second of sound."""
        if ("spectrogram", item) not in self.encoded:
            picture = spectrogram_picture.picture(self.log_spectrograms[item], SPECTROGRAM_PIXELS, SPECTROGRAM_PIXELS)
            self.encoded["spectrogram", item] = jpeg(picture)
        return self.encoded["spectrogram", item]

    def sound(self, item: int) -> str:
        """Key, in the page's sounds, of the clip's second of sound."""
        log_spectrogram = self.log_spectrograms[item]
        key = hashlib.sha256(np.ascontiguousarray(log_spectrogram)).hexdigest()[:12]
        if key not in self.sounds:
            waveform = playable_sound.waveform(log_spectrogram, self.front_end)
            self.sounds[key] = mp3(waveform, FRONT_ENDS[self.front_end].sample_rate_hz)
        return key


def jpeg(picture: UInt8[np.ndarray, "height width 3"], longest_side: int = FRAME_PIXELS) -> str:
    """The picture as a data URI, made smaller where it is larger than a page shows it (pixels)."""
    image = Image.fromarray(picture)
    image.thumbnail((longest_side, longest_side))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=85)
    return _data_uri("image/jpeg", file.getvalue())


def mp3(waveform: Float32[np.ndarray, " samples"], sample_rate_hz: int) -> str:
    """The sound as a data URI."""
    return _data_uri("audio/mpeg", playable_sound.mp3(waveform, sample_rate_hz))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
