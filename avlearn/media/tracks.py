"""The two tracks of a clip on their way out of a decoder: pictures to a grid of times, sound to a mono waveform."""

import fractions
import math

import av
import numpy as np
from av.sidedata.sidedata import Type

UPRIGHT = (1, 0, 0, 1)


class Pictures:
    """Puts decoded frames on a grid of times and scales those that are shown, in libav's filters.

    Attributes:
      stream: the container's stream.
      end: when the last frame taken goes off screen, seconds on the container's clock; -inf before the first.
      in_order: whether no frame's time stamp lay before that of a frame that is shown earlier.
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
        # The filter takes the last frame that is not later. Half an interval of the faster rate makes it the nearest of
        # a fast source, and leaves a time stamp that its container rounded in its place.
        source_rate = stream.average_rate or frames_per_second
        self._ahead = fractions.Fraction(1, 2) / max(source_rate, frames_per_second)
        self._origin = zero + self._ahead
        self._duration = 1 / source_rate
        self._capacity = max(1, capacity)  # frames that are expected
        self._frames = None  # one array from the start: a list to stack in the end would need the memory twice
        self._slots = []

    def add(self, frame):
        """Takes the next frame in order of presentation."""
        if frame.pts is None:
            return
        time = frame.pts * frame.time_base
        duration = frame.duration * frame.time_base or self._duration
        self.in_order &= time + 3 * duration / 2 > self.end  # a stamp that its container rounded is no disorder
        self.end = max(self.end, time + duration)
        frame.pts -= round(self._origin / frame.time_base)
        frame.duration = round((duration + self._ahead) / frame.time_base)  # the last frame stays until its true end
        if self._graph is None:
            self._first_slot = math.ceil((time - self._origin) * self._rate)
            self._matrix = _display_matrix(frame)
            self._build(frame)
        self._graph.vpush(frame)
        self._pull()

    def finish(self):
        """Slots of the grid (0 is the start of the clip) and the frames `[slots, height, width, 3]` in them."""
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
            # In two steps, size and then colours: libswscale has fast code for either, but not for both at once, and
            # colours are at half resolution in nearly every video (and in the JPEG that a frame becomes) anyway.
            self._graph.add("scale", f"w={width}:h={height}:flags=area"),
            self._graph.add("format", "pix_fmts=yuv420p"),
            self._graph.add("scale", f"w={width}:h={height}"),
            self._graph.add("format", "pix_fmts=rgb24"),
            self._graph.add("buffersink"),
        ).configure()

    def _pull(self):
        for frame in _drain(self._graph.vpull):
            if frame.pts >= self._first_slot:  # the filter repeats the first frame back to the start of the clip
                self._keep(frame.pts, upright(frame.to_ndarray(), self._matrix))

    def _keep(self, slot, picture):
        count = len(self._slots)
        if self._frames is None:
            self._frames = np.empty((self._capacity, *picture.shape), np.uint8)
        elif count == len(self._frames):
            self._frames = np.concatenate([self._frames, np.empty_like(self._frames)])
        self._frames[count] = picture
        self._slots.append(slot)


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """What a file says about how to show its picture: (a, b, c, d) of `upright`."""
    stored = frame.side_data.get(Type.DISPLAYMATRIX)
    if stored is None:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(stored, np.int32).tolist()
    return a, b, c, d


def upright(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """A picture as it is to be shown: turned by quarters, and mirrored where the file says so.

    Args:
      picture: `[height, width, channels]`.
      matrix: (a, b, c, d), in any unit: a point (x, y) of the picture is shown at (a x + c y, b x + d y).
    """
    a, b, c, d = matrix
    if abs(b) > abs(a):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


class Sound:
    """Brings decoded sound to mono, to a rate and to the clip's clock, in libav's filters.

    Attributes:
      stream: the container's stream.
      end: when the last piece taken ends, seconds on the container's clock; -inf before the first.
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
        """Takes the next piece of sound."""
        if frame.pts is None:
            return
        self.end = max(self.end, frame.pts * frame.time_base + fractions.Fraction(frame.samples, frame.sample_rate))
        now = (frame.sample_rate, frame.format.name, frame.layout.name)
        if now != self._format:  # the first piece, or the sound changes its rate or channels, as in a recording of TV
            self._flush()
            self._build(frame)
            self._format = now
        frame.pts -= round(self._zero / frame.time_base)
        self._graph.push(frame)
        self._pull()

    def finish(self) -> np.ndarray:
        """Samples from the start of the clip on."""
        self._flush()
        return np.concatenate(self._pieces)

    def _flush(self):
        if self._graph is not None:
            self._graph.push(None)
            self._pull()

    def _build(self, frame):
        # first_pts, async: silence before a late start and in gaps of the time stamps; an early start is cut.
        # rematrix_maxval: channels are averaged, not summed, so that full scale stays 1.
        taken = sum(piece.size for piece in self._pieces) / self._rate
        first = round(taken * frame.sample_rate)  # in samples of what comes in
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
    """Frames that a filter graph has ready."""
    while True:
        try:
            yield pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
