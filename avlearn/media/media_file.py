"""Opens a media file, chooses its tracks, and says how long it is and whether a part of it is missing."""

import contextlib
import fractions
import functools
import math
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import av
from av.stream import Disposition

from avlearn.media import missing_bytes

THUMBNAIL = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
PICTURE_CODECS = ("mjpeg", "png", "bmp", "gif", "tiff", "webp")
STATE_END = ("matroska,webm", "flv")  # these containers state the time of their end, the others their length
STATE_NO_TRACK_END = (*STATE_END, "asf")  # whatever libav fills in
# Encoder padding makes a track differ from its declared length; a larger difference means a truncated file, or a last
# picture that is held.
DECLARED_TOLERANCE_SECONDS = 0.1
WHOLE_TOLERANCE_SECONDS = 1  # the last packet of a slow track may not state how long it lasts
SEEK_MARGINS_SECONDS = (0.25, 1, 10, math.inf)  # the first is for audio codecs, whose first samples need earlier ones
MAX_ASPECT = 20  # of a picture; more would take gigabytes at the usual short side
# Titles may be in any encoding; PyAV accepts that from version 19 on.
ANY_TITLE = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


class UnreadableClip(ValueError):
    """A media file that does not provide the requested clip.

    Attributes:
      path: the file.
      reason: category of the fault: `missing`, `unreadable` (not a media file, or damaged), `truncated`,
        `no_video_track`, `no_audio_track`, `no_decoder` (libav cannot decode any track of a kind) or `empty` (the file
        has nothing at the requested time).
    """

    def __init__(self, path: str | os.PathLike, reason: str, detail: str):
        super().__init__(path, reason, detail)  # pass all arguments, so that a worker process can pickle the error
        self.path = path
        self.reason = reason
        self.detail = detail

    def __str__(self):
        return f"{os.fspath(self.path)}: {self.reason}: {self.detail}"


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator["MediaFile"]:
    """Open a media file; errors of libav in the context become an `UnreadableClip`."""
    if not pathlib.Path(path).is_file():
        raise UnreadableClip(path, "missing", "the file does not exist")
    try:
        with _log(av.logging.WARNING) as messages:
            container = av.open(os.fspath(path), **ANY_TITLE)
        with container:
            yield MediaFile(path, container, estimated=any("duration from bitrate" in text for *_, text in messages))
    except av.error.FFmpegError as error:
        raise UnreadableClip(path, "unreadable", f"not a media file, or damaged ({error.strerror})") from error


@contextlib.contextmanager
def _log(level: int) -> Iterator[list]:
    """Collect libav's log, which is otherwise off, so that it does not fill the terminal."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(level)
    av.logging.set_skip_repeated(False)  # the last file may have had the same message
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])


class MediaFile:
    """An open media file; times are seconds on the container's clock.

    Attributes:
      path: path of the file.
      container: libav's container.
      estimated: whether libav guesses the length from the size, as that of an mp3 file without a header.
      start: start of the earliest track.
      end: declared end of the longest track; None if the file declares none.
      tracks: which tracks were chosen from several of a kind, for example `audio track 2 of 3`.
    """

    def __init__(self, path: str | os.PathLike, container: av.container.InputContainer, *, estimated: bool):
        self.path = path
        self.container = container
        self.estimated = estimated
        self.start = fractions.Fraction(container.start_time or 0, av.time_base)
        self.end = self._declared_end()
        self.tracks = ""

    @property
    def declared_seconds(self) -> float | None:
        """Declared length; None if the file declares none."""
        return None if self.end is None else float(self.end - self.start)

    @property
    def states_tracks(self) -> bool:
        """Whether the container states the end of each track."""
        return self.container.format.name not in STATE_NO_TRACK_END and not self.estimated

    @property
    def flags_damage(self) -> bool:
        """Whether a packet that libav flags as corrupt is one; in a transport stream each splice is flagged."""
        return self.container.format.name != "mpegts"

    @property
    def cut_short(self) -> bool | None:
        """Whether the file ends before the container's structure does; None for containers that do not tell."""
        return missing_bytes.cut_short(self.path, self.container.format.name)

    @functools.cached_property
    def is_whole(self) -> bool:
        """Whether the container's structure is complete, and its packets go on to the declared end.

        They do not in a download that fills what is missing with zeros.
        """
        if self.cut_short is not False or self.end is None:
            return False
        self._go_to(self.start - 1)
        return self._end_of_packets(tuple(self.container.streams)) >= self.end - WHOLE_TOLERANCE_SECONDS

    def track_end(self, stream) -> fractions.Fraction | None:
        """Return the end that the container states for a track; None if it states none."""
        if not (self.states_tracks and stream.duration):
            return None
        return ((stream.start_time or 0) + stream.duration) * stream.time_base

    def track(self, kind: str):
        """Return the track of a kind, `video` or `audio`, that a player would choose.

        This is the first that is marked as default, otherwise the first, of those that libav can decode. Covers and
        thumbnails do not count as video, and neither does a track of one frame, or in a codec of pictures, next to
        others.

        Raises:
          UnreadableClip: `no_video_track`, `no_audio_track` or `no_decoder`.
        """
        every = [s for s in self.container.streams if s.type == kind and not s.disposition & THUMBNAIL]
        if not every:
            raise UnreadableClip(self.path, f"no_{kind}_track", f"the file has no {kind} track")
        decodable = [stream for stream in every if stream.codec_context is not None]
        if not decodable:
            codecs = ", ".join(map(self._codec, every))
            raise UnreadableClip(self.path, "no_decoder", f"this version of libav cannot decode its {kind}: {codecs}")
        moving = [stream for stream in decodable if kind == "audio" or not _is_picture(stream)] or decodable
        chosen = next((stream for stream in moving if stream.disposition & Disposition.default), moving[0])
        if kind == "video":
            self._check_aspect(chosen)
        if len(every) > 1:
            text = f"{kind} track {1 + every.index(chosen)} of {len(every)}"
            self.tracks = f"{self.tracks}, {text}" if self.tracks else text
        chosen.codec_context.thread_count = 1  # dataset builders run one process per core: threads would only contend
        return chosen

    def seek(self, stream, time: fractions.Fraction) -> None:
        """Go to a place in the file from which a track can be decoded at a time.

        libav's places may be late: by the delay of B-frames, or in transport streams by a group of frames.
        """
        for margin in SEEK_MARGINS_SECONDS:
            place = max(time - margin, self.start - 1) if margin < math.inf else self.start - 1
            self._go_to(place)
            starts = (packet for packet in self.packets([stream]) if packet.is_keyframe and packet.pts is not None)
            first = next(starts, None)
            if self.cut_short if first is None else first.pts * first.time_base <= time:
                break
        self._go_to(place)

    def _go_to(self, time):
        offset = math.floor(time * av.time_base)
        try:
            self.container.seek(offset)
        except av.error.FFmpegError:  # no keyframe is as early as this
            self.container.seek(offset, backward=False)

    def packets(self, streams: Sequence) -> Iterator[av.Packet]:
        """Yield the packets of some tracks, and at the end one for each that flushes its decoder."""
        packets = self.container.demux(streams)
        while True:
            try:
                packet = next(packets)
            except (
                StopIteration,
                IndexError,
            ):  # PyAV raises IndexError if tracks have appeared since it opened the file
                return
            yield packet

    def measured_seconds(self) -> float:
        """Return the length of what the file has, from its packets, without decoding them."""
        streams = [stream for stream in self.container.streams if stream.type in ("video", "audio")]
        return float(self._end_of_packets(streams) - self.start)

    def _end_of_packets(self, streams):
        end = self.start
        with contextlib.suppress(av.error.FFmpegError):
            for packet in self.packets(streams):
                if packet.is_corrupt and self.flags_damage:
                    break
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        return end

    def _check_aspect(self, stream):
        shape = stream.width * (stream.sample_aspect_ratio or 1), stream.height
        if max(shape) > MAX_ASPECT * min(shape):
            raise UnreadableClip(
                self.path,
                "unreadable",
                f"its frames are {float(shape[0]):g} x {shape[1]}; one side may be {MAX_ASPECT} times the other",
            )

    def _declared_end(self):
        if self.estimated or not self.container.duration:
            return None
        stated = fractions.Fraction(self.container.duration, av.time_base)
        states_end = self.container.format.name in STATE_END and stated > self.start
        return stated if states_end else self.start + stated

    def _codec(self, stream) -> str:
        """Return libav's words for the codec of a track that has no decoder; PyAV has no attribute for it."""
        with _log(av.logging.INFO):
            text = self.container.dumps_format()
        found = re.search(rf"Stream #0:{stream.index}\b.*?: (?:Audio|Video): ([^,\n]+)", text)
        return found[1].strip() if found else "unknown"


def _is_picture(stream) -> bool:
    """Return whether a track is a picture rather than a video, if there are other tracks."""
    return stream.frames == 1 or stream.codec_context.name in PICTURE_CODECS
