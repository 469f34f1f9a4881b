"""Comparing configs, and checking their values."""

import json

import pytest

from avlearn import config
from configs import avenet, base


def test_a_stored_config_has_no_difference():
    frozen = avenet.get_config("miniature")
    frozen.train.frozen = ("vision", "audio")
    assert config.difference(json.loads(frozen.to_json()), frozen) == {}
    assert config.flat(frozen)["train.frozen"] == ["vision", "audio"]


def test_difference_has_both_values_and_none_for_an_absent_key():
    changed = avenet.get_config()
    changed.seed, changed.train.steps = 4, 7
    assert config.difference(base.get_config(), changed) == {
        "model.fc3_scale": (None, 0.7),
        "model.fc3_threshold": (None, 1.2),
        "model.name": ("", "avenet"),
        "seed": (0, 4),
        "train.steps": (100_000, 7),
    }
    assert (
        config.summary(changed, config.defaults())
        == "  model: fc3_scale=0.7, fc3_threshold=1.2, name=avenet\n  seed=4\n  train: steps=7"
    )


def test_a_value_that_is_not_a_choice_is_refused():
    config.one_of("b", ("a", "b"), "train.schedule")
    with pytest.raises(ValueError, match=r"^train.schedule is 'c'; --config.train.schedule takes a, b\.$"):
        config.one_of("c", {"a": 0, "b": 1}, "train.schedule")


def test_keys_of_one_network_stand_in_its_file_alone():
    assert not {"fc3_scale", "conv7_scale", "attention_temperature"} & set(config.defaults().model)
    assert not config.defaults().loss
    assert set(config.load("lvs").loss) == {"objective", "regions", "temperature"}
    assert not config.load("attention10k").loss
    with pytest.raises(AttributeError, match="fc3_scale"):
        config.load("avolnet", "miniature").model.fc3_scale = 1.0


def test_files_are_loaded_by_name():
    assert config.load("esc50").model.name == "l3net"
    assert config.load("esc50", "avolnet-miniature").model.name == "avolnet"
    assert "base" not in config.names()
    with pytest.raises(ValueError, match="configs/ has no file 'base'; it has attention10k, avenet,"):
        config.load("base")
