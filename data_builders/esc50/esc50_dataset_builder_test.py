"""The builder on generated recordings, and malformed rows of `esc50.csv`."""

import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from avlearn.data import built_dataset
from data_builders.clips.clip_files import ClipFile
from data_builders.clips.record import Settings, make_record
from data_builders.clips.segments import Located, Segment
from data_builders.esc50.esc50_dataset_builder import CLASSES, Builder, Config, read_meta
from tests.helpers import build_dataset

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
HEADER = "filename,fold,target,category,esc10,src_file,take\n"
RATE = 44_100


def recording(path, seconds, sounding_seconds):
    """Write noise followed by digital silence; return the path."""
    waveform = np.zeros(round(seconds * RATE), np.float32)
    waveform[: round(sounding_seconds * RATE)] = np.random.default_rng(0).uniform(
        -0.5, 0.5, round(sounding_seconds * RATE)
    )
    soundfile.write(path, waveform, RATE)
    return path


def test_five_folds_of_audio_only(tmp_path):
    manual = tmp_path / "manual"
    shutil.copytree(DUMMY, manual)
    (manual / "audio").mkdir()
    recording(manual / "audio" / "1-100001-A-0.wav", 5, 2)
    recording(manual / "audio" / "1-100001-B-0.wav", 5, 0)
    recording(manual / "audio" / "2-200002-A-49.wav", 5, 5)
    recording(manual / "audio" / "3-300003-A-17.flac", 5, 5)
    recording(manual / "audio" / "4-400004-A-10.wav", 1, 1)
    builder = build_dataset.build(Builder, "all", manual, tmp_path / "data")

    records = {split: build_dataset.records(builder, split) for split in builder.info.splits}
    assert {split: set(of_split) for split, of_split in records.items()} == {
        "fold1": {"1-100001-A-0", "1-100001-B-0"},
        "fold2": {"2-200002-A-49"},
        "fold3": {"3-300003-A-17"},
    }
    made = records["fold1"]["1-100001-A-0"]
    assert set(made) == {"clip_id", "video_id", "start_ms", "log_spectrogram", "labels"}
    assert records["fold2"]["2-200002-A-49"]["labels"].tolist() == [49]
    # 5 s at 48 kHz, windows of 480 every 240: 999 columns; from the 401st, at 2 s, on they are silent.
    assert made["log_spectrogram"].shape == (999, 257)
    assert made["log_spectrogram"][:395].mean() > -10
    floor = np.float16(np.log(1e-7))
    assert (made["log_spectrogram"][405:] == floor).all()
    assert (records["fold1"]["1-100001-B-0"]["log_spectrogram"] == floor).all()  # silent throughout, and kept

    counts = build_dataset.coverage(builder)["splits"]
    assert {fold: (of_fold["expected"], of_fold["built"]) for fold, of_fold in counts.items()} == {
        "fold1": (2, 2),
        "fold2": (1, 1),
        "fold3": (1, 1),
        "fold4": (1, 0),
        "fold5": (1, 0),
    }
    assert counts["fold4"]["not_built"]["too_short"]["clip_ids"] == ["4-400004-A-10"]
    assert counts["fold5"]["not_built"]["missing"]["clip_ids"] == ["5-500005-A-26"]

    opened = built_dataset.open_split("esc50/all", tmp_path / "data", "fold1")
    assert (len(opened), opened.frames_per_second, opened.front_end) == (2, 0, "l3")
    assert opened.class_ids == CLASSES


def test_the_classes_are_the_datasets():
    assert len(CLASSES) == len(set(CLASSES)) == 50
    assert [CLASSES[target] for target in (0, 10, 20, 30, 40, 49)] == [
        "dog",
        "rain",
        "crying_baby",
        "door_wood_knock",
        "helicopter",
        "hand_saw",
    ]


def test_nothing_is_dropped_unless_asked():
    assert Config(name="all").settings(sound_only=True).drop == ()
    assert [config.drop for config in Builder.BUILDER_CONFIGS] == [()]


@pytest.mark.parametrize(
    ("key", "message"), [({"optical_flow": True}, "optical_flow=True"), ({"drop": ["still_frames"]}, "still_frames")]
)
def test_options_that_need_video_are_refused(key, message):
    with pytest.raises(ValueError, match=rf"{message}.*: this dataset has only audio"):
        Config(name="all", **key).settings(sound_only=True)


def test_padding_is_not_stored(tmp_path):
    path = recording(tmp_path / "short.wav", 3, 3)
    settings = Settings(sound_only=True, waveform_hz=16_000)

    def located(seconds):
        return Located(Segment("a", "a", (), duration_seconds=seconds), ClipFile("a", str(path), 1, 1), cut=False)

    made, _ = make_record(located(5.0), {}, settings)
    assert made["log_spectrogram"].shape == (599, 257)
    assert made["waveform"].shape == (48_000,)
    made, _ = make_record(located(2.0), {}, settings)
    assert made["log_spectrogram"].shape == (399, 257)
    assert made["waveform"].shape == (32_000,)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1-1-A-0.wav,1,0,dog,True,1", "line 3: 6 fields"),
        ("dog.wav,1,0,dog,True,1,A", "line 3: 'dog.wav' is not a name like"),
        ("1-1-A-0.wav,2,0,dog,True,1,A", "line 3: fold '2' and target '0' are not those of the name"),
        ("1-1-A-0.wav,1,3,cow,False,1,A", "line 3: fold '1' and target '3' are not those of the name"),
        ("6-1-A-0.wav,6,0,dog,True,1,A", "line 3: fold '6' is not 1 to 5"),
        ("1-1-A-0.wav,1,0,cow,True,1,A", "line 3: category 'cow' has target 0, which is dog"),
        ("1-1-A-50.wav,1,50,dog,True,1,A", "line 3: category 'dog' has target 50, which is none"),
    ],
)
def test_broken_rows_are_refused_by_line(tmp_path, row, message):
    text = f"{HEADER}1-2-A-1.wav,1,1,rooster,True,2,A\n{row}\n"
    build_dataset.check_refused(read_meta, tmp_path / "esc50.csv", text, f", {message}")


def test_a_repeated_recording_is_refused_with_both_lines(tmp_path):
    row = "1-1-A-0.wav,1,0,dog,True,1,A\n"
    (tmp_path / "esc50.csv").write_text(f"{HEADER}{row}\n{row}")
    with pytest.raises(ValueError, match=r"'1-1-A-0' occurs twice .*: esc50.csv, line 2 and esc50.csv, line 4"):
        build_dataset.build(Builder, "all", tmp_path, tmp_path / "data")
