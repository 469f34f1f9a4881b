"""Readers of decoded tracks: video frames onto a grid of times, audio into a mono waveform."""

import fractions
import math

import av
import numpy as np
from av.sidedata.sidedata import Type

from avlearn.media import downmix

CLOCK = fractions.Fraction(1, 1_000_000)  # seconds; the containers' own units are as coarse as a frame
MAX_DRIFT_SECONDS = 0.04  # of sound from its time stamps, which jitter; beyond it, silence is inserted or sound dropped
UPRIGHT = (1, 0, 0, 1)  # the display matrix (a, b, c, d) of a frame stored upright


class VideoReader:
    """A reader that samples decoded frames on a grid of times and scales them, with libav's filters.

    Attributes:
      stream: the container's stream.
      first_time, time: starts of the first and the last frame added, seconds on the container's clock.
      end: end of the frames added, as they state their durations; -inf before the first.
      in_order: whether the frames' time stamps never go backwards, by half a frame or more: containers round them.
    """

    def __init__(
        self,
        stream,
        zero: fractions.Fraction,
        until: fractions.Fraction | float,
        frames_per_second: fractions.Fraction,
        short_side: int,
        capacity: int,
    ):
        self.stream = stream
        self._until = until
        self.first_time, self.time, self.end = math.inf, -math.inf, -math.inf
        self.in_order = True
        self._rate = frames_per_second
        self._short_side = short_side
        # The filter takes the last frame that is not later. Adding half an interval of the faster rate makes this the
        # nearest frame of a fast source, and tolerates time stamps that the container rounded.
        source_rate = stream.average_rate or frames_per_second
        self._ahead = fractions.Fraction(1, 2) / max(source_rate, frames_per_second)
        self._origin = zero + self._ahead
        self._interval = 1 / source_rate
        # A frame lasts until the next one, which may be another time than its duration states: in mp4 that is the
        # distance to the next frame in the order of decoding. So each frame waits here for the next one.
        self._waiting = None
        self._graph = None
        self._size = self._stored_as = None
        self._capacity = max(1, capacity)  # expected number of frames
        self._frames = None  # one array from the start: stacking a list at the end would need twice the memory
        self._slots = []

    def add(self, frame):
        """Add the next frame in order of presentation."""
        if frame.pts is None:
            return
        time = frame.pts * frame.time_base
        if self._waiting is not None:
            self.in_order &= time > self.time - self._interval / 2
            self._push(time if time < self._until else self._until + self._ahead)
        self._waiting, self.time, self.first_time = frame, time, min(self.first_time, time)
        self.end = max(self.end, time + (frame.duration * frame.time_base or self._interval))

    @property
    def is_complete(self) -> bool:
        """Whether all frames before the end of the clip have been added."""
        return self.time >= self._until

    def finish(self, end):
        """Return the slots of the grid (0 is its start) and their frames, `[slots, height, width, 3]`.

        Args:
          end: the last frame is shown until this time, or until the end of the clip.
        """
        if self._waiting is not None:
            self._push(min(end, self._until) + self._ahead)
        self._flush()
        return self._slots, self._frames[: len(self._slots)] if self._slots else None

    def _push(self, end):
        """Push the waiting frame, to be shown until a time, into the filters, unless it is after the clip.

        The filters would show the frame before it up to its time, which is hours away if a stamp is damaged.
        """
        if self.is_complete:
            return
        frame = self._waiting
        stored_as = frame.width, frame.height, frame.format.name
        if stored_as != self._stored_as:  # first frame, or another size, as in video calls and when a phone is turned
            self._flush()
            self._build(frame)
            self._stored_as = stored_as
        frame.pts = round((self.time - self._origin) / CLOCK)
        frame.duration = max(0, round((end - self.time) / CLOCK))
        self._graph.vpush(frame)
        self._pull()

    def _build(self, frame):
        aspect = self.stream.sample_aspect_ratio or 1  # width / height of a pixel
        width, height = frame.width * aspect, frame.height
        if self._size is None:
            scale = self._short_side / min(width, height)
            self._size = round(width * scale), round(height * scale)
        scale = min(self._size[0] / width, self._size[1] / height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        start = max(0, math.ceil((self.time - self._origin) * self._rate))
        self._matrix = _display_matrix(frame)
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._graph.link_nodes(
            self._graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=CLOCK),
            self._graph.add("fps", f"fps={self._rate}:round=up:start_time={float(start / self._rate)}"),
            # Size and colour conversion in two steps: libswscale has fast code for each but not for both at once, and
            # nearly every video (and the JPEG that a frame becomes) has colours at half resolution anyway.
            self._graph.add("scale", f"w={width}:h={height}:flags=area"),
            self._graph.add("format", "pix_fmts=yuv420p"),
            self._graph.add("scale", f"w={width}:h={height}"),
            self._graph.add("format", "pix_fmts=rgb24"),
            # All frames have the size of the first; those of another aspect ratio get black bars.
            self._graph.add("pad", f"w={self._size[0]}:h={self._size[1]}:x=(ow-iw)/2:y=(oh-ih)/2"),
            self._graph.add("buffersink"),
        ).configure()

    def _flush(self):
        if self._graph is not None:
            self._graph.vpush(None)
            self._pull()

    def _pull(self):
        for frame in _drain(self._graph.vpull):
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

    def __init__(self, stream, zero: fractions.Fraction, until: fractions.Fraction | float, sample_rate_hz: int):
        self.stream = stream
        self.end = -math.inf
        self._until = until
        self._zero = zero
        self._rate = sample_rate_hz
        self._graph = None
        self._format = None
        self._pieces = []  # of all channels, since the last change of the format
        self._mono = [np.zeros(0, np.float32)]

    def add(self, frame):
        """Add the next audio frame."""
        if frame.pts is None:
            return
        time = frame.pts * frame.time_base
        self.end = max(self.end, time + fractions.Fraction(frame.samples, frame.sample_rate))
        if time >= self._until:  # the filters would fill the gap before it, which is hours if a stamp is damaged
            return
        audio_format = (frame.sample_rate, frame.format.name, frame.layout.name)
        if audio_format != self._format:  # first frame, or a change of rate or channels, as in TV recordings
            self._flush()
            self._build(frame)
            self._format = audio_format
        frame.pts = round((time - self._zero) * frame.sample_rate)
        self._graph.push(frame)
        self._pull()

    @property
    def is_complete(self) -> bool:
        """Whether all samples before the end of the clip have been added."""
        return self.end >= self._until

    def finish(self) -> np.ndarray:
        """Return the samples from the start of the clip on."""
        self._flush()
        return np.concatenate(self._mono)

    def _flush(self):
        if self._graph is not None:
            self._graph.push(None)
            self._pull()
        if self._pieces:
            self._mono.append(downmix.to_mono(np.concatenate(self._pieces).T, self._names))
            self._pieces = []

    def _build(self, frame):
        # first_pts and async insert silence before a late start and in gaps of the time stamps, and cut an early start.
        seconds = sum(piece.size for piece in self._mono) / self._rate
        first = round(seconds * frame.sample_rate)  # in input samples
        self._names = downmix.channel_names(frame.layout)
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._graph.link_nodes(
            self._graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=fractions.Fraction(1, frame.sample_rate),
            ),
            self._graph.add(
                "aresample", f"sample_rate={self._rate}:async=1:min_hard_comp={MAX_DRIFT_SECONDS}:first_pts={first}"
            ),
            self._graph.add("aformat", "sample_fmts=flt"),
            self._graph.add("abuffersink"),
        ).configure()

    def _pull(self):
        # Samples of all channels in turn: PyAV cannot read a plane per channel if there are eight or more.
        pieces = (frame.to_ndarray() for frame in _drain(self._graph.pull))
        self._pieces.extend(piece.reshape(-1, len(self._names)) for piece in pieces)


def _drain(pull):
    """Yield the frames that a filter graph has ready."""
    while True:
        try:
            yield pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
