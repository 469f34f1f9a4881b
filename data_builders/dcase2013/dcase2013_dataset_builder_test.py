"""The builder on generated recordings: two folders with the same file names."""

import pathlib

import numpy as np
import pytest
import soundfile

from data_builders.clips import segments
from data_builders.dcase2013.dcase2013_dataset_builder import CLASSES, Builder, Config
from tests.helpers import build_dataset

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
RATE = 44_100
BIN_HZ = 48_000 / 512


def tone(path, hertz, seconds=2.0):
    """Write a tone in the left channel, and silence in the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(path, np.stack([left, np.zeros_like(left)], axis=1), RATE, subtype="PCM_24")


def loudest_hz(record):
    return BIN_HZ * record["log_spectrogram"].astype(np.float32).mean(axis=0).argmax()


def test_each_set_is_built_from_its_own_folder(tmp_path):
    manual = tmp_path / "manual"
    for _, (file, seconds) in segments.rows(DUMMY / "files.txt", 2, "file seconds", delimiter=" "):
        tone(manual / file, 6000 if "testset" in file else 1500, float(seconds))
    builder = build_dataset.build(Builder, "scenes", manual, tmp_path / "data")

    train, test = (build_dataset.records(builder, split) for split in ("train", "test"))
    assert set(train) == {"train_bus01", "train_tubestation17"}
    assert set(test) == {"test_bus01", *(f"test_park{number:02d}" for number in range(0, 20, 2))}
    assert loudest_hz(train["train_bus01"]) == pytest.approx(1500, abs=BIN_HZ)
    assert loudest_hz(test["test_bus01"]) == pytest.approx(6000, abs=BIN_HZ)
    names = builder.info.features["labels"].feature.names
    assert names == list(CLASSES)
    labels = {clip: [names[label] for label in record["labels"]] for clip, record in {**train, **test}.items()}
    assert (labels["train_bus01"], labels["train_tubestation17"]) == (["bus"], ["tubestation"])
    assert "frames" not in builder.info.features
    assert "boxes" not in builder.info.features

    coverage = build_dataset.coverage(builder)
    assert coverage["splits"]["train"]["not_built"]["too_short"]["clip_ids"] == ["train_tube03"]
    refused = coverage["refused_annotations"]
    assert refused["files of no scene"]["items"] == [str(manual / "scenes_stereo" / "trial01.wav")]
    short = refused["scenes without ten recordings"]["items"]
    assert len(short) == 19  # all scenes of both sets except the parks of the test set
    assert "train: 1 recordings of tubestation, the set has 10" in short
    assert "train: 0 recordings of park, the set has 10" in short


def test_ten_scenes():
    assert len(CLASSES) == 10
    assert list(CLASSES)[::3] == ["bus", "openairmarket", "restaurant", "tubestation"]
    assert [config.drop for config in Builder.BUILDER_CONFIGS] == [()]


def test_ambiguous_folders_are_refused(tmp_path):
    manual = tmp_path / "manual"
    tone(manual / "both" / "a" / "bus01.wav", 1500)
    with pytest.raises(ValueError, match=r"the folder of the train set, .*/scenes_stereo, does not exist"):
        build_dataset.build(Builder, "scenes", manual, tmp_path / "data")
    same = Config(name="same", train_folder="both", test_folder="both")
    with pytest.raises(ValueError, match="train_folder and test_folder are both 'both'"):
        build_dataset.build(Builder, same, manual, tmp_path / "data")
    tone(manual / "both" / "b" / "bus01.wav", 1500)
    mixed = Config(name="mixed", train_folder="both", test_folder="both/b")
    with pytest.raises(ValueError, match=r"the train set has two recordings 'bus01': .*a/bus01.wav and .*b/bus01.wav"):
        build_dataset.build(Builder, mixed, manual, tmp_path / "data")
