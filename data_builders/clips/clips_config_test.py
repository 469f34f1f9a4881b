"""Configs that a user types."""

import copy
import dataclasses
import pickle
import re

import pytest

from data_builders.ave.ave_dataset_builder import Builder
from data_builders.clips.clips_config import variants
from data_builders.own_clips.own_clips_dataset_builder import Config


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    message = "a config has no key 'frame_per_second'; the nearest is 'frames_per_second'. Its keys are name, frames_"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*, time_limit_seconds, segment_seconds$"):
        Config(name="mine", frame_per_second=5)
    with pytest.raises(ValueError, match=r"^a config has no key 'x'\. Its keys are name, "):
        Config(name="mine", x=5)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("name", "a/b", "quoted text that consists of letters, digits and _ . -"),
        ("frames_per_second", "5", "a number"),
        ("segment_seconds", True, "a number"),
        ("waveform_hz", 21_000.5, "a whole number"),
        ("short_side", None, "a whole number"),
        ("optical_flow", "false", "true or false"),
        ("front_end", ["lvs"], "quoted text"),
        ("drop", "silent_audio", "a list of quoted texts"),
        ("drop", [1], "a list of quoted texts"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(key, value, words):
    with pytest.raises(ValueError, match=f"^{key}={re.escape(repr(value))}: it must be {words}$"):
        Config(**{"name": "mine", key: value}).settings()


def test_a_config_can_be_copied():
    config = Config(name="mine", segment_seconds=5.0)
    for made in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), dataclasses.replace(config)):
        assert dataclasses.asdict(made) == dataclasses.asdict(config)
    assert [(made.name, made.frames_per_second) for made in variants(config)] == [
        ("mine", 25),
        ("mine_5fps", 5),
        ("mine_1fps", 1),
    ]


def test_an_unknown_config_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(
        ValueError, match=r"^ave has no config 'al'; it has all, all_5fps, all_1fps, and accepts your own"
    ):
        Builder(config="al", data_dir=tmp_path)
    assert Builder(config="all_1fps", data_dir=tmp_path).builder_config.frames_per_second == 1
    assert Builder(config="all_5fps:1.0.0", data_dir=tmp_path).builder_config.frames_per_second == 5
