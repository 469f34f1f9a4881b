"""Animates a clip: each frame next to the heat map of its moment, with the audio (OtS figure 7)."""

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
from avlearn.visuals import heatmap_overlay, playable_audio
from avlearn.visuals.album import jpeg

SIDE_PIXELS = 192  # side of each of the two images; H.264 needs an even number
MAX_SECONDS = 10
CONSTANT_RATE_FACTOR = "27"  # setting of x264: higher values give smaller files of lower quality
AUDIO_RATE_HZ = 48_000
AUDIO_BITS_PER_SECOND = 64_000


@runtime_checkable
class ClipMoments(Protocol):
    """The frames of a clip, their times, and its audio, as `avlearn.data.moments` reads them."""

    times_ms: np.ndarray
    frames_per_second: float
    frames: np.ndarray
    log_spectrogram: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClipAnimation:
    """An animation on the page: number of the clip, data URIs of the video and its first image, and the length."""

    item: int
    video: str
    poster: str
    seconds: float


def animate(item: int, clip: ClipMoments, moments: Mapping[str, np.ndarray], front_end: str) -> ClipAnimation:
    """Animate a clip.

    Args:
      item: number of the clip.
      clip: its frames and audio.
      moments: `image_item`, `time_ms` and `heat_map`, for the moments of this and other clips.
      front_end: audio front end of the clip's log-spectrogram.

    Raises:
      ValueError: the times of the moments differ from those of the clip's frames.
    """
    rows = np.flatnonzero(moments["image_item"] == item)
    if moments["time_ms"][rows].tolist() != clip.times_ms.tolist():
        raise ValueError(
            f"the times of the frames of clip {item} differ from those of its heat maps. The dataset has changed since "
            "the run was evaluated; evaluate the run again (--mode=evaluate)."
        )
    images = side_by_side(clip.frames, moments["heat_map"][rows])
    waveform = playable_audio.waveform(clip.log_spectrogram, front_end)
    content = mp4(images, clip.frames_per_second, waveform, FRONT_ENDS[front_end].sample_rate_hz)
    seconds = min(len(images) / clip.frames_per_second, MAX_SECONDS)
    video = f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
    return ClipAnimation(item, video, jpeg(images[0], 2 * SIDE_PIXELS), seconds)


def side_by_side(
    frames: UInt8[np.ndarray, "moments height width 3"], heat_maps: Float[np.ndarray, "moments rows cols"]
) -> UInt8[np.ndarray, "moments image_height image_width 3"]:
    """Place each frame to the left of the same frame under its heat map.

    Args:
      frames: RGB, the network's input.
      heat_maps: log-odds of each cell.
    """
    images = []
    for frame, heat_map in zip(frames, heat_maps, strict=True):
        square = np.asarray(Image.fromarray(frame).resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS))
        images.append(np.concatenate([square, heatmap_overlay.overlay(square, heat_map)], axis=1))
    return np.stack(images)


def mp4(
    images: UInt8[np.ndarray, "moments height width 3"],
    frames_per_second: float,
    waveform: Float32[np.ndarray, " samples"],
    sample_rate_hz: int,
) -> bytes:
    """Encode images and audio as a file that every browser plays (H.264 and AAC), at most `MAX_SECONDS` long.

    Args:
      images: all of one size, with even height and width in pixels.
      frames_per_second: rate of the images.
      waveform: audio, which starts with the first image.
      sample_rate_hz: sample rate of the waveform.
    """
    rate = Fraction(frames_per_second).limit_denominator(1001)
    images = images[: int(MAX_SECONDS * rate)]
    samples = librosa.resample(waveform, orig_sr=sample_rate_hz, target_sr=AUDIO_RATE_HZ)
    samples = samples[: round(len(images) / rate * AUDIO_RATE_HZ)]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": CONSTANT_RATE_FACTOR, "preset": "veryslow"}
        video = container.add_stream("libx264", rate=rate, options=options)
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono", bit_rate=AUDIO_BITS_PER_SECOND)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        block = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = AUDIO_RATE_HZ, 0, Fraction(1, AUDIO_RATE_HZ)
        container.mux(audio.encode(block))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return file.getvalue()
