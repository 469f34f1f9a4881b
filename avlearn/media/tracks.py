"""Readers of decoded tracks: video frames onto a grid of times, audio into a mono waveform."""

import fractions
import math

import av
import numpy as np
from av.sidedata.sidedata import Type

UPRIGHT = (1, 0, 0, 1)  # the display matrix (a, b, c, d) of a frame stored upright


class VideoReader:
    """A reader that samples decoded frames on a grid of times and scales them, with libav's filters.

    Attributes:
      stream: the container's stream.
      end: end of the last frame added, seconds on the container's clock; -inf before the first.
      in_order: whether the frames' time stamps never go backwards.
    """

    def __init__(
        self, stream, zero: fractions.Fraction, frames_per_second: fractions.Fraction, short_side: int, capacity: int
    ):
        self.stream = stream
        self.end = -math.inf
        self.in_order = True
        self._rate = frames_per_second
        self._short_side = short_side
        self._graph = None
        # The filter takes the last frame that is not later. Adding half an interval of the faster rate makes this the
        # nearest frame of a fast source, and tolerates time stamps that the container rounded.
        source_rate = stream.average_rate or frames_per_second
        self._ahead = fractions.Fraction(1, 2) / max(source_rate, frames_per_second)
        self._origin = zero + self._ahead
        self._duration = 1 / source_rate
        self._capacity = max(1, capacity)  # expected number of frames
        self._frames = None  # one array from the start: stacking a list at the end would need twice the memory
        self._slots = []

    def add(self, frame):
        """Add the next frame in order of presentation."""
        if frame.pts is None:
            return
        time = frame.pts * frame.time_base
        duration = frame.duration * frame.time_base or self._duration
        self.in_order &= time + 3 * duration / 2 > self.end  # tolerates stamps that the container rounded
        self.end = max(self.end, time + duration)
        frame.pts -= round(self._origin / frame.time_base)
        frame.duration = round((duration + self._ahead) / frame.time_base)  # the last frame is shown until its true end
        if self._graph is None:
            self._first_slot = math.ceil((time - self._origin) * self._rate)
            self._matrix = _display_matrix(frame)
            self._build(frame)
        self._graph.vpush(frame)
        self._pull()

    def finish(self):
        """Return the slots of the grid (0 is its start) and their frames, `[slots, height, width, 3]`."""
        if self._graph is not None:
            self._graph.vpush(None)
            self._pull()
        return self._slots, self._frames[: len(self._slots)] if self._slots else None

    def _build(self, frame):
        aspect = self.stream.sample_aspect_ratio or 1  # width / height of a pixel
        width, height = frame.width * aspect, frame.height
        scale = self._short_side / min(width, height)
        width, height = round(width * scale), round(height * scale)
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._graph.link_nodes(
            self._graph.add_buffer(template=self.stream, time_base=frame.time_base),
            self._graph.add("fps", f"fps={self._rate}:round=up:start_time=0"),
            # Size and colour conversion in two steps: libswscale has fast code for each but not for both at once, and
            # nearly every video (and the JPEG that a frame becomes) has colours at half resolution anyway.
            self._graph.add("scale", f"w={width}:h={height}:flags=area"),
            self._graph.add("format", "pix_fmts=yuv420p"),
            self._graph.add("scale", f"w={width}:h={height}"),
            self._graph.add("format", "pix_fmts=rgb24"),
            self._graph.add("buffersink"),
        ).configure()

    def _pull(self):
        for frame in _drain(self._graph.vpull):
            if frame.pts >= self._first_slot:  # before it, the filter repeats the first frame
                self._keep(frame.pts, to_upright(frame.to_ndarray(), self._matrix))

    def _keep(self, slot, image):
        count = len(self._slots)
        if self._frames is None:
            self._frames = np.empty((self._capacity, *image.shape), np.uint8)
        elif count == len(self._frames):
            self._frames = np.concatenate([self._frames, np.empty_like(self._frames)])
        self._frames[count] = image
        self._slots.append(slot)


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """Return a frame's display matrix: (a, b, c, d) of `to_upright`."""
    stored = frame.side_data.get(Type.DISPLAYMATRIX)
    if stored is None:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(stored, np.int32).tolist()
    return a, b, c, d


def to_upright(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Rotate an image by quarter turns and mirror it, as its display matrix states.

    Args:
      image: `[height, width, channels]`.
      matrix: (a, b, c, d), in any unit: a point (x, y) of the image is shown at (a x + c y, b x + d y).
    """
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


class AudioReader:
    """A reader that converts decoded audio to mono, one sample rate and the clip's clock, with libav's filters.

    Attributes:
      stream: the container's stream.
      end: end of the last frame added, seconds on the container's clock; -inf before the first.
    """

    def __init__(self, stream, zero: fractions.Fraction, sample_rate_hz: int):
        self.stream = stream
        self.end = -math.inf
        self._zero = zero
        self._rate = sample_rate_hz
        self._graph = None
        self._format = None
        self._pieces = [np.zeros(0, np.float32)]

    def add(self, frame):
        """Add the next audio frame."""
        if frame.pts is None:
            return
        self.end = max(self.end, frame.pts * frame.time_base + fractions.Fraction(frame.samples, frame.sample_rate))
        audio_format = (frame.sample_rate, frame.format.name, frame.layout.name)
        if audio_format != self._format:  # first frame, or a change of rate or channels, as in TV recordings
            self._flush()
            self._build(frame)
            self._format = audio_format
        frame.pts -= round(self._zero / frame.time_base)
        self._graph.push(frame)
        self._pull()

    def finish(self) -> np.ndarray:
        """Return the samples from the start of the clip on."""
        self._flush()
        return np.concatenate(self._pieces)

    def _flush(self):
        if self._graph is not None:
            self._graph.push(None)
            self._pull()

    def _build(self, frame):
        # first_pts and async insert silence before a late start and in gaps of the time stamps, and cut an early start.
        # rematrix_maxval averages channels instead of summing them, so full scale stays 1.
        seconds = sum(piece.size for piece in self._pieces) / self._rate
        first = round(seconds * frame.sample_rate)  # in input samples
        resample = f"sample_rate={self._rate}:async=1:first_pts={first}:rematrix_maxval=1"
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._graph.link_nodes(
            self._graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=frame.time_base,
            ),
            self._graph.add("aresample", resample),
            self._graph.add("aformat", "sample_fmts=flt:channel_layouts=mono"),
            self._graph.add("abuffersink"),
        ).configure()

    def _pull(self):
        self._pieces.extend(frame.to_ndarray()[0] for frame in _drain(self._graph.pull))


def _drain(pull):
    """Yield the frames that a filter graph has ready."""
    while True:
        try:
            yield pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
