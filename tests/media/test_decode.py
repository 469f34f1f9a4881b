"""Decoding of clips: time stamps, sizes, orientation, and files that cannot be read."""

import pickle
from fractions import Fraction

import av
import numpy as np
import pytest

from avlearn.media import decode
from tests.helpers.media_file import RATE, clicking, flashing, plain, with_display_matrix, write
from tests.helpers.paths import SHARED

REAL = SHARED / "media"


def _flash_seconds(clip):
    return clip.frame_times_ms[np.argmax(clip.frames.mean(axis=(1, 2, 3)) > 150)] / 1000


def _click_seconds(clip):
    return np.argmax(clip.waveform > 0.3) / clip.sample_rate_hz


@pytest.mark.parametrize("frames_per_second", [25, 5, 50])
def test_flash_and_click_keep_their_times(tmp_path, frames_per_second):
    path = plain(tmp_path / "clip.mp4")
    clip = decode.read_clip(path, duration_seconds=2, frames_per_second=frames_per_second, short_side=64)
    assert clip.frames.shape == (2 * frames_per_second, 64, 96, 3)
    np.testing.assert_array_equal(clip.frame_times_ms, np.arange(2 * frames_per_second) * 1000 // frames_per_second)
    assert clip.waveform.shape == (96_000,)
    assert _flash_seconds(clip) == pytest.approx(0.8, abs=1e-9)
    assert _click_seconds(clip) == pytest.approx(0.8, abs=1e-3)
    assert clip.frames[0].mean() == pytest.approx(60, abs=4)
    assert clip.frames.max() == pytest.approx(235, abs=4)


@pytest.mark.parametrize(
    ("source_fps", "source_rate", "suffix", "codecs"),
    [
        (30, 44_100, "mp4", ("libx264", "aac")),
        (Fraction(30_000, 1001), 48_000, "mp4", ("libx264", "aac")),
        (30, 48_000, "mkv", ("libx264", "libopus")),
        (24, 44_100, "mkv", ("libx264", "mp3")),
        (50, 16_000, "mov", ("mpeg4", "pcm_s16le")),
    ],
)
@pytest.mark.parametrize("start", [0.0, 0.73])
def test_other_rates_and_containers_keep_frames_and_audio_aligned(
    tmp_path, source_fps, source_rate, suffix, codecs, start
):
    times = np.arange(round(3 * source_fps)) / float(source_fps)
    flash = times[np.argmax(times >= 1.5)]
    path = write(
        tmp_path / f"clip.{suffix}",
        flashing(times, flash),
        clicking(3, flash, source_rate),
        frames_per_second=source_fps,
        rate=source_rate,
        codecs=codecs,
    )
    clip = decode.read_clip(path, start_seconds=start, duration_seconds=2, short_side=32)
    assert len(clip.frames) == 50
    assert clip.frames.shape[1:] == (32, 48, 3)
    assert clip.waveform.shape == (96_000,)
    assert _flash_seconds(clip) == pytest.approx(flash - start, abs=0.5 / 24 + 0.5 / 25)
    assert _click_seconds(clip) == pytest.approx(flash - start, abs=0.005)


def test_audio_may_change_its_rate_and_channels(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", 25), container.add_stream("mp3", RATE, layout="mono")
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        packets = [
            packet
            for image in (*flashing(np.arange(100) / 25, 3.0, (32, 48)), None)
            for packet in video.encode(image if image is None else av.VideoFrame.from_ndarray(image))
        ]
        for rate, layout, begin in ((RATE, "mono", 0), (44_100, "stereo", 2)):
            encoder = av.CodecContext.create("mp3", "w")
            encoder.sample_rate, encoder.layout, encoder.format = rate, layout, "fltp"
            waveform = clicking(2, 1.0, rate, 1 if layout == "mono" else 2)
            frame = av.AudioFrame.from_ndarray(waveform, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            for packet in [*encoder.encode(frame), *encoder.encode()]:
                packet.pts = packet.dts = round((packet.pts * packet.time_base + begin) * RATE)
                packet.time_base, packet.stream = Fraction(1, RATE), audio
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    clip = decode.read_clip(path, short_side=32)
    clicks = np.flatnonzero(clip.waveform > 0.3) / RATE
    assert clicks[clicks < 2].min() == pytest.approx(1.0, abs=0.005)
    assert clicks[clicks > 2].min() == pytest.approx(3.0, abs=0.005)
    assert _flash_seconds(clip) == pytest.approx(3.0, abs=0.021)


def test_frames_without_time_stamps_are_refused(tmp_path):
    path = plain(tmp_path / "clip.avi", codecs=("libx264", "pcm_s16le"))
    with pytest.raises(decode.UnreadableClip, match="time stamps of its frames go backwards; re-encode it as mp4"):
        decode.read_clip(path)


def test_the_nearest_frame_is_shown(tmp_path):
    ramp = [np.full((32, 32, 3), 2 * k, np.uint8) for k in range(90)]
    path = write(tmp_path / "ramp.mp4", ramp, clicking(3, 1), frames_per_second=30)
    clip = decode.read_clip(path, duration_seconds=3, frames_per_second=25, short_side=32)
    shown = clip.frames.mean(axis=(1, 2, 3)) / 2
    np.testing.assert_allclose(shown, clip.frame_times_ms / 1000 * 30, atol=0.5 + 0.6)
    assert abs(np.mean(shown - clip.frame_times_ms / 1000 * 30)) < 0.3


@pytest.mark.parametrize(("video_start", "audio_start"), [(0.0, 0.5), (0.5, 0.0), (0.3, 0.1)])
def test_tracks_that_start_apart_share_one_clock(tmp_path, video_start, audio_start):
    times = video_start + np.arange(50) / 25
    path = write(
        tmp_path / "clip.mkv",
        flashing(times, 1.0 + video_start % 0.04),
        clicking(2, 1.0 - audio_start),
        video_start=video_start,
        audio_start=audio_start,
        codecs=("libx264", "pcm_s16le"),
    )
    zero = min(video_start, audio_start)
    clip = decode.read_clip(path, short_side=32)
    assert _click_seconds(clip) == pytest.approx(1.0 - zero, abs=0.005)
    assert _flash_seconds(clip) == pytest.approx(1.0 - zero, abs=0.021)
    assert clip.frame_times_ms[0] == pytest.approx(1000 * (video_start - zero), abs=20)
    first_sound = np.argmax(clip.waveform != 0) / RATE
    assert first_sound == pytest.approx(audio_start - zero, abs=0.005)
    # Without a duration the clip ends where its first track does.
    assert clip.waveform.size / RATE == pytest.approx(2 + min(video_start, audio_start) - zero, abs=0.01)
    assert clip.frame_times_ms[-1] < 1000 * clip.waveform.size / RATE


def test_a_late_start_agrees_with_the_full_clip(tmp_path):
    rng = np.random.default_rng(0)
    images = [np.full((32, 48, 3), value, np.uint8) for value in rng.integers(30, 220, 100)]
    sound = np.cumsum(rng.normal(0, 0.01, (1, 4 * RATE)), axis=1)
    sound = (sound - np.convolve(sound[0], np.ones(480) / 480, "same")).astype(np.float32)
    path = write(tmp_path / "clip.mp4", images, sound)
    full = decode.read_clip(path, duration_seconds=4, short_side=32)
    part = decode.read_clip(path, start_seconds=2.2, duration_seconds=1, short_side=32)
    np.testing.assert_array_equal(part.frames, full.frames[55:80])
    np.testing.assert_array_equal(part.frame_times_ms, full.frame_times_ms[:25])
    np.testing.assert_allclose(part.waveform, full.waveform[105_600:153_600], atol=1e-5)


def test_beyond_the_end_frames_are_absent_and_audio_is_silent(tmp_path):
    clip = decode.read_clip(plain(tmp_path / "clip.mp4"), start_seconds=1.5, duration_seconds=1)
    assert clip.frame_times_ms[-1] == 480
    assert clip.waveform.shape == (48_000,)
    assert np.abs(clip.waveform[:20_000]).max() > 0.001
    assert not clip.waveform[27_000:].any()


def test_stereo_is_averaged(tmp_path):
    left = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    waveform = np.stack([0.9 * left, 0.9 * left]).astype(np.float32)
    both = write(tmp_path / "both.mov", flashing(np.arange(25) / 25, 0.5), waveform, codecs=("libx264", "pcm_s16le"))
    waveform[1] = 0
    one = write(tmp_path / "one.mov", flashing(np.arange(25) / 25, 0.5), waveform, codecs=("libx264", "pcm_s16le"))
    assert np.abs(decode.read_clip(both, duration_seconds=1).waveform).max() == pytest.approx(0.9, abs=1e-3)
    assert np.abs(decode.read_clip(one, duration_seconds=1).waveform).max() == pytest.approx(0.45, abs=1e-3)


def test_waveforms_are_complete_and_clipped_to_full_scale(tmp_path):
    loud = 1.5 * np.sin(2 * np.pi * 500 * np.arange(44_100) / 44_100, dtype=np.float32)[None]
    path = write(
        tmp_path / "loud.mov",
        flashing(np.arange(25) / 25, 0.5),
        loud,
        rate=44_100,
        codecs=("libx264", "pcm_f32le"),
        audio_format="flt",
    )
    waveform = decode.read_clip(path, duration_seconds=1).waveform
    expected = np.clip(1.5 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE), -1, 1)
    assert np.abs(waveform).max() == 1
    np.testing.assert_allclose(waveform[100:-100], expected[100:-100], atol=0.01)
    np.testing.assert_allclose(waveform[-10:-2], expected[-10:-2], atol=0.2)  # the resampler's last samples are flushed


# Quarters of an image in reading order as they are shown; stored, they are red, green, blue, white.
SHOWN = {
    "as it is": ((1, 0, 0, 1), "rgbw"),
    "clockwise": ((0, 1, -1, 0), "brwg"),
    "upside down": ((-1, 0, 0, -1), "wbgr"),
    "counter-clockwise": ((0, -1, 1, 0), "gwrb"),
    "mirrored": ((-1, 0, 0, 1), "grwb"),
    "mirrored, upside down": ((1, 0, 0, -1), "bwrg"),
    "mirrored, clockwise": ((0, 1, 1, 0), "rbgw"),
    "mirrored, counter-clockwise": ((0, -1, -1, 0), "wgbr"),
}


@pytest.mark.parametrize(("matrix", "shown"), SHOWN.values(), ids=SHOWN)
def test_rotated_and_mirrored_frames_are_made_upright(tmp_path, matrix, shown):
    colours = {"r": (220, 30, 30), "g": (30, 220, 30), "b": (30, 30, 220), "w": (220, 220, 220)}
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16, :32], image[:16, 32:], image[16:, :32], image[16:, 32:] = (colours[c] for c in "rgbw")
    path = with_display_matrix(write(tmp_path / "clip.mp4", [image] * 25, clicking(1, 0.5)), *matrix)
    frames = decode.read_clip(path, duration_seconds=1, short_side=32).frames
    assert frames.shape == ((25, 32, 64, 3) if matrix[0] else (25, 64, 32, 3))
    height, width = frames.shape[1:3]
    for quarter, colour in enumerate(shown):
        y, x = (1 + 2 * (quarter // 2)) * height // 4, (1 + 2 * (quarter % 2)) * width // 4
        np.testing.assert_allclose(frames[10, y, x], colours[colour], atol=25)


@pytest.mark.parametrize("options", [{"movflags": "faststart"}, {}])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.985])
def test_a_truncated_mp4_is_refused(tmp_path, options, kept):
    data = _textured(tmp_path / "complete.mp4", options).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(decode.UnreadableClip, match=r"cut\.mp4: (truncated|unreadable)") as caught:
        decode.read_clip(cut, duration_seconds=3)
    assert caught.value.reason == ("truncated" if options else "unreadable")
    assert caught.value.path == cut


def _textured(path, options):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in range(75)]
    return write(path, images, rng.normal(0, 0.1, (1, 3 * RATE)).astype(np.float32), options=options)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_file_truncated_between_packets_is_refused(tmp_path, suffix):
    complete = _textured(tmp_path / f"complete.{suffix}", {"movflags": "faststart"} if suffix == "mp4" else {})
    with av.open(str(complete)) as container:
        offsets = sorted(packet.pos for packet in container.demux() if packet.pos and packet.pos > 0)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(complete.read_bytes()[: offsets[len(offsets) * 3 // 4]])
    assert decode.read_clip(complete).waveform.size == 3 * RATE
    with pytest.raises(decode.UnreadableClip, match=r"ends at 2\.\d\d s of a declared 3\.0\d s; download it again"):
        decode.read_clip(cut)


def test_clips_before_the_truncation_can_be_read(tmp_path):
    data = _textured(tmp_path / "complete.mp4", {"movflags": "faststart"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(0.8 * len(data))])
    assert len(decode.read_clip(cut, duration_seconds=1).frames) == 25


def _reason(path, **kwargs):
    with pytest.raises(decode.UnreadableClip) as caught:
        decode.read_clip(path, **kwargs)
    assert str(path) in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))  # as returned by a worker process
    assert (str(copy), copy.reason) == (str(caught.value), caught.value.reason)
    return caught.value.reason


def test_errors_name_the_file_and_the_reason(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("not a video " * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    silent = write(tmp_path / "silent.mp4", flashing(np.arange(25) / 25, 0.5))
    blind = write(tmp_path / "blind.mp4", waveform=clicking(1, 0.5))
    intact = plain(tmp_path / "intact.mp4")
    assert _reason(tmp_path / "absent.mp4") == "missing"
    assert _reason(text) == "unreadable"
    assert _reason(empty) == "unreadable"
    assert _reason(silent) == "no_audio_track"
    assert _reason(blind) == "no_video_track"
    assert _reason(intact, start_seconds=5.0) == "empty"
    assert _reason(intact, start_seconds=5.0, duration_seconds=1.0) == "empty"


@pytest.mark.parametrize(
    "arguments",
    [
        {"start_seconds": -1.0},
        {"duration_seconds": 0.0},
        {"frames_per_second": 0},
        {"short_side": 0},
        {"sample_rate_hz": -1},
    ],
)
def test_errors_name_arguments_that_are_out_of_range(tmp_path, arguments):
    with pytest.raises(
        ValueError, match=f"{next(iter(arguments))}={next(iter(arguments.values()))}: use a finite number"
    ):
        decode.read_clip(tmp_path / "any.mp4", **arguments)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
@pytest.mark.parametrize(
    ("name", "shape", "seconds"), [("bento.mp4", (64, 36), 0.998), ("nasa_13013.mp4", (36, 64), 13.0)]
)
def test_real_clips(name, shape, seconds):
    clip = decode.read_clip(REAL / name, short_side=36)
    assert len(clip.frames) == pytest.approx(25 * seconds, abs=1)
    assert clip.frames.shape[1:3] == shape
    assert clip.waveform.size == pytest.approx(seconds * RATE, abs=2000)
    assert clip.waveform.std() > 0.01
    with av.open(str(REAL / name)) as container:  # reference: PyAV's own conversion of every decoded frame
        stream = container.streams.video[0]
        frames = [(frame.time, frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(stream)]
        latest = clip.frame_times_ms / 1000 + 0.5 / max(25, stream.average_rate) + 1e-6
    times, brightness = np.array(frames).T
    shown = np.searchsorted(times, latest) - 1
    # libswscale's fast conversion to RGB rounds down.
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)) + 0.5, brightness[shown], atol=1.1)
