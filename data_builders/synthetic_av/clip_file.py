"""Writes a clip as a media file: mp4 with H.264 video and AAC audio."""

import os
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

VIDEO_QUALITY = 20  # x264's constant rate factor: smaller is better, 18 looks lossless
AUDIO_BITS_PER_SECOND = 128_000


def write(
    path: str | os.PathLike,
    frames: Sequence[np.ndarray],
    waveform: np.ndarray,
    *,
    frames_per_second: float,
    sample_rate_hz: int = 48_000,
) -> None:
    """Write an mp4 file.

    Args:
      path: the file.
      frames: uint8 RGB `[height, width, 3]` each, of one size; height and width even, as H.264 requires.
      waveform: float32 `[samples]` in [-1, 1], mono.
      frames_per_second: the first frame is at 0 s.
      sample_rate_hz: the waveform's; its first sample is at 0 s.
    """
    with av.open(os.fspath(path), "w", format="mp4") as container:
        rate = Fraction(frames_per_second).limit_denominator(1001)
        # Fast encoder settings and one thread: there is a process per core, and the size of the file does not matter.
        video = container.add_stream("libx264", rate, options={"preset": "ultrafast", "crf": str(VIDEO_QUALITY)})
        video.thread_count = 1
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", sample_rate_hz, layout="mono", options={"aac_coder": "fast"})
        audio.bit_rate = AUDIO_BITS_PER_SECOND
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        piece = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        piece.sample_rate, piece.pts = sample_rate_hz, 0
        container.mux(audio.encode(piece))
        container.mux(audio.encode())
