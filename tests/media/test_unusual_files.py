"""Files that phones, browsers, cameras and editors write: their tracks, channels, lengths and time stamps."""

import struct
import types
from fractions import Fraction

import av
import numpy as np
import pytest

from avlearn.media import decode, downmix, missing_bytes, tracks
from tests.helpers.media_file import RATE, Audio, Video, clicking, flashing, plain, write, write_tracks

TIMES = np.arange(50) / 25
CLOCK = 1000


def _moments(clip):
    """Return the times of the flash and the click, seconds."""
    flash = clip.frame_times_ms[np.argmax(clip.frames.mean(axis=(1, 2, 3)) > 150)] / 1000
    return flash, np.argmax(np.abs(clip.waveform) > 0.3) / clip.sample_rate_hz


def _check_good(clip, seconds=2.0, moment=0.8):
    assert len(clip.frames) == round(25 * seconds)
    assert clip.covered_seconds == pytest.approx(seconds, abs=0.025)
    assert _moments(clip) == pytest.approx((moment, moment), abs=0.005)


def _refused(path, **arguments):
    with pytest.raises(decode.UnreadableClip) as caught:
        decode.read_clip(path, **arguments)
    return f"{caught.value.reason}: {caught.value.detail}"


@pytest.mark.parametrize("frames_per_second", [25, 10])
def test_the_audio_track_may_be_the_first(tmp_path, frames_per_second):
    times = np.arange(2 * frames_per_second) / frames_per_second
    path = write_tracks(
        tmp_path / "a.mp4", Audio(clicking(2, 0.8)), Video(flashing(times, 0.8), frames_per_second=frames_per_second)
    )
    _check_good(decode.read_clip(path, short_side=32))
    np.testing.assert_array_equal(
        decode.read_audio(path, duration_seconds=2), decode.read_clip(path, duration_seconds=2).waveform
    )


def test_audio_alone_is_read_to_its_end_from_a_file_whose_video_goes_further(tmp_path):
    path = write(tmp_path / "a.mp4", flashing(TIMES, 0.8), clicking(1.3, 0.8))
    assert decode.read_audio(path, duration_seconds=1.3, sample_rate_hz=21_000).size == 27_300
    assert decode.read_audio(path, duration_seconds=2).size == 2 * RATE
    assert decode.read_audio(path, duration_seconds=2, padded=False).size == pytest.approx(1.3 * RATE, abs=1024)


def test_a_track_may_appear_after_the_beginning(tmp_path):
    path = plain(tmp_path / "a.flv")
    caption = b"\x02\x00\x0aonTextData\x08\x00\x00\x00\x01\x00\x04text\x02\x00\x02hi\x00\x00\x09"
    tag = bytes([18]) + len(caption).to_bytes(3, "big") + (1900).to_bytes(3, "big") + bytes(4) + caption
    path.write_bytes(path.read_bytes() + tag + len(tag).to_bytes(4, "big"))
    clip = decode.read_clip(path, short_side=32)
    assert len(clip.frames) == 50
    assert _moments(clip) == pytest.approx((0.8, 0.8), abs=0.05)


def test_frames_of_a_variable_rate_are_shown_until_the_next_one(tmp_path):
    # With B-frames, the durations that mp4 states are those in the order of decoding.
    numbers = np.delete(np.arange(60), np.random.default_rng(0).choice(np.arange(1, 59), 12, replace=False))
    images = [np.full((32, 32, 3), 4 * number, np.uint8) for number in numbers]
    path = write(tmp_path / "a.mp4", images, clicking(2, 0.8), frames_per_second=30, times=numbers / 30)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        rate = float(container.streams.video[0].average_rate)
    gaps = np.diff([frame.pts for frame in frames])
    assert any(frame.duration != gap for frame, gap in zip(frames, gaps, strict=False))
    clip = decode.read_clip(path, frames_per_second=25, short_side=32)
    assert clip.frame_times_ms.tolist() == list(range(0, 2000, 40))
    on_screen = numbers[np.searchsorted(numbers / 30, clip.frame_times_ms / 1000 + 0.5 / rate + 1e-6) - 1]
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)), 4 * on_screen, atol=1.9)
    assert clip.covered_seconds == pytest.approx(2)


def _reader(times, until=2.0, size=(32, 32)):
    """Return a reader of a track of 25 frames per second, with frames at some times added."""
    stream = types.SimpleNamespace(average_rate=Fraction(25), sample_aspect_ratio=None)
    reader = tracks.VideoReader(stream, Fraction(0), until, Fraction(25), 32, 50)
    for time in times:
        frame = av.VideoFrame.from_ndarray(np.zeros((*size, 3), np.uint8))
        frame.time_base = Fraction(1, CLOCK)
        frame.pts, frame.duration = round(time * CLOCK), CLOCK // 25
        reader.add(frame)
    return reader


@pytest.mark.parametrize(
    ("times", "in_order"),
    [
        ((0.0, 0.04, 0.08), True),
        ((0.0, 0.04, 0.04), True),
        ((0.0, 0.04, 0.021), True),  # back by less than half a frame
        ((0.0, 0.04, 0.02), False),
        ((0.0, 0.08, 0.04), False),
        ((0.0, 1.0, 0.99), True),  # after a gap, whatever the stated duration
        ((0.0, 1.0, 0.98), False),
    ],
)
def test_time_stamps_may_go_back_by_less_than_half_a_frame(times, in_order):
    assert _reader(times).in_order is in_order


def test_a_clock_as_coarse_as_a_frame_does_not_move_frames_or_sound():
    stream = types.SimpleNamespace(average_rate=Fraction(25), sample_aspect_ratio=None)
    video = tracks.VideoReader(stream, Fraction(1, 5), 1.0, Fraction(25), 32, 50)
    for number in range(26):
        frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 8 * number, np.uint8))
        frame.time_base, frame.pts, frame.duration = Fraction(1, 25), number, 1
        video.add(frame)
    slots, frames = video.finish(1.0)
    assert list(slots) == list(range(20))
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), 8 * np.arange(5, 25), atol=2)
    audio = tracks.AudioReader(None, Fraction(1, 5), 1.0, RATE)
    for number in range(50):
        samples = np.full((1, 1152), 0.5 if number >= 25 else 0.0, np.float32)  # from 0.6 s on
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(3, 125), number
        audio.add(frame)
    assert np.flatnonzero(audio.finish())[0] == round(0.4 * RATE)


def test_a_damaged_time_stamp_does_not_fill_the_time_up_to_it():
    slots, frames = _reader((0.0, 1.0, 10_000.0, 20_000.0)).finish(30_000.0)
    assert list(slots) == list(range(50))
    assert frames.shape == (50, 32, 32, 3)
    reader = tracks.AudioReader(None, Fraction(0), 2.0, RATE)
    for time in (0, 1, 10_000):
        frame = av.AudioFrame.from_ndarray(np.full((1, RATE), 0.5, np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), time * RATE
        reader.add(frame)
    assert reader.finish().size == 2 * RATE


@pytest.mark.parametrize(
    ("name", "codecs", "options"),
    [
        ("a.ts", ("libx264", "aac"), {}),
        ("a.flv", ("libx264", "aac"), {}),
        ("a.mp4", ("libx264", "aac"), {"movflags": "frag_keyframe+empty_moov"}),
        ("a.avi", ("mpeg4", "mp3"), {}),
        ("a.webm", ("libvpx", "libopus"), {"live": "1"}),
    ],
)
def test_a_part_has_all_of_its_frames_and_sound(tmp_path, name, codecs, options):
    path = plain(tmp_path / name, 3.0, codecs=codecs, options=options)
    complete = decode.read_clip(path, short_side=32)
    for start in (0.2, 0.6):
        part = decode.read_clip(path, start_seconds=start, duration_seconds=1.2, short_side=32)
        assert part.frame_times_ms.tolist() == list(range(0, 1200, 40))
        np.testing.assert_array_equal(
            part.frames, complete.frames[np.searchsorted(complete.frame_times_ms, 1000 * start) :][:30]
        )
        assert np.subtract(_moments(part), _moments(complete)) == pytest.approx((-start, -start), abs=0.0015)
        for sound in (part.waveform, decode.read_audio(path, start_seconds=start, duration_seconds=1.2)):
            assert np.flatnonzero(sound)[0] == 0


def test_a_gap_in_the_sound_keeps_its_length(tmp_path):
    # The first sample after the encoder's delay is 0.08 s late in fragmented mp4 without a list of edits.
    path = plain(tmp_path / "a.mp4", options={"movflags": "frag_keyframe+empty_moov"})
    with av.open(str(path)) as container:
        first, second, *_ = (float(frame.pts * frame.time_base) for frame in container.decode(audio=0))
    assert second - first > 0.07
    assert _moments(decode.read_clip(path, short_side=32)) == pytest.approx((0.88, 0.88), abs=0.005)


def test_the_default_audio_track_is_read(tmp_path):
    silent, default = Audio(np.zeros((2, 2 * RATE), np.float32)), Audio(clicking(2, 0.8), disposition=1)
    path = write_tracks(tmp_path / "a.mp4", Video(flashing(TIMES, 0.8)), silent, default)
    clip = decode.read_clip(path, short_side=32)
    _check_good(clip)
    assert clip.tracks == "audio track 2 of 2"


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("a.mp4", {"codec": "mjpeg"}),
        ("a.mp4", {"codec": "libx264"}),
        ("a.mkv", {"codec": "mjpeg"}),
    ],
)
def test_a_thumbnail_is_not_the_video(tmp_path, name, picture):
    path = write_tracks(
        tmp_path / name,
        Video(flashing(TIMES[:1], 9.0), **picture),
        Video(flashing(TIMES, 0.8), disposition=1),
        Audio(clicking(2, 0.8)),
    )
    clip = decode.read_clip(path, short_side=32)
    _check_good(clip)
    assert clip.tracks == "video track 2 of 2"


def _with_unknown_codec(path, *tracks):
    """Write tracks whose first one in PCM then has a codec that no decoder knows."""
    data = write_tracks(path, *tracks).read_bytes()
    path.write_bytes(data.replace(b"sowt", b"qqqq", 1))
    return path


def test_a_track_that_cannot_be_decoded_is_passed_over(tmp_path):
    unknown = Audio(np.zeros((1, 2 * RATE), np.float32), "pcm_s16le", format="s16", disposition=1)
    video = Video(flashing(TIMES, 0.8))
    clip = decode.read_clip(
        _with_unknown_codec(tmp_path / "both.mov", video, unknown, Audio(clicking(2, 0.8))), short_side=32
    )
    _check_good(clip)
    assert clip.tracks == "audio track 2 of 2"
    message = _refused(_with_unknown_codec(tmp_path / "one.mov", video, unknown))
    assert message == "no_decoder: this version of libav cannot decode its audio: none (qqqq / 0x71717171)"


def test_ambisonic_sound_is_its_channel_w(tmp_path):
    waveform = np.concatenate([clicking(2, 0.8), np.full((3, 2 * RATE), 0.4, np.float32)])
    path = write_tracks(
        tmp_path / "a.mkv", Video(flashing(TIMES, 0.8)), Audio(waveform, "libopus", layout="ambisonic 1")
    )
    clip = decode.read_clip(path, short_side=32)
    _check_good(clip)
    assert np.abs(clip.waveform[:30_000]).max() < 0.05


def test_stereo_out_of_phase_is_loud(tmp_path):
    waveform = clicking(2, 0.8)
    path = write(tmp_path / "a.mp4", flashing(TIMES, 0.8), np.concatenate([-waveform, waveform]))
    clip = decode.read_clip(path, short_side=32)
    _check_good(clip)
    assert np.abs(clip.waveform).max() > 0.7


@pytest.mark.parametrize("layout", ["3 channels", "7 channels", "9 channels", "5.1", "7.1", "FL"])
def test_channels_without_a_layout_are_averaged(tmp_path, layout):
    count = av.AudioLayout(layout).nb_channels
    wave = 0.6 * np.sin(np.arange(2 * RATE) / 20)
    waveform = np.repeat(wave[None], count, axis=0).astype(np.float32)
    audio = Audio(waveform, "pcm_s16le", format="s16", layout=layout)
    path = write_tracks(tmp_path / "a.mov", Video(flashing(TIMES, 0.8)), audio)
    np.testing.assert_allclose(decode.read_audio(path)[: 2 * RATE], wave, atol=1e-3)


def test_channels_that_cancel_become_the_loudest_one():
    wave = np.sin(np.arange(1000, dtype=np.float32))
    names = ("FL", "FR")
    np.testing.assert_allclose(downmix.to_mono(np.stack([wave, wave / 2]), names), 0.75 * wave, rtol=1e-5)
    np.testing.assert_array_equal(downmix.to_mono(np.stack([wave, -wave]), names), wave)
    # The average has 0.0121 and 0.0081 of the power of the first channel.
    np.testing.assert_allclose(downmix.to_mono(np.stack([wave, -0.78 * wave]), names), 0.11 * wave, rtol=1e-4)
    np.testing.assert_array_equal(downmix.to_mono(np.stack([wave, -0.82 * wave]), names), wave)
    surround = np.stack([wave, wave, wave, 9 * wave, wave, wave])
    np.testing.assert_allclose(downmix.to_mono(surround, ("FL", "FR", "FC", "LFE", "BL", "BR")), wave, rtol=1e-5)
    np.testing.assert_array_equal(downmix.to_mono(np.stack([0 * wave, wave]), ("FC", "LFE")), wave)
    assert not downmix.to_mono(np.zeros((2, 10), np.float32), names).any()


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_single_picture_is_shown_until_the_end(tmp_path, suffix):
    picture = Video(flashing([0.0], 9.0), frames_per_second=1 if suffix == "mkv" else Fraction(1, 3))
    path = write_tracks(tmp_path / f"a.{suffix}", picture, Audio(clicking(3, 0.8)))
    clip = decode.read_clip(path, duration_seconds=3, short_side=32)
    assert (len(clip.frames), clip.covered_seconds) == (75, 3.0)


def test_another_track_may_outlast_picture_and_sound(tmp_path):
    path = write_tracks(
        tmp_path / "a.mkv",
        Video(flashing(TIMES, 0.8), disposition=1),
        Audio(clicking(2, 0.8), disposition=1),
        Audio(clicking(5, 0.8)),
    )
    _check_good(decode.read_clip(path, short_side=32))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert "s of a declared 5.0" in _refused(cut)


def test_frames_of_other_sizes_fit_into_the_first_one(tmp_path):
    first, second = tmp_path / "first.ts", tmp_path / "second.ts"
    plain(first)
    write(second, flashing(TIMES, 0.8, (96, 64)), clicking(2, 0.8), video_start=2.2, audio_start=2.2)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    clip = decode.read_clip(both, short_side=48)
    assert clip.frames.shape[1:] == (48, 72, 3)
    assert set(np.diff(clip.frame_times_ms)) == {40}
    last = clip.frames[-1]
    assert last[:, :19].max() == last[:, -19:].max() == 0  # 48 x 32 pixels between black bars
    np.testing.assert_allclose(last[:, 21:51], 60, atol=4)
    np.testing.assert_allclose(clip.frames[5], 60, atol=4)


def test_the_length_that_is_not_stated_is_measured(tmp_path):
    live = plain(tmp_path / "live.webm", 3.0, codecs=("libvpx", "libopus"), options={"live": "1"})
    with av.open(str(live)) as container:
        assert container.duration is None
    assert decode.length(live) == pytest.approx((3.0, 3.0), abs=0.03)
    clip = decode.read_clip(live, start_seconds=2.0, duration_seconds=1.0, short_side=32)
    assert (len(clip.frames), clip.covered_seconds) == (25, pytest.approx(1.0, abs=0.02))


def test_a_length_that_libav_guesses_is_not_stated(tmp_path):
    # libav multiplies the bit rate of the beginning, which is silent, with the size of the file.
    path = tmp_path / "a.mp3"
    waveform = clicking(6, 5.0)
    waveform[:, 3 * RATE :] *= 100
    waveform[:, : 3 * RATE] = 0
    with av.open(str(path), "w", options={"write_xing": "0"}) as container:
        stream = container.add_stream("mp3", RATE, layout="mono", options={"flags": "+qscale", "global_quality": "472"})
        for frame in Audio(waveform.clip(-1, 1), layout="mono").frames():
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.duration / av.time_base > 8
    assert decode.length(path).seconds == pytest.approx(6, abs=0.1)
    assert decode.read_audio(path).size / RATE == pytest.approx(6, abs=0.1)


def test_a_truncated_file_is_as_long_as_what_is_there(tmp_path):
    path = plain(tmp_path / "a.mp4", 4.0, codecs=("mjpeg", "aac"), options={"movflags": "faststart"})
    assert decode.length(path) == pytest.approx((4.0, 4.0), abs=0.03)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seconds, present = decode.length(path)
    assert seconds == pytest.approx(4.0, abs=0.03)
    assert 1 < present < 3
    message = _refused(path, start_seconds=3.5, duration_seconds=0.5)
    assert message == "truncated: it ends before the requested part, of a declared 4.00 s; download it again"


def test_titles_may_have_any_encoding(tmp_path):
    path = plain(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes().replace(b"VideoHandler", "Vidéo Handle".encode("latin-1")))
    _check_good(decode.read_clip(path, short_side=32))


def test_a_line_of_pixels_is_refused(tmp_path):
    long = write(tmp_path / "long.mkv", flashing(TIMES, 0.8, (16, 320)), clicking(2, 0.8))
    assert decode.read_clip(long, short_side=8).frames.shape[1:] == (8, 160, 3)
    path = write(tmp_path / "a.mkv", flashing(TIMES, 0.8, (16, 336)), clicking(2, 0.8))
    assert _refused(path) == "unreadable: its frames are 336 x 16; one side may be 20 times the other"


def test_a_file_without_packets_is_empty(tmp_path):
    path = plain(tmp_path / "a.mp4", options={"movflags": "frag_keyframe+empty_moov"})
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"moof") - 4])
    with pytest.raises(decode.UnreadableClip, match="empty: it has no frame and no sound"):
        decode.length(path)


MP4, MATROSKA, ASF = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf"
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(24)
FTYP = bytes([0, 0, 0, 8]) + b"ftyp"


@pytest.mark.parametrize(
    ("format_name", "data", "cut_short"),
    [
        (MP4, FTYP + bytes([0, 0, 0, 16]) + b"mdat" + bytes(8), False),
        (MP4, FTYP + bytes([0, 0, 0, 16]) + b"mdat" + bytes(7), True),
        (MP4, FTYP + bytes([0, 0, 0, 1]) + b"mdat" + (24).to_bytes(8, "big") + bytes(8), False),
        (MP4, FTYP + bytes([0, 0, 0, 1]) + b"mdat" + (24).to_bytes(8, "big") + bytes(7), True),
        (MP4, FTYP + bytes(4) + b"mdat" + bytes(7), False),  # to the end of the file
        (MP4, FTYP + bytes([0, 0, 0, 8]) + b"emsg" + bytes([0, 0, 0, 16]) + b"mdat" + bytes(7), True),  # of a stream
        (MP4, FTYP + bytes([9, 0, 0, 0]) + b"junk", False),
        (MATROSKA, b"\x1a\x45\xdf\xa3\x84\0\0\0\0\x18\x53\x80\x67\x88" + bytes(8), False),
        (MATROSKA, b"\x1a\x45\xdf\xa3\x84\0\0\0\0\x18\x53\x80\x67\x88" + bytes(7), True),
        (MATROSKA, b"\x1a\x45\xdf\xa3\x84\0\0\0\0\x18\x53\x80\x67\x40\x08" + bytes(7), True),
        (MATROSKA, b"\x1a\x45\xdf\xa3\x84\0\0\0\0\x18\x53\x80\x67\x01" + b"\xff" * 7 + bytes(4), False),  # live
        (ASF, bytes(30) + ASF_PROPERTIES + (79).to_bytes(8, "little") + bytes(1), False),
        (ASF, bytes(30) + ASF_PROPERTIES + (80).to_bytes(8, "little") + bytes(1), True),
        (ASF, bytes(30) + ASF_PROPERTIES + bytes(8), False),  # live
        (ASF, bytes(99), False),
        ("flv", b"FLV", None),
    ],
)
def test_a_missing_end_is_found_by_the_sizes_in_the_file(tmp_path, format_name, data, cut_short):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert missing_bytes.cut_short(path, format_name) is cut_short


def _overwritten(path, kind, byte):
    """Replace each packet of a kind of track by a byte; return the path."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        for packet in container.demux(stream):
            if packet.size:
                data[packet.pos : packet.pos + packet.size] = bytes([byte]) * packet.size
    path.write_bytes(data)
    return path


def test_a_track_whose_packets_are_all_damaged_is_unreadable(tmp_path):
    assert _refused(_overwritten(plain(tmp_path / "a.mp4"), "video", 255)).startswith("unreadable: ")
    assert _refused(_overwritten(plain(tmp_path / "b.mp4"), "audio", 255)).startswith("unreadable: ")


@pytest.mark.parametrize("duration_seconds", [None, 2])
def test_an_audio_track_without_sound_is_empty(tmp_path, duration_seconds):
    path = write_tracks(tmp_path / "a.mkv", Video(flashing(TIMES, 0.8)), Audio(np.zeros((1, 0), np.float32)))
    with pytest.raises(decode.UnreadableClip, match="empty: no sound in the requested part"):
        decode.read_clip(path, duration_seconds=duration_seconds)


@pytest.mark.parametrize(("name", "codecs"), [("a.mkv", ("libx264", "aac")), ("a.webm", ("libvpx", "libopus"))])
def test_an_end_of_zeros_is_missing(tmp_path, name, codecs):
    path = plain(tmp_path / name, 8.0, codecs=codecs)
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packet = next(packet for packet in container.demux(audio=0) if packet.pts * packet.time_base > 4)
    end = data.index(bytes(packet)) + packet.size
    path.write_bytes(data[:end] + bytes(len(data) - end))
    assert _refused(path).startswith("truncated: its ")
    _check_good(decode.read_clip(path, duration_seconds=2, short_side=32))


@pytest.mark.parametrize(
    ("first_time", "time", "track_end", "expected"),
    [
        (0, 3.9, None, 4),
        (0, 3.9, 9, 9),  # the last picture is held
        (0, 3.9, 4.08, 4),
        (0, 3.9, 2, 4),  # a length that leaves out later fragments
        (0, 0, None, 7),  # a still picture is shown until the end of the file
        (3.9, 3.9, None, 4),  # the last picture of a track whose beginning is not in the requested part
    ],
)
def test_the_video_ends_where_its_last_picture_does(first_time, time, track_end, expected):
    stream = types.SimpleNamespace(start_time=None, time_base=Fraction(1, CLOCK))
    reader = types.SimpleNamespace(first_time=first_time, time=time, end=4, stream=stream)
    file = types.SimpleNamespace(end=7, track_end=lambda stream: track_end)
    assert decode._video_end(file, reader) == expected


def test_a_length_in_place_of_the_end_of_a_late_start_is_understood(tmp_path):
    times = TIMES + 100
    path = write_tracks(
        tmp_path / "a.mkv", Video(flashing(TIMES, 0.8), times=times), Audio(clicking(2, 0.8), start=100.0)
    )
    data, mark = path.read_bytes(), b"\x44\x89\x88"  # of the segment's duration, milliseconds
    at = data.index(mark) + len(mark)
    assert struct.unpack(">d", data[at : at + 8])[0] == pytest.approx(102_000, abs=50)
    path.write_bytes(data[:at] + struct.pack(">d", 2000.0) + data[at + 8 :])
    _check_good(decode.read_clip(path, short_side=32))
    assert decode.length(path).seconds == pytest.approx(2, abs=0.05)
