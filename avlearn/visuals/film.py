"""A film of a clip: its frames, and beside each the heat map of that moment, with the clip's sound (OtS figure 7)."""

import base64
import dataclasses
import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Protocol, runtime_checkable

import av
import librosa
import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.visuals import heatmap_overlay, playable_sound
from avlearn.visuals.album import jpeg

SIDE_PIXELS = 192  # of each of the two pictures; H.264 wants an even number
MOST_SECONDS = 10
CONSTANT_RATE_FACTOR = "27"  # of x264: higher is smaller and coarser
SOUND_RATE_HZ = 48_000
SOUND_BITS_PER_SECOND = 64_000


@runtime_checkable
class FilmedClip(Protocol):
    """What is seen and heard of a clip at its moments, see `avlearn.data.moments.MomentSequence`."""

    times_ms: np.ndarray
    frames_per_second: float
    frames: np.ndarray
    log_spectrogram: np.ndarray


@dataclasses.dataclass(frozen=True)
class ShownFilm:
    """A film as the page shows it: the clip's number, the film and its first picture as data URIs, and its length."""

    item: int
    file: str
    poster: str
    seconds: float


def shown(item: int, clip: FilmedClip, moments: Mapping[str, np.ndarray], front_end: str) -> ShownFilm:
    """The film of a clip.

    Args:
      item: number of the clip.
      clip: what is seen and heard of it.
      moments: `image_item`, `time_ms` and `heat_map` of the moments of this and other clips.
      front_end: audio front end of the clip's log-spectrogram.

    Raises:
      ValueError: the moments are not those of the clip.
    """
    rows = np.flatnonzero(moments["image_item"] == item)
    if moments["time_ms"][rows].tolist() != clip.times_ms.tolist():
        raise ValueError(
            f"clip {item} has frames at other times than when its heat maps were computed; evaluate the run again "
            "(--mode=evaluate)"
        )
    both = pictures(clip.frames, moments["heat_map"][rows])
    sound = playable_sound.waveform(clip.log_spectrogram, front_end)
    content = mp4(both, clip.frames_per_second, sound, FRONT_ENDS[front_end].sample_rate_hz)
    seconds = min(len(both) / clip.frames_per_second, MOST_SECONDS)
    file = f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
    return ShownFilm(item, file, jpeg(both[0], 2 * SIDE_PIXELS), seconds)


def pictures(
    frames: UInt8[np.ndarray, "moments height width 3"], heat_maps: Float[np.ndarray, "moments rows cols"]
) -> UInt8[np.ndarray, "moments shown_height shown_width 3"]:
    """Each frame, and to its right the same with the heat map of its moment over it.

    Args:
      frames: RGB, what the network saw.
      heat_maps: log-odds of each cell.
    """
    shown = []
    for frame, heat_map in zip(frames, heat_maps, strict=True):
        square = np.asarray(Image.fromarray(frame).resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS))
        shown.append(np.concatenate([square, heatmap_overlay.overlay(square, heat_map)], axis=1))
    return np.stack(shown)


def mp4(
    shown: UInt8[np.ndarray, "moments height width 3"],
    frames_per_second: float,
    waveform: Float32[np.ndarray, " samples"],
    sample_rate_hz: int,
) -> bytes:
    """The pictures and the sound as a file that every browser plays (H.264 and AAC), of at most `MOST_SECONDS`.

    Args:
      shown: pictures of equal size, of an even number of pixels in either direction.
      frames_per_second: of them.
      waveform: begins with the first picture.
      sample_rate_hz: of the waveform.
    """
    rate = Fraction(frames_per_second).limit_denominator(1001)
    shown = shown[: int(MOST_SECONDS * rate)]
    sound = librosa.resample(waveform, orig_sr=sample_rate_hz, target_sr=SOUND_RATE_HZ)
    sound = sound[: round(len(shown) / rate * SOUND_RATE_HZ)]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": CONSTANT_RATE_FACTOR, "preset": "veryslow"}
        video = container.add_stream("libx264", rate=rate, options=options)
        video.height, video.width = shown[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono", bit_rate=SOUND_BITS_PER_SECOND)
        for number, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        heard = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = SOUND_RATE_HZ, 0, Fraction(1, SOUND_RATE_HZ)
        container.mux(audio.encode(heard))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return file.getvalue()
