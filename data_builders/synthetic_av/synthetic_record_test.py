"""From number to record: frames and audio are stored as rendered, at their times, and always the same."""

import dataclasses

import cv2
import numpy as np
import pytest
from scipy import signal

from avlearn.media import decode
from avlearn.media.log_spectrogram import log_spectrogram
from data_builders.synthetic_av import clip_file, instrument_classes, scene, synthetic_record

WORLD = synthetic_record.World(height=128, width=170, frames_per_second=5, clip_seconds=2.0, seed=3)


@pytest.fixture(scope="module")
def made():
    return synthetic_record.render_clip(WORLD, "test", 5), synthetic_record.make_record(WORLD, "test", 5)


def test_frames_are_those_drawn_and_at_their_times(made):
    clip, stored = made
    frames = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for data in stored["frames"]]
    assert stored["frame_times_ms"].tolist() == list(range(0, 2000, 200))
    drawn = [clip.scene.frame(index / 5)[0] for index in range(10)]
    for index, frame in enumerate(frames):
        differences = [np.abs(frame.astype(float) - other).mean() for other in drawn]
        assert np.argmin(differences) == index
        assert differences[index] < 8


def test_audio_is_that_synthesised_and_at_its_time(made):
    clip, stored = made
    wanted = log_spectrogram(clip.waveform)
    got = stored["log_spectrogram"]
    assert got.shape == wanted.shape == (399, 257)
    assert got.dtype == np.float16
    # Below 8 kHz, where it is loud: AAC may change the rest.
    loud = (wanted[3:-3] > -5) & (np.arange(257) < 85)
    errors = [np.abs(got[3 + lag : 396 + lag].astype(float) - wanted[3:-3])[loud].mean() for lag in range(-3, 4)]
    assert np.argmin(errors) == 3
    assert errors[3] < 0.5


def test_labels_and_boxes_are_those_of_the_cast():
    kinds = set()
    for number in range(40):
        clip = synthetic_record.render_clip(dataclasses.replace(WORLD, clip_seconds=1.0), "train", number)
        assert clip.audible[0] == instrument_classes.NAMES[number % 16]
        sounding = {actor.name for actor in clip.scene.actors if actor.sounding}
        assert sounding in ({*clip.audible}, set())
        kinds.add((len(clip.audible), len(sounding), len(clip.scene.actors)))
        assert np.abs(clip.waveform).max() <= 1
        assert clip.waveform.dtype == np.float32
    assert {(1, 1, 1), (1, 1, 2), (2, 2, 2)} <= kinds


def test_off_screen_clip_has_a_label_and_no_sounding_box():
    hidden = scene.Statistics(off_screen=1.0, silent_distractor=1.0)
    stored = synthetic_record.make_record(dataclasses.replace(WORLD, statistics=hidden, clip_seconds=1.0), "train", 3)
    assert stored["labels"] == [instrument_classes.NAMES.index("Piano")]
    assert len(stored["boxes"]) == 5
    assert not any(box["sounding"] or box["label"] in stored["labels"] for box in stored["boxes"])


def test_the_same_number_gives_the_same_bytes_and_another_seed_others(made):
    again = synthetic_record.make_record(WORLD, "test", 5)
    assert again["frames"] == made[1]["frames"]
    assert again["log_spectrogram"].tobytes() == made[1]["log_spectrogram"].tobytes()
    assert again["boxes"] == made[1]["boxes"]
    for other in (
        synthetic_record.render_clip(WORLD, "train", 5),
        synthetic_record.render_clip(dataclasses.replace(WORLD, seed=4), "test", 5),
    ):
        assert (other.scene.frame(0.0)[0] != made[0].scene.frame(0.0)[0]).any()
        assert (other.waveform != made[0].waveform).any()


def test_a_failing_clip_says_which_it_is():
    crowded = scene.Statistics(two_sounding=1.0, off_screen=0.0, overlap=-1.0)
    with pytest.raises(ValueError, match="do not fit") as failure:
        list(synthetic_record.make_records(dataclasses.replace(WORLD, statistics=crowded), "validation", 1))
    assert any("while making clip validation_000000" in note for note in failure.value.__notes__)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 171}, "both to be even"),
        ({"clip_seconds": 0.5}, "one second"),
        ({"class_names": instrument_classes.NAMES[:2]}, "three or more"),
        ({"class_names": ("Piano", "Gong", "Drill", "Gong")}, "each once"),
        ({"class_names": ("Piano", "Gong", "Harp")}, "three or more of Acoustic guitar"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WORLD, **change)


def test_only_the_chosen_classes_appear():
    some = instrument_classes.NAMES[3:7]
    clips = [
        synthetic_record.render_clip(dataclasses.replace(WORLD, class_names=some), "test", number)
        for number in range(40)
    ]
    assert [clip.audible[0] for clip in clips[:8]] == [*some, *some]
    assert {name for clip in clips for name in clip.audible} == set(some)
    assert {actor.name for clip in clips for actor in clip.scene.actors} == set(some)


def test_mp4_file_holds_h264_and_aac_on_one_clock(tmp_path):
    """A flash and a click at 1 s are read back at 1 s."""
    frames = [np.full((64, 96, 3), 250 if index == 25 else 5, np.uint8) for index in range(50)]
    waveform = np.zeros(96_000, np.float32)
    waveform[48_000:48_100] = 0.9
    clip_file.write(tmp_path / "flash.mp4", frames, waveform, frames_per_second=25)
    clip = decode.read_clip(tmp_path / "flash.mp4", duration_seconds=2.0, short_side=64)
    assert clip.frames.shape == (50, 64, 96, 3)
    assert clip.frame_times_ms[clip.frames.mean(axis=(1, 2, 3)).argmax()] == 1000
    assert clip.waveform.size == 96_000
    loudness = np.abs(clip.waveform)
    assert 47_990 < np.average(np.arange(96_000), weights=loudness**2) < 48_110


def test_only_sounding_objects_jump_with_the_sound():
    still = {"sway_degrees": (0.0, 0.0), "drift": (0.0, 0.0), "scaling": (0.0, 0.0)}
    jumping = scene.Statistics(jump=0.25, off_screen=0.0, silent_distractor=1.0, two_sounding=0.0, **still)
    world = dataclasses.replace(WORLD, statistics=jumping, frames_per_second=25)
    clip = synthetic_record.render_clip(world, "train", 5)  # a snare drum
    samples = clip.waveform[: 48 * 1920].reshape(48, 1920).astype(float)  # 0.04 s each
    decibels = 10 * np.log10((samples**2).mean(axis=1))
    by_sounding = {actor.sounding: actor for actor in clip.scene.actors}
    times = 0.04 * (np.arange(48) + 0.5)
    rise = {sounding: -actor.pose(times)[1][:, 1] for sounding, actor in by_sounding.items()}
    assert np.corrcoef(decibels, rise[True])[0, 1] > 0.9
    side = np.ptp(by_sounding[True].drawing.hull @ by_sounding[True].transform.T, axis=0).max()
    assert np.ptp(rise[True]) == pytest.approx(0.25 * side)
    assert np.ptp(rise[False]) == 0
    boxes = [box for seconds in times for box in clip.scene.frame(seconds)[1]]
    assert min(box[0] for box in boxes) >= 0


def test_flow_and_waveform_are_stored_if_chosen(made):
    world = dataclasses.replace(WORLD, height=48, width=64, clip_seconds=1.0, optical_flow=True, waveform_hz=8000)
    stored = synthetic_record.make_record(world, "test", 5)
    assert len(stored["optical_flow"]) == len(stored["frames"]) - 1 == 4
    assert cv2.imdecode(np.frombuffer(stored["optical_flow"][0], np.uint8), 0).shape == (2 * 48, 64)
    clip = synthetic_record.render_clip(world, "test", 5)
    wanted = signal.resample_poly(clip.waveform, 1, 6)
    assert stored["waveform"].dtype == np.int16
    assert np.corrcoef(stored["waveform"], wanted)[0, 1] > 0.9
    assert "optical_flow" not in made[1]
    assert "waveform" not in made[1]
