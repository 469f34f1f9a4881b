"""Training on one dataset and evaluating on another: heard and unheard classes of the embedded world."""

import dataclasses
import json

import pytest

from avlearn import experiment
from avlearn.commands import dry_run, report
from avlearn.data import built_dataset
from avlearn.evaluation import array_files, registry, scoring
from configs import avenet, lvs, lvs_open_set
from data_builders.synthetic_av import instrument_classes
from data_builders.synthetic_av.synthetic_av_dataset_builder import HEARD, UNHEARD, Builder
from data_builders.vgg_sound import vgg_sound_dataset_builder
from data_builders.vgg_ss import vgg_ss_dataset_builder

CLIPS = 12


@pytest.fixture(scope="module")
def data_dir(tiny_world):
    """The tiny world, and a second one of eight of its classes."""
    (tiny,) = (config for config in Builder.BUILDER_CONFIGS if config.name == "tiny")
    unheard = {"name": "tiny_unheard", "class_names": UNHEARD, "train_clips": 1, "validation_clips": 1}
    other = dataclasses.replace(tiny, **unheard, test_clips=CLIPS)
    Builder(config=other, data_dir=tiny_world).download_and_prepare()
    return tiny_world


@pytest.fixture
def config(data_dir):
    config = avenet.get_config("miniature")
    config.model.width = 1 / 16
    config.inputs.frame_pixels = 32
    config.inputs.pool = 8
    config.data.dataset = "synthetic_av/tiny"
    config.data.data_dir = str(data_dir)
    config.train.num_workers = 8
    config.evaluation.dataset = "synthetic_av/tiny_unheard"
    config.evaluation.evaluators = ("ndcg",)
    config.evaluation.batch = 8
    return config


def test_evaluates_on_the_other_dataset(config, tmp_path):
    built = experiment.build(config, tmp_path)
    assert len(built.splits["train"]) == 64
    assert built.own_loss is None  # AVE-Net is validated on pairs, negatives among them
    built.checkpoints.save(built.initial_state(), metrics={"validation/loss": 1.0})
    built.checkpoints.wait()
    found = built.evaluation.run(built.checkpoints, "best")
    figures, arrays = found.results, found.arrays
    array_files.save(tmp_path, figures, arrays)
    results = json.loads((tmp_path / "results.json").read_text())["ndcg"]
    assert (results["dataset"], results["split"]) == ("synthetic_av/tiny_unheard", "test")
    assert results["items"] == results["items_expected"] == CLIPS
    labels = array_files.load_arrays(tmp_path / "arrays.npz")["all_positive"]["labels"]
    assert labels.shape == (CLIPS, 16)
    assert not labels[:, [instrument_classes.NAMES.index(name) for name in HEARD]].any()
    assert labels.any(axis=1).all()
    # The page shows the clips that were evaluated, whatever the run's config says.
    config.evaluation.dataset = ""
    (tmp_path / "config.json").write_text(config.to_json())
    shown = report.load(tmp_path)
    frames, _ = shown.examples([CLIPS - 1])
    assert len(frames) == 1
    assert shown.config["evaluation"]["dataset"] == "synthetic_av/tiny_unheard"
    with pytest.raises(ValueError, match="synthetic_av/tiny_unheard"):
        shown.examples([CLIPS])


def test_a_dry_run_states_both_datasets(config):
    assert dry_run.describe_dataset(config) == (
        "Dataset synthetic_av/tiny: train 64, validation 16 clips\nDataset synthetic_av/tiny_unheard: test 12 clips"
    )


def test_evaluators_that_learn_classes_need_the_same_list(data_dir):
    train = built_dataset.open_split("synthetic_av/tiny", data_dir, "train")
    test = built_dataset.open_split("synthetic_av/tiny_unheard", data_dir, "test")
    learns = scoring.Evaluator("probe", ("labels",), "all_positive", evaluate=dict, options={}, fit_needs=("labels",))
    registry.check_classes([learns], train, test)  # another world, the same list
    other = dataclasses.replace(test, class_ids=(*test.class_ids[:4], "/m/other"))
    registry.check_classes([dataclasses.replace(learns, fit_needs=("image_embedding",))], train, other)
    with pytest.raises(
        ValueError, match=r"probe would be fitted on the 16 classes of .*tiny and tested on the 5 of .*, of which 4 are"
    ):
        registry.check_classes([learns], train, other)


def test_open_set_is_lvs_on_other_clips():
    open_set, whole = lvs_open_set.get_config(), lvs.get_config()
    assert open_set.data.dataset == "vgg_sound/heard_110_lvs"
    assert open_set.evaluation.dataset == "vgg_ss/heard_lvs"
    builders = {"vgg_sound": vgg_sound_dataset_builder, "vgg_ss": vgg_ss_dataset_builder}
    for dataset in (open_set.data.dataset, open_set.evaluation.dataset, "vgg_ss/unheard_lvs"):
        builder, name = dataset.split("/")
        assert name in {config.name for config in builders[builder].Builder.BUILDER_CONFIGS}
    for section in ("model", "loss", "inputs", "train"):
        assert open_set[section].to_dict() == whole[section].to_dict()
    miniature = lvs_open_set.get_config("miniature")
    assert miniature.data.dataset == "synthetic_av/miniature_heard"
    assert miniature.evaluation.dataset == ""


def test_heard_and_unheard_share_no_class():
    assert not set(HEARD) & set(UNHEARD)
    assert sorted(HEARD + UNHEARD) == sorted(instrument_classes.NAMES)
    assert len(HEARD) == len(UNHEARD) == 8
