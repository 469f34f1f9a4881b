"""Training on one dataset and evaluating on others: heard and unheard classes of the synthetic data."""

import dataclasses
import json

import optax
import pytest

from avlearn import experiment, main
from avlearn.build import build_network
from avlearn.commands import dry_run, export_weights, report
from avlearn.data import built_dataset
from avlearn.evaluation import array_files, further_datasets, registry, scoring
from avlearn.evaluation.assembly import build_evaluation
from avlearn.runs import workdir as workdirs
from avlearn.runs.checkpoint import Checkpoints
from avlearn.training import step as steps
from configs import avenet, lvs, lvs_open_set
from data_builders.synthetic_av import instrument_classes
from data_builders.synthetic_av.synthetic_av_dataset_builder import HEARD, UNHEARD, Builder
from data_builders.vgg_sound import vgg_sound_dataset_builder
from data_builders.vgg_ss import vgg_ss_dataset_builder

CLIPS = 12


@pytest.fixture(scope="module")
def data_dir(tiny_world):
    """Build the tiny dataset, and a second one of eight of its classes."""
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
    array_files.save(tmp_path, found.results, found.arrays)
    results = json.loads((tmp_path / "results.json").read_text())["ndcg"]
    assert (results["dataset"], results["split"]) == ("synthetic_av/tiny_unheard", "test")
    assert results["items"] == results["items_expected"] == CLIPS
    labels = array_files.load_arrays(tmp_path / "arrays.npz")["all_positive"]["labels"]
    assert labels.shape == (CLIPS, 16)
    assert not labels[:, [instrument_classes.NAMES.index(name) for name in HEARD]].any()
    assert labels.any(axis=1).all()
    # The page shows the evaluated clips, even if the run's config names others.
    config.evaluation.dataset = ""
    (tmp_path / "config.json").write_text(config.to_json())
    shown = report.load(tmp_path)
    frames, _ = shown.examples([CLIPS - 1])
    assert len(frames) == 1
    assert shown.config["evaluation"]["dataset"] == "synthetic_av/tiny_unheard"
    with pytest.raises(ValueError, match="synthetic_av/tiny_unheard"):
        shown.examples([CLIPS])


def test_one_evaluation_on_several_datasets(config, tmp_path, capsys):
    config.evaluation.dataset = ""
    config.evaluation.evaluators = ("avc_accuracy", "ndcg")
    alone = evaluated(config, tmp_path / "alone")
    own = "synthetic_av/tiny/validation evaluators=avc_accuracy avc_accuracy.pair_draws=2"
    config.evaluation.also_on = ("synthetic_av/tiny_unheard/test ndcg.k=3 ndcg.curve=1,2", own)
    assert dry_run.describe_dataset(config) == (
        "Dataset synthetic_av/tiny: train 64, validation 16, test 16, validation 16 clips\n"
        "Dataset synthetic_av/tiny_unheard: test 12 clips"
    )
    lines = dry_run.describe_evaluators(config, build_network(config)).splitlines()
    assert lines[3] == "Evaluators on synthetic_av/tiny_unheard/test:"
    assert lines[6] == "Evaluators on synthetic_av/tiny/validation:"
    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert named == ["avc_accuracy", "ndcg", "avc_accuracy", "ndcg", "avc_accuracy"]
    capsys.readouterr()
    results = evaluated(config, tmp_path / "several")
    further = results.pop("also_on")
    assert results == alone
    assert list(further) == ["synthetic_av/tiny_unheard/test", "synthetic_av/tiny/validation"]
    unheard, validation = further.values()
    assert (unheard["ndcg"]["dataset"], unheard["ndcg"]["split"]) == ("synthetic_av/tiny_unheard", "test")
    assert unheard["ndcg"]["items"] == unheard["ndcg"]["items_expected"] == CLIPS
    assert (unheard["ndcg"]["k"], set(unheard["ndcg"]["by_k"])) == (3, {"1", "2", "3"})
    assert (list(validation), validation["avc_accuracy"]["draws"]) == (["avc_accuracy"], 2)
    # Evaluated alone, the second dataset gives the same results, and so do its arrays.
    config.evaluation.also_on = ()
    config.evaluation.dataset = "synthetic_av/tiny_unheard"
    config.evaluation.ndcg.update({"k": 3, "curve": (1, 2)})
    table = capsys.readouterr().out
    by_itself = evaluated(config, tmp_path / "second")
    assert by_itself == unheard
    main.run(
        config,
        tmp_path / "again",
        "evaluate",
        None,
        str(tmp_path / "several/arrays-synthetic_av-tiny_unheard-test.npz"),
    )
    assert json.loads((tmp_path / "again/results.json").read_text()) == unheard
    # Each row of the table and of the page names its dataset.
    rows = [line.split()[:2] for line in table.splitlines() if line.startswith("several ")]
    assert rows == [["several", name] for name in ["synthetic_av/tiny/test"] * 5 + [*further][:1] * 5 + [*further][1:]]
    page = (tmp_path / "several" / "report" / "index.html").read_text()
    for name, count in zip(("synthetic_av/tiny/test", *further), (5, 5, 1), strict=True):
        assert page.count(f'<small class="quiet">{name}</small>') == count


def evaluated(config, workdir):
    """Save a checkpoint of the untrained network in a new directory, evaluate it, and load its results."""
    network = build_network(config)
    checkpoints = Checkpoints(workdir / "checkpoints", network=network.name, keep=1)
    checkpoints.save(steps.initial_state(network.training, optax.identity()), metrics={"validation/loss": 1.0})
    checkpoints.close()
    main.run(config, workdir, "evaluate", None)
    return json.loads((workdir / "results.json").read_text())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("vgg_ss/full", r"'vgg_ss/full' does not begin with builder/config/split, such as vgg_ss/full/test"),
        ("a/b/test batch=3", r"'batch=3' in 'a/b/test batch=3' is unknown; after the dataset it takes evaluators="),
        ("a/b/test ciou.protcol=half", "'ciou.protcol=half' in .* is unknown"),
        ("a/b/test ndcg", "'ndcg' in .* is unknown"),
        ("a/b/test ndcg.k=many", "'ndcg.k=many' in .* cannot be read"),
        ("a/b/test ndcg.k=1.5", "'ndcg.k=1.5' in .* cannot be read"),
        ("a/b/test evaluators=", "no evaluator would run on a/b/test; add evaluators="),
    ],
)
def test_further_datasets_that_are_refused(config, entry, message):
    config.evaluation.also_on = (entry,)
    with pytest.raises(ValueError, match=f"^evaluation.also_on: {message}"):
        further_datasets.configs(config)


def test_a_further_dataset_is_named_once_and_has_its_own_evaluators(config):
    config.evaluation.also_on = ("a/b/test", "a/b/test ndcg.k=3")
    with pytest.raises(ValueError, match=r"^evaluation.also_on names a/b/test twice"):
        further_datasets.configs(config)
    config.evaluation.evaluators = ("ndcg", "sound_classification", "ciou")
    config.evaluation.also_on = ("a/b/test", "a/b/c", "a/c/test evaluators=ciou,pointing ciou.ground_truth=consensus")
    found = further_datasets.configs(config)
    assert [each.evaluation.evaluators for each in found.values()] == 2 * [("ndcg", "ciou")] + [("ciou", "pointing")]
    assert [each.evaluation.ciou.ground_truth for each in found.values()] == ["union", "union", "consensus"]
    assert (found["a/b/c"].evaluation.dataset, found["a/b/c"].evaluation.split) == ("a/b", "c")
    assert config.evaluation.ciou.ground_truth == "union"


def test_a_further_dataset_is_checked_before_the_first_step(config, tmp_path):
    config.evaluation.also_on = ("synthetic_av/tiny_unheard/testing",)
    with pytest.raises(ValueError, match="no split 'testing'"):
        experiment.build(config, tmp_path)
    config.evaluation.also_on = ("synthetic_av/tiny_unheard/test evaluators=ciou",)
    with pytest.raises(ValueError, match=r"the evaluator ciou needs heat_map, which avenet does not provide"):
        experiment.build(config, tmp_path)


def test_the_report_reads_a_run_of_an_older_config(config, tmp_path):
    evaluated(config, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    sections = [name for name, value in written["evaluation"].items() if isinstance(value, dict)]
    for name in (*sections, "also_on"):
        del written["evaluation"][name]
    written["evaluation"] |= {"k": 30, "gain": "exponential", "cca_components": 128}
    (tmp_path / "config.json").write_text(json.dumps(written))
    results = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps(results | {"an_evaluator_of_then": {"accuracy": 0.5}}))
    shown = report.load(tmp_path)
    assert (shown.results["ndcg"]["k"], set(shown.table_rows)) == (30, {"ndcg"})
    config.evaluation.sounds_from = str(tmp_path)
    assert build_evaluation(config).audio_queries.name == "avenet"
    arrays, _ = export_weights.weights(tmp_path, "best")
    assert arrays
    workdirs.check_same_run(tmp_path, config)


def test_a_dry_run_states_both_datasets(config):
    assert dry_run.describe_dataset(config) == (
        "Dataset synthetic_av/tiny: train 64, validation 16 clips\nDataset synthetic_av/tiny_unheard: test 12 clips"
    )


def test_evaluators_fitted_on_classes_need_the_same_list(data_dir):
    train = built_dataset.open_split("synthetic_av/tiny", data_dir, "train")
    test = built_dataset.open_split("synthetic_av/tiny_unheard", data_dir, "test")
    learns = scoring.Needs("probe", ("labels",), "all_positive", fit_needs=("labels",))
    registry.check_classes([learns], train, test)  # another world, the same list
    other = dataclasses.replace(test, class_ids=(*test.class_ids[:4], "/m/other"))
    registry.check_classes([dataclasses.replace(learns, fit_needs=("image_embedding",))], train, other)
    with pytest.raises(
        ValueError,
        match=r"probe would be fitted on the 16 classes of .*tiny and tested on the 5 of .*; .* only 4 classes",
    ):
        registry.check_classes([learns], train, other)


def test_open_set_is_lvs_on_other_clips():
    open_set, full = lvs_open_set.get_config(), lvs.get_config()
    assert open_set.data.dataset == "vgg_sound/heard_110_lvs"
    assert open_set.evaluation.dataset == "vgg_ss/heard_lvs"
    builders = {"vgg_sound": vgg_sound_dataset_builder, "vgg_ss": vgg_ss_dataset_builder}
    for dataset in (open_set.data.dataset, open_set.evaluation.dataset, "vgg_ss/unheard_lvs"):
        builder, name = dataset.split("/")
        assert name in {config.name for config in builders[builder].Builder.BUILDER_CONFIGS}
    for section in ("model", "loss", "inputs", "train"):
        assert open_set[section].to_dict() == full[section].to_dict()
    miniature = lvs_open_set.get_config("miniature")
    assert miniature.data.dataset == "synthetic_av/miniature_heard"
    assert miniature.evaluation.dataset == ""


def test_heard_and_unheard_share_no_class():
    assert not set(HEARD) & set(UNHEARD)
    assert sorted(HEARD + UNHEARD) == sorted(instrument_classes.NAMES)
    assert len(HEARD) == len(UNHEARD) == 8


def test_what_few_clips_allow_is_checked_before_the_first_step(config, tmp_path, caplog):
    config.evaluation.dataset = ""
    config.evaluation.evaluators = ("avc_accuracy",)
    config.evaluation.split = "test[:4]"  # four videos
    with caplog.at_level("INFO", "avlearn"):
        found = evaluated(config, tmp_path / "few")["avc_accuracy"]
    assert (found["draws"], found["items"], found["items_expected"]) == (3, 16, 16)
    said = "avc_accuracy: 3 negatives of each frame, not 5 (--config.evaluation.avc_accuracy.pair_draws): the split "
    assert f"{said}'test[:4]' of synthetic_av/tiny has few clips." in caplog.text
    config.evaluation.split = "test[:1]"
    with pytest.raises(
        ValueError, match=r"^avc_accuracy: the split 'test\[:1\]' .* has a single clip.*evaluation.split"
    ):
        experiment.build(config, tmp_path)
    config.evaluation.split = "test"
    config.data.validation_split = "validation[:1]"
    with pytest.raises(ValueError, match=r"^validation: the split 'validation\[:1\]' .*--config.data.validation_split"):
        experiment.build(config, tmp_path)


@pytest.mark.parametrize(
    ("evaluator", "split", "message"),
    [
        ("tsne", "test[:15]", r"tsne: perplexity = 30.0; .* 2 x 15 \(--config.evaluation.tsne.perplexity\)"),
        ("tsne", "test[:5]", r"tsne: perplexity = 30.0; "),
        ("nmi", "test", r"nmi: 16 rows for 64 clusters; .*--config.evaluation.nmi.clusters=16 or less"),
        ("ndcg", "test[:1]", "ndcg: 1 row in labels"),
        ("cca", "test", r"cca: 1 row in fit; .*--config.evaluation.fit_clips"),
    ],
)
def test_too_few_clips_for_an_evaluator_are_refused_before_the_first_step(evaluator, split, message, config, tmp_path):
    config.evaluation.dataset = ""
    config.evaluation.evaluators = (evaluator,)
    config.evaluation.split = split
    config.evaluation.fit_clips = 1
    with pytest.raises(ValueError, match=f"^{message}"):
        experiment.build(config, tmp_path)


def test_training_and_evaluation_take_sums_and_parts_of_splits(config, tmp_path, caplog):
    config.data.train_split = "train+validation"
    config.evaluation.dataset, config.evaluation.split = "", "all"
    config.evaluation.evaluators = ("ndcg", "cca")
    config.evaluation.fit_clips = 70
    config.evaluation.also_on = ("synthetic_av/tiny/test[:50%] evaluators=ndcg", "synthetic_av/tiny/train+test")
    with caplog.at_level("INFO", "avlearn"):
        built = experiment.build(config, tmp_path)
    assert len(built.splits["train"]) == 80
    assert (
        "cca: at most 69 directions, not 128 (--config.evaluation.cca.components), since it is fitted on 70 clips."
        in (caplog.text)
    )
    assert next(built.training_batches(0)).corresponds.shape == (8, 32)
    assert "16 of the 16 clips of validation are trained on" in caplog.text
    found = evaluated(config, tmp_path / "run")
    assert (found["ndcg"]["split"], found["ndcg"]["items"], found["ndcg"]["items_expected"]) == ("all", 96, 96)
    assert (found["cca"]["fit"]["split"], found["cca"]["fit"]["items"]) == ("train+validation", 70)
    further = found["also_on"]
    assert {name: each["ndcg"]["items"] for name, each in further.items()} == {
        "synthetic_av/tiny/test[:50%]": 8,
        "synthetic_av/tiny/train+test": 80,
    }
    assert sorted(path.name for path in (tmp_path / "run").glob("arrays-*")) == [
        "arrays-synthetic_av-tiny-test[:50%].npz",
        "arrays-synthetic_av-tiny-train+test.npz",
    ]
    assert "train+validation 80, validation 16" in dry_run.describe_dataset(config)
