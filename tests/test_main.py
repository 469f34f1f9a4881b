"""The command on synthetic data: experiments train, are evaluated and reported; a restart continues."""

import json
import pathlib
import re

import jax
import numpy as np
import optax
import pytest
from absl.testing import flagsaver

from avlearn import experiment, main, train
from avlearn.build import build_network, config_of_run
from avlearn.commands import dry_run
from avlearn.data import order
from avlearn.evaluation import array_files
from avlearn.evaluation.report_arrays import ReportArrays
from avlearn.logs import metrics_log
from avlearn.runs import non_finite
from avlearn.runs.checkpoint import Checkpoints
from avlearn.training import step as steps
from tests.helpers import tensorboard_events
from tests.helpers.every_config import tiny

pytestmark = pytest.mark.slow

EXPERIMENTS = ("l3net", "avenet", "avolnet", "lvs", "attention10k", "supervised", "supervised_pretraining")
WITH_MAPS = {"avolnet", "lvs", "attention10k"}


@pytest.fixture(scope="module")
def runs(trained):
    """Return the directory of the runs of these experiments, trained for two steps and evaluated."""
    for name in EXPERIMENTS:
        trained(name)
    return trained.directory


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_run_leaves_its_files(runs, name):
    workdir = runs / name
    assert "2" in {path.name for path in (workdir / "checkpoints").iterdir()}
    assert list((workdir / "tensorboard").iterdir())
    rows = metrics_log.read_rows(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2]
    validated = [row for row in rows if "validation/loss" in row]
    assert [row["step"] for row in validated] == [2]
    assert all(0 <= row["validation/predicted_positive"] <= 1 for row in validated)
    assert (workdir / "report" / "index.html").stat().st_size > 10_000
    expected = {(2, "retrieval/image_to_sound"), (2, "retrieval/sound_to_image")}
    expected |= {(2, "heat_map/own_and_other_sound")} if name in WITH_MAPS else set()
    assert set(tensorboard_events.images(workdir / "tensorboard")) == expected


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_results_name_dataset_and_chance(runs, name):
    results = json.loads((runs / name / "results.json").read_text())
    assert set(results["ndcg"]["baselines"]["chance"]) == {"im-im", "im-aud", "aud-im", "aud-aud"}
    assert all(metrics["dataset"] == "synthetic_av/tiny" for metrics in results.values())
    assert ("pointing" in results) == ("ciou" in results) == (name in WITH_MAPS)


def test_cca_is_fitted_on_the_first_training_clips(runs, tiny_world, tmp_path):
    """Evaluate a checkpoint again, as L3-Net with CCA in table 1."""
    config = tiny("l3net", tiny_world)
    config.evaluation.evaluators = ("ndcg", "cca")
    config.evaluation.fit_clips = 40
    main.run(config, tmp_path, "evaluate", str(runs / "l3net" / "checkpoints"))
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["cca"]["items"], results["cca"]["split"]) == (16, "test")
    fit = results["cca"]["fit"]
    assert (fit["items"], fit["clips_of_split"], fit["split"]) == (40, 64, "train")
    arrays = array_files.load_arrays(tmp_path / "arrays.npz")
    assert arrays["fit"]["image_item"].tolist() == sorted(order.epoch_order(64, config.seed, 0)[:40])
    assert (tmp_path / "report" / "index.html").exists()
    # The saved arrays give the same results without the dataset.
    config.data.data_dir = "nowhere"
    main.run(config, tmp_path / "again", "evaluate", None, str(tmp_path / "arrays.npz"))
    assert json.loads((tmp_path / "again" / "results.json").read_text()) == results


def test_audio_features_of_another_network(runs, tiny_world, tmp_path):
    """Combine the image features of VGG16 with the audio features of L3-Net, as in table 1."""
    config = tiny("l3net", tiny_world)
    config.update({"model": {"name": "vgg16"}, "evaluation": {"evaluators": ("cca",), "fit_clips": 40}})
    network = build_network(config)
    checkpoints = Checkpoints(tmp_path / "checkpoints", network="vgg16", keep=1)
    checkpoints.save(steps.initial_state(network.training, optax.identity()), metrics={"validation/loss": 0.0})
    checkpoints.close()
    with pytest.raises(ValueError, match=r"cca needs audio_embedding, audio_embedding, which vgg16 does not provide"):
        main.run(config, tmp_path / "deaf", "evaluate", str(tmp_path / "checkpoints"))
    config.evaluation.sounds_from = str(runs / "l3net")
    main.run(config, tmp_path / "both", "evaluate", str(tmp_path / "checkpoints"))
    results = json.loads((tmp_path / "both" / "results.json").read_text())
    assert results["cca"]["network"].startswith("vgg16, sounds by l3net, step ")
    assert results["cca"]["fit"]["items"] == 40
    both = array_files.load_arrays(tmp_path / "both" / "arrays.npz")
    own = array_files.load_arrays(runs / "l3net" / "arrays.npz")["all_positive"]
    heard = both["all_positive"]
    np.testing.assert_array_equal(heard["image_item"], own["image_item"])
    np.testing.assert_allclose(heard["audio_embedding"], own["audio_embedding"], atol=1e-6)
    assert heard["image_embedding"].shape[1] == 4096 // 16 != own["image_embedding"].shape[1]
    assert both["fit"]["audio_embedding"].shape == (40, own["audio_embedding"].shape[1])
    # The other network may have keys that this config does not declare.
    assert build_network(config_of_run(config, runs / "lvs")).loss.keywords["regions"] == "tri_map"
    config.evaluation.sounds_from = str(tmp_path)
    with pytest.raises(ValueError, match=r"config.json does not exist; --config.evaluation.sounds_from names"):
        main.run(config, tmp_path / "none", "evaluate", str(tmp_path / "checkpoints"))


def test_features_negatives_and_sources_of_a_checkpoint(runs, tiny_world, tmp_path):
    """Collect arrays that only some evaluators read, from clips with silent, invisible and several sources."""
    config = tiny("avolnet", tiny_world)
    config.evaluation.evaluators = ("negatives", "nmi", "unit_preference", "tsne")
    config.evaluation.nmi.clusters = 4
    main.run(config, tmp_path, "evaluate", str(runs / "avolnet" / "checkpoints"))
    results = json.loads((tmp_path / "results.json").read_text())
    arrays = array_files.load_arrays(tmp_path / "arrays.npz")
    shown_only = array_files.load_arrays(tmp_path / "report.npz")
    assert set(arrays) == {"all_positive", "negatives", "about"}
    assert set(shown_only) == {"image_units", "audio_units"}
    kinds = results["negatives"]
    assert kinds["items"] + kinds["without_usable_box"] == kinds["items_expected"] == 16
    assert (kinds["off_screen"]["negatives"], kinds["silence"]["negatives"]) == (16, 16)
    assert kinds["all"]["negatives"] == 32 + kinds["without_usable_box"]
    silent = arrays["negatives"]["silent"]
    assert silent.tolist() == [False] * 32 + [True] * 16
    # All silent audio has the same vector.
    assert np.ptp(arrays["negatives"]["audio_embedding"][silent], axis=0).max() < 1e-5
    for name in ("image_pool4", "untrained_image_pool4", "untrained_audio_embedding"):
        assert arrays["all_positive"][name].shape[0] == 16
    assert not np.allclose(arrays["all_positive"]["image_pool4"], arrays["all_positive"]["untrained_image_pool4"])
    assert results["nmi"]["baselines"]["untrained"]["image"] is not None
    assert results["unit_preference"]["baselines"]["untrained"]["audio"] is not None
    assert {"tsne_image_position", "tsne_audio_position"} <= set(arrays["all_positive"])
    # The map of each unit that the report shows reaches the unit's activation on the clip.
    for mode in ("image", "audio"):
        shown, pool4 = shown_only[f"{mode}_units"], arrays["all_positive"][f"{mode}_pool4"]
        assert len(shown["map"]) % 5 == 0
        strongest = np.repeat(shown["activation"][::5], 5)
        rows = np.searchsorted(arrays["all_positive"]["image_item"], shown["item"])
        np.testing.assert_allclose(shown["map"].max(axis=(1, 2)) * strongest, pool4[rows, shown["unit"]], rtol=1e-4)
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count('<div class="units">') == 2
    config.evaluation.evaluators = ("iiou",)
    with pytest.raises(ValueError, match="has no frame with boxes of several sounding classes that other clips have"):
        main.run(config, tmp_path / "iiou", "evaluate", str(runs / "avolnet" / "checkpoints"))
    config.evaluation.split = "train"  # has some such frames
    main.run(config, tmp_path / "iiou", "evaluate", str(runs / "avolnet" / "checkpoints"))
    found = json.loads((tmp_path / "iiou" / "results.json").read_text())["iiou"]
    rows = array_files.load_arrays(tmp_path / "iiou" / "arrays.npz")["sources"]
    assert found["sources"] == len(rows["source"]) >= 2 * found["items"] > 0
    assert found["items"] + found["without_several_sources"] == found["items_expected"] == 64
    # A row has the boxes of its own source only, and the audio of another clip.
    own = rows["box_label"] == rows["source"][:, None]
    np.testing.assert_array_equal(rows["box_sounding"], own & np.isfinite(rows["boxes"]).all(axis=-1))
    assert rows["box_sounding"].any(axis=1).all()
    assert (rows["audio_item"] != rows["image_item"]).all()
    # The map of a frame depends on the source.
    pair = rows["heat_map"][rows["image_item"] == rows["image_item"][0]]
    assert not np.allclose(pair[0], pair[1])


def test_saved_arrays_give_the_same_metrics(runs):
    """Compute the accuracy from the arrays."""
    arrays = array_files.load_arrays(runs / "avenet" / "arrays.npz")
    drawn, pairs = arrays["avc_draws"], arrays["avc"]
    right = (drawn["logit"] > 0) == drawn["corresponds"]
    accuracy = np.mean([right[(drawn["pair_draw"] == -1) | (drawn["pair_draw"] == draw)].mean() for draw in range(5)])
    np.testing.assert_array_equal(pairs["logit"], drawn["logit"][drawn["pair_draw"] < 1])
    results = json.loads((runs / "avenet" / "results.json").read_text())
    assert results["avc_accuracy"]["accuracy"] == pytest.approx(accuracy)
    assert sorted(arrays["all_positive"]["image_item"]) == list(range(16))
    # AVE-Net's score depends on the distance of its embeddings alone.
    distance = np.linalg.norm(pairs["image_embedding"] - pairs["audio_embedding"], axis=1)
    np.testing.assert_allclose(np.argsort(distance), np.argsort(-pairs["logit"]))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_report_has_animations_of_the_heat_maps(runs, name):
    shown = array_files.load_arrays(runs / name / "report.npz")
    page = (runs / name / "report" / "index.html").read_text()
    if name not in WITH_MAPS:
        assert "moments" not in shown
        assert "<video" not in page
        return
    moments, pairs = shown["moments"], array_files.load_arrays(runs / name / "arrays.npz")["avc"]
    items = list(dict.fromkeys(moments["image_item"].tolist()))
    assert len(items) == page.count("<video") == 3
    # Pairs are taken at the middle moment, so its map is that of the pair.
    for item in items:
        rows = moments["image_item"] == item
        assert rows.sum() > 1
        pair = pairs["heat_map"][pairs["corresponds"] & (pairs["image_item"] == item)][0]
        apart = np.abs(moments["heat_map"][rows] - pair).max(axis=(1, 2))
        assert apart.min() < 1e-4 * np.abs(pair).max()


def test_results_are_saved_before_anything_is_drawn(runs, tiny_world, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("no room")

    (tmp_path / "report.npz").touch()  # from an earlier evaluation
    monkeypatch.setattr(ReportArrays, "collect", fails)
    with pytest.raises(OSError, match="no room"):
        main.run(tiny("avenet", tiny_world), tmp_path, "evaluate", str(runs / "avenet" / "checkpoints"))
    assert (tmp_path / "results.json").read_text() == (runs / "avenet" / "results.json").read_text()
    assert "all_positive" in array_files.load_arrays(tmp_path / "arrays.npz")
    assert not (tmp_path / "report.npz").exists()


def test_direct_combination_is_decided_by_the_validation_split(runs):
    results = json.loads((runs / "supervised" / "results.json").read_text())["avc_accuracy"]
    arrays = array_files.load_arrays(runs / "supervised" / "arrays.npz")
    chosen_on, test, first = arrays["validation"], arrays["avc_draws"], arrays["avc"]
    assert len(chosen_on["logit"]) == 2 * 16
    right = ((chosen_on["logit"] > results["threshold"]) == chosen_on["corresponds"]).mean()
    assert results["fit"]["accuracy"] == right >= 0.5
    assert (results["fit"]["split"], results["fit"]["clips_of_split"]) == ("validation", 16)
    right = (test["logit"] > results["threshold"]) == test["corresponds"]
    of_kinds = right[test["corresponds"]].mean(), right[~test["corresponds"]].mean()
    assert results["accuracy"] == pytest.approx(np.mean(of_kinds))
    # The two splits have different clips.
    assert not np.array_equal(chosen_on["logit"], first["logit"])


def test_restart_continues_and_ends_with_the_same_bits(runs, tiny_world, tmp_path):
    config = tiny("avenet", tiny_world)
    uninterrupted = train.train(experiment.build(config, new_directory(tmp_path / "uninterrupted")))
    config.evaluation.after_training = False
    stopped = experiment.build(config, new_directory(tmp_path / "stopped"))
    batches = stopped.training_batches(0)
    state, metrics = stopped.train_step(stopped.start(), next(batches))
    stopped.checkpoints.save(state, metrics={"validation/loss": float(metrics["loss"])})
    stopped.checkpoints.close()
    restarted = train.train(experiment.build(config, tmp_path / "stopped"))
    for a, b in zip(jax.tree.leaves(uninterrupted), jax.tree.leaves(restarted), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    rows = metrics_log.read_rows(tmp_path / "stopped" / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/loss" in row] == [2]


def new_directory(path: pathlib.Path) -> pathlib.Path:
    path.mkdir()
    return path


def test_evaluates_another_runs_checkpoint_and_refuses_another_networks(runs, tiny_world, tmp_path):
    main.run(tiny("avenet", tiny_world), tmp_path / "a", "evaluate", str(runs / "avenet" / "checkpoints"))
    first = json.loads((runs / "avenet" / "results.json").read_text())
    assert json.loads((tmp_path / "a" / "results.json").read_text()) == first
    # Eight devices could not share three workers; evaluation does not depend on the workers.
    config = tiny("avenet", tiny_world)
    config.train.num_workers = 3
    main.run(config, tmp_path / "three", "evaluate", str(runs / "avenet" / "checkpoints"))
    on_eight = json.loads((tmp_path / "three" / "results.json").read_text())
    assert on_eight["ndcg"]["im-aud"] == pytest.approx(first["ndcg"]["im-aud"])
    assert on_eight["avc_accuracy"]["roc_auc"] == pytest.approx(first["avc_accuracy"]["roc_auc"], abs=1e-3)
    with pytest.raises(ValueError, match="holds the network 'avenet', but the config builds 'l3net'"):
        main.run(tiny("l3net", tiny_world), tmp_path / "b", "evaluate", str(runs / "avenet" / "checkpoints"))
    with pytest.raises(ValueError, match="no checkpoint in"):
        main.run(tiny("l3net", tiny_world), tmp_path / "c", "evaluate", None)


def test_non_finite_loss_stops_with_the_step(tiny_world, tmp_path):
    config = tiny("avenet", tiny_world)
    config.train.update({"learning_rate": float("nan"), "checkpoint_every_steps": 1})
    built = experiment.build(config, new_directory(tmp_path / "run"))
    with pytest.raises(non_finite.NonFiniteLoss, match=r"validation loss after step 1 is nan\. Nothing was saved"):
        train.train(built)
    assert built.checkpoints.latest_step() is None


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(non_finite.NonFiniteLoss("the loss of step 3 is nan"), 65), (ValueError("a wrong key"), 1)],
)
def test_a_non_finite_loss_has_its_own_exit_code(error, exit_code, monkeypatch, capsys):
    def run(*_, **__):
        raise error

    monkeypatch.setattr(main, "run", run)
    monkeypatch.setattr(main, "start_up", lambda _: None)
    monkeypatch.setattr(main.compilation, "set_cache_directory", lambda _: None)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        main.main(main.parse_flags(["avlearn.main", "--config=configs/avenet.py:miniature"]))
    assert end.value.code == exit_code
    assert f"error: {error}" in capsys.readouterr().err


def test_dry_run_describes_the_run(tiny_world):
    config = tiny("avolnet", tiny_world)
    text = dry_run.describe(config)
    network = build_network(config)
    state = steps.initial_state(network.training, optax.sgd(0.1))
    assert f"{sum(leaf.size for leaf in jax.tree.leaves(state.params)):,}" in text
    assert "8 workers x 8 = 64 pairs; 8 device(s)" in text
    assert "[8, 8, 48, 48, 3]" in text
    assert re.search(r"  augmentation\.flip +bool +\[8, 8\]\n", text)
    in_all, of_pair = re.search(
        r"(\d+) MiB of activations and gradients, ([\d.]+) MiB for each of .* 8 pairs", text
    ).groups()
    assert float(of_pair) == pytest.approx(float(in_all) / 8, abs=0.5 / 8 + 0.05)
    assert "train 64, validation 16, test 16 clips" in text
