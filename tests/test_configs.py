"""Every file of configs/: built with the paper's settings, and in miniature trained, evaluated and reported."""

import importlib
import json

import pytest

from avlearn import config as configs
from avlearn.build import build_network
from avlearn.commands import dry_run
from tests.helpers import every_config, small_datasets

pytestmark = pytest.mark.slow

NAMES = configs.names()
# Workers and pairs of each, where a paper has others than Objects that Sound's 16 x 128.
BATCHES = {
    "attention10k": (1, 256),
    "lvs": (1, 256),
    "lvs_open_set": (1, 256),
    "multisensory": (4, 16),
    "supervised": (16, 16),
    "supervised_pretraining": (16, 16),
}


@pytest.mark.parametrize("name", NAMES)
def test_network_delivers_what_its_evaluators_need(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert (config.train.num_workers, config.train.batch_per_worker) == BATCHES.get(name, (16, 128))
    config.model.width = 1 / 16  # tests/commands/test_costs.py builds the shapes of the full width
    network = build_network(config)
    assert dry_run.describe_evaluators(config, network).count("\n") == len(config.evaluation.evaluators)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_covers_every_item(name, trained):
    workdir = trained(name)
    config = json.loads((workdir / "config.json").read_text())
    assert configs.difference(config, every_config.tiny(name, config["data"]["data_dir"])).keys() <= {
        "train.initialise_from",
        "evaluation.sounds_from",
    }
    assert {path.name for path in (workdir / "checkpoints").iterdir()} & {"0", "1", "2"}
    results = json.loads((workdir / "results.json").read_text())
    assert list(results) == config["evaluation"]["evaluators"]
    clips = small_datasets.MOVING_CLIPS if config["data"]["dataset"] == "synthetic_av/moving" else 16
    drawn = (1 + 5) * clips  # a clip's own audio, and that of one other clip in each of five draws
    expected = {"avc_accuracy": drawn, "shift_accuracy": 2 * clips, "ndcg": clips, "cca": clips}
    expected |= {"linear_probe": small_datasets.PICTURES["test"]}
    for evaluator, metrics in results.items():
        assert "refused" not in metrics
        assert 0 < metrics["items"] <= metrics["items_expected"]
        if evaluator in expected:
            assert (metrics["items"], metrics["items_expected"]) == (expected[evaluator],) * 2
