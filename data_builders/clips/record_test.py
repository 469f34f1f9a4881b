"""Records of real files of every kind: what is stored, at which times, and what is refused."""

import av
import cv2
import numpy as np
import pytest

from avlearn.media import decode
from avlearn.media.decode import UnreadableClip
from data_builders.clips import record
from data_builders.clips.clip_files import ClipFile
from data_builders.clips.record import Settings, make_record, part_of_file
from data_builders.clips.segments import Box, Located, Segment
from tests.helpers.media_file import RATE, clicking, flashing, plain, with_display_matrix, write

CLASSES = {"flash": 0, "click": 1}
SEGMENT = Segment("clip", "video", ("click",))


def located(path, segment=SEGMENT, *, cut=False):
    return Located(segment, ClipFile("video", str(path), 1, 1), cut)


def _moments(made):
    """Return the times of the flash and the click in a record, seconds."""
    grey = np.array([cv2.imdecode(np.frombuffer(jpeg, np.uint8), 0).mean() for jpeg in made["frames"]])
    flash = made["frame_times_ms"][np.argmax(grey > 150)] / 1000
    power = np.exp(made["log_spectrogram"].astype(np.float64)).sum(axis=1)
    centres = 0.005 * np.arange(len(power)) + 0.005  # of the columns' windows of 10 ms
    return flash, (centres * power).sum() / power.sum() - 0.0025  # the click lasts 5 ms


def _clip(path, seconds=3.0, at=1.4, size=(64, 96), frames_per_second=25, rate=RATE, channels=1, **kwargs):
    times = np.arange(round(seconds * frames_per_second)) / frames_per_second + kwargs.get("video_start", 0)
    sound = clicking(seconds, at - kwargs.get("audio_start", 0), rate=rate, channels=channels)
    return write(path, flashing(times, at, size), sound, frames_per_second=frames_per_second, rate=rate, **kwargs)


KINDS = {
    "h264 and aac, with its priming samples": ("a.mp4", {}),
    "first time stamp is not zero": ("a.mp4", {"video_start": 0.48, "audio_start": 0.48}),
    "first time stamp is not zero, in Matroska": ("a.mkv", {"video_start": 0.48, "audio_start": 0.48}),
    "sound starts later": ("a.mp4", {"audio_start": 0.5}),
    "hevc": ("a.mp4", {"codecs": ("libx265", "aac")}),
    "vp9 and opus": ("a.webm", {"codecs": ("libvpx-vp9", "libopus")}),
    "av1 and opus": ("a.webm", {"codecs": ("libsvtav1", "libopus")}),
    "mpeg4 and pcm in avi": ("a.avi", {"codecs": ("mpeg4", "pcm_s16le")}),
    "8 kHz mono": ("a.mov", {"rate": 8000, "codecs": ("libx264", "pcm_s16le")}),
    "5.1 sound": ("a.mp4", {"channels": 6}),
    "portrait": ("a.mp4", {"size": (96, 54)}),
    "odd size": ("a.mkv", {"size": (65, 97), "codecs": ("libvpx-vp9", "libopus")}),
}


@pytest.mark.parametrize(("name", "kind"), KINDS.values(), ids=KINDS)
def test_flash_and_click_are_at_their_times(tmp_path, name, kind):
    path = _clip(tmp_path / name, **kind)
    made, _ = make_record(located(path), CLASSES, Settings(short_side=48))
    with av.open(str(path)) as container:  # the start of the earliest track, including AAC's priming
        start = container.start_time / av.time_base
    assert start == pytest.approx(kind.get("video_start", 0.0), abs=0.03)
    end = 3.0 + max(kind.get("video_start", 0.0), kind.get("audio_start", 0.0))
    assert decode.length(path).seconds == pytest.approx(end - start, abs=0.08)
    flash, click = _moments(made)
    assert flash == pytest.approx(1.4 - start, abs=0.02 + 1e-6)  # half a frame
    assert click == pytest.approx(1.4 - start, abs=0.0051)  # one column
    height, width = kind.get("size", (64, 96))
    stored = cv2.imdecode(np.frombuffer(made["frames"][0], np.uint8), 1).shape
    assert min(stored[:2]) == 48
    assert stored[0] / stored[1] == pytest.approx(height / width, rel=0.03)


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    # From 1 to 2 s there is one frame before the flash at 1.4 s, which keeps its time.
    times = np.concatenate([np.arange(25) / 25, [1.0], 1.4 + np.arange(40) / 25])
    path = write(tmp_path / "a.mkv", flashing(times, 1.4), clicking(3.0, 1.4), times=times)
    made, _ = make_record(located(path), CLASSES, Settings(short_side=48))
    assert made["frame_times_ms"].tolist() == list(range(0, 3000, 40))
    flash, click = _moments(made)
    assert flash == pytest.approx(1.4, abs=0.02 + 1e-6)
    assert click == pytest.approx(1.4, abs=0.0051)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [((1, 0, 0, 1), "left"), ((0, 1, -1, 0), "top"), ((-1, 0, 0, -1), "right"), ((0, -1, 1, 0), "bottom")],
    ids=["none", "90", "180", "270"],
)
def test_a_turned_video_is_upright_in_the_record(tmp_path, matrix, bright):
    image = np.full((64, 96, 3), 20, np.uint8)
    image[:, :48] = 230  # its left half
    path = write(tmp_path / "a.mp4", [image] * 75, clicking(3.0, 1.4))
    made, _ = make_record(located(with_display_matrix(path, *matrix)), CLASSES, Settings(short_side=48))
    stored = cv2.imdecode(np.frombuffer(made["frames"][30], np.uint8), 0)
    assert stored.shape == ((48, 72) if bright in ("left", "right") else (72, 48))
    height, width = stored.shape
    halves = {
        "left": stored[:, : width // 2 - 2],
        "right": stored[:, width // 2 + 2 :],
        "top": stored[: height // 2 - 2],
        "bottom": stored[height // 2 + 2 :],
    }
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[bright]
    assert halves[bright].min() > 200
    assert halves[opposite].max() < 60


def test_a_record_of_three_seconds_by_hand(tmp_path):
    path = _clip(tmp_path / "a.mp4")
    segment = Segment(
        "v_30000",
        "v",
        ("click", "flash"),
        30.0,
        10.0,
        boxes=(
            Box((0.1, 0.2, 0.3, 0.4), "flash", annotator=2),
            Box((0.0, 0.0, 1.0, 1.0), "click", time_seconds=0.5),
        ),
    )
    settings = Settings(frames_per_second=1, short_side=32, waveform_hz=16_000, optical_flow=True)
    made, source = make_record(located(path, segment), CLASSES, settings)
    assert source == (False, "")
    assert (made["clip_id"], made["video_id"], made["start_ms"]) == ("v_30000", "v", 30_000)
    assert made["labels"] == [1, 0]
    assert made["frame_times_ms"].tolist() == [500, 1500, 2500]  # mid-points of the seconds
    assert made["log_spectrogram"].shape == (599, 257)
    assert (made["waveform"].dtype, made["waveform"].shape) == (np.int16, (48_000,))
    assert np.argmax(made["waveform"] > 8000) / 16_000 == pytest.approx(1.4, abs=0.005)
    assert len(made["optical_flow"]) == 2
    assert cv2.imdecode(np.frombuffer(made["optical_flow"][0], np.uint8), 0).shape == (64, 48)  # x above y
    assert [box["time_ms"] for box in made["boxes"]] == [1500, 500]  # the middle by default, and the stated time
    assert [(box["label"], box["annotator"]) for box in made["boxes"]] == [(0, 2), (1, 0)]


def test_a_waveform_whose_sound_ends_first_is_stored(tmp_path):
    path = write(tmp_path / "a.mp4", flashing(np.arange(100) / 25, 1.4), clicking(3.3, 1.4, 44_100), rate=44_100)
    made, _ = make_record(located(path), CLASSES, Settings(waveform_hz=21_000))
    assert len(made["waveform"]) == pytest.approx(3.3 * 21_000, abs=21_000 * 1024 / 44_100)
    assert np.argmax(made["waveform"] > 8000) / 21_000 == pytest.approx(1.4, abs=0.005)


def test_padding_is_not_stored(tmp_path):
    # 2 s of audio and 3 s of video.
    path = write(tmp_path / "a.mp4", flashing(np.arange(75) / 25, 1.4), clicking(2.0, 1.4))
    made, _ = make_record(located(path, Segment("c", "c", (), 0, 10.0)), CLASSES, Settings())
    assert made["frame_times_ms"][-1] < 2100
    assert 399 <= len(made["log_spectrogram"]) <= 420


@pytest.mark.parametrize(
    ("segment", "file_seconds", "cut", "part"),
    [
        ((30.0, 10.0), 10.0, False, (0.0, 10.0, False)),
        ((30.0, 10.0), 10.4, False, (0.0, 10.0, False)),
        ((30.0, 10.0), 39.8, False, (30.0, 10.0, True)),  # a video that ends slightly before its last segment
        ((30.0, 10.0), 600.0, False, (30.0, 10.0, True)),
        ((4.0, 10.0), 14.4, True, (0.0, 10.0, False)),  # cut at a key frame before the start: its name states the start
        ((4.0, 10.0), 14.4, False, (4.0, 10.0, True)),
        ((0.0, 10.0), 600.0, False, (0.0, 10.0, False)),
        ((30.0, None), 20.0, False, (0.0, 20.0, False)),
    ],
)
def test_a_file_is_the_clip_or_the_complete_video(segment, file_seconds, cut, part):
    assert part_of_file(located("a.mp4", Segment("c", "v", (), *segment), cut=cut), lambda: file_seconds, 60.0) == part


@pytest.mark.parametrize(
    ("segment", "file_seconds", "reason"),
    [
        (
            (30.0, 10.0),
            39.3,
            "neither_clip_nor_video",
        ),  # a complete video that ends before the segment does
        ((30.0, 10.0), 20.0, "neither_clip_nor_video"),
        ((0.0, None), 60.5, "too_long"),
    ],
)
def test_an_ambiguous_file_is_refused(segment, file_seconds, reason):
    with pytest.raises(UnreadableClip) as caught:
        part_of_file(located("a.mp4", Segment("c", "v", (), *segment)), lambda: file_seconds, 60.0)
    assert caught.value.reason == reason


def test_silent_still_and_short_clips_are_refused(tmp_path):
    times = np.arange(75) / 25
    silent = write(tmp_path / "silent.mp4", flashing(times, 1.4), np.zeros((1, 3 * RATE), np.float32))
    still = write(tmp_path / "still.mp4", flashing(times, 99.0), clicking(3.0, 1.4))
    short = plain(tmp_path / "short.mp4", 1.5)
    for path, reason in ((silent, "silent_audio"), (still, "still_frames"), (short, "too_short")):
        with pytest.raises(UnreadableClip) as caught:
            make_record(located(path), CLASSES, Settings(drop=("silent_audio", "still_frames")))
        assert caught.value.reason == reason
    for path in (silent, still):
        make_record(located(path), CLASSES, Settings(drop=()))


def test_still_means_that_nine_of_ten_changes_are_small():
    rng = np.random.default_rng(0)
    times = np.arange(0, 4200, 200)  # 20 changes
    image = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    frames = np.stack([image] * 21)
    frames[[3, 4]] = 255 - image  # two changes: to it and back
    assert record.is_still(frames, times)
    frames[[9]] = 255 - image  # four changes of 20
    assert not record.is_still(frames, times)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"front_end": "l4"}, "front_end='l4' is unknown; it is one of l3, lvs"),
        ({"drop": ("quiet",)}, "'quiet' is unknown; use some of"),
        ({"frames_per_second": 0}, "frames_per_second=0 is out of range"),
        ({"min_seconds": 0.5}, "min_seconds=0.5 is out of range"),
        ({"min_seconds": 8.0, "max_seconds": 7.5}, "max_seconds=7.5 is less than min_seconds=8.0"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        Settings(**setting)
