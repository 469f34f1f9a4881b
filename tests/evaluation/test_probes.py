"""Tables 2 to 4 of Look, Listen and Learn from a checkpoint: datasets of audio alone and of images alone."""

import dataclasses
import functools
import importlib
import json
import logging

import jax
import numpy as np
import optax
import pytest
import soundfile
from flax import nnx
from ml_collections import FrozenConfigDict

from avlearn import main
from avlearn.build import build_network
from avlearn.commands import dry_run
from avlearn.data import images, windows
from avlearn.devices import placement
from avlearn.evaluation import array_files, assembly, features, follow
from avlearn.evaluators import linear_probe
from avlearn.logs import metrics_log
from avlearn.media import log_spectrogram
from avlearn.models import l3net
from avlearn.runs.checkpoint import Checkpoints
from avlearn.training import step as steps
from tests.helpers import small_datasets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Build ESC-50 with two recordings in each fold, tones of two pitches, and the images."""
    directory = tmp_path_factory.mktemp("data")
    small_datasets.build_esc50(directory)
    small_datasets.build_pictures(directory)
    return directory


def tiny(name, data_dir):
    config = importlib.import_module(f"configs.{name}").get_config("l3net-miniature")
    config.model.width = 1 / 16
    config.inputs.frame_pixels = 32
    config.inputs.pool = 8
    config.train.num_workers = 8
    config.data.data_dir = str(data_dir)
    config.evaluation.batch = 16
    config.evaluation.sound_classification.windows = 3
    config.evaluation.linear_probe.dataset = "pictures"
    config.evaluation.linear_probe.split = "test"
    return config


@pytest.fixture(scope="module")
def checkpoint(data_dir, tmp_path_factory):
    """Save a checkpoint of the initial weights of another seed."""
    config = tiny("esc50", data_dir)
    config.seed = 1
    network = build_network(config)
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(directory, network="l3net", keep=1)
    save(checkpoints, network, 7)
    checkpoints.close()
    return directory


def save(checkpoints, network, step):
    """Save a checkpoint as training does after a step."""
    state = steps.initial_state(network.training, optax.identity())
    checkpoints.save(dataclasses.replace(state, step=state.step + step), metrics={"validation/loss": 0.5})
    checkpoints.wait()


def evaluated(config, checkpoint, workdir):
    main.run(config, workdir, "evaluate", str(checkpoint))
    return json.loads((workdir / "results.json").read_text()), array_files.load_arrays(workdir / "arrays.npz")


def of_seed(config, seed):
    """Build the network with the initial weights of a seed, and its state."""
    model = l3net.Model(config.model, build_network(config).inputs, rngs=nnx.Rngs(seed))
    model.eval()
    return model, steps.initial_state(model, optax.identity())


def test_esc50_from_wav_files_to_folds(data_dir, checkpoint, tmp_path):
    config = tiny("esc50", data_dir)
    results, arrays = evaluated(config, checkpoint, tmp_path)
    found = results["sound_classification"]
    # Any features separate tones of two pitches.
    assert found["accuracy"] == 1.0
    assert found["fold_clips"] == {str(fold): 2 for fold in range(1, 6)}
    assert found["baselines"]["untrained"] == 1.0
    assert (found["items"], found["items_expected"], found["windows_per_clip"]) == (10, 10, [3, 3])
    assert (found["dataset"], found["split"]) == ("esc50/all", "fold1, fold2, fold3, fold4, fold5")
    assert (found["checkpoint_step"], found["network"]) == (7, "l3net")
    of_windows = arrays["windows"]
    assert of_windows["fold"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert of_windows["clip"].tolist() == np.repeat(np.arange(10), 3).tolist()
    assert [int(name[-1]) for name in of_windows["clip_id"]] == of_windows["labels"].argmax(axis=1).tolist()
    # One window by hand: the middle second of a clip, columns 99.5 to 299.5 of 399, rounded down.
    clip = of_windows["clip_id"].tolist().index("3-31-A-1")
    waveform, _ = soundfile.read(data_dir / "manual" / "3-31-A-1.wav", dtype="float32")
    whole = np.float16(log_spectrogram.log_spectrogram(waveform)).astype(np.float32)
    cut = whole[99:299].reshape(25, 8, 257)[:, :, :256].reshape(25, 8, 32, 8).mean(axis=(1, 3)) / 12
    for name, seed in (("audio_features", 1), ("untrained_audio_features", 0)):
        model, state = of_seed(config, seed)
        of_audio = jax.jit(functools.partial(features.of_audio, model=model, names=("audio_features",)))
        expected = of_audio(state, cut[None])["audio_features"]
        np.testing.assert_allclose(of_windows[name][3 * clip + 1], expected[0], atol=2e-3)


def test_dcase_tests_on_one_split(data_dir, checkpoint, tmp_path):
    config = tiny("dcase2013", data_dir)
    options = config.evaluation.sound_classification
    assert (options.windows, options.dataset) == (3, "dcase2013/scenes")
    options.dataset, options.test_splits = "esc50/all", ("fold2", "fold5")
    built = assembly.build_evaluation(config)
    source = built.sources["windows"]
    assert (source.split, source.clips) == ("fold2, fold5", 4)
    arrays = source.collect(built.passes.initial, {"audio_features"})
    assert arrays["tested"].tolist() == [fold in (2, 5) for fold in arrays["fold"]]
    options.test_splits = ("fold6",)
    with pytest.raises(ValueError, match=r"esc50/all has no split fold6; .*takes some of fold1, fold2"):
        assembly.build_evaluation(config)


def test_images_as_in_imagenet(data_dir, checkpoint, tmp_path):
    results, arrays = evaluated(tiny("imagenet", data_dir), checkpoint, tmp_path)
    found = results["linear_probe"]
    assert found["top1"] == 1.0
    assert found["baselines"]["majority"] == 0.5
    assert found["baselines"]["untrained"] == 1.0
    assert (found["items"], found["items_expected"]) == (12, 12)
    assert (found["dataset"], found["split"], found["fit"]["split"]) == ("pictures", "test", "train")
    assert (found["fit"]["items"], found["fit"]["clips_of_split"]) == (40, 40)
    assert arrays["images"]["image_features"].shape == (12, 4 * 4 * 32)
    assert arrays["images_fit"]["image_features"].dtype == np.float16
    # Inputs of the network: the centre square, resized.
    config = tiny("imagenet", data_dir)
    frames, rows = next(
        images.image_batches(
            images.open_images("pictures", data_dir, "test"), build_network(config).inputs, batch_size=16
        )
    )
    assert frames.shape == (16, 32, 32, 3)
    colours = frames[:12].reshape(12, -1, 3)
    assert (np.ptp(colours.astype(int), axis=1) == 0).all()
    assert rows["labels"].argmax(axis=1).tolist() == colours[:, 0, :2].argmax(axis=1).tolist()
    for name, seed in (("image_features", 1), ("untrained_image_features", 0)):
        model, state = of_seed(config, seed)
        of_frames = jax.jit(functools.partial(features.of_frames, model=model, names=("image_features",)))
        expected = of_frames(state, frames[:12])["image_features"]
        np.testing.assert_allclose(arrays["images"][name], expected, atol=5e-3, rtol=2e-3)


def files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_following_a_training(data_dir, checkpoint, tmp_path, caplog, monkeypatch):
    config = tiny("imagenet", data_dir)
    config.train.steps = 9
    built = assembly.build_evaluation(config)
    training = Checkpoints(tmp_path / "checkpoints", network="l3net", keep=3)
    save(training, built.network, 4)
    before = files(tmp_path)
    waited = []

    def wait():
        waited.append(files(tmp_path / "checkpoints"))
        save(training, built.network, 9)

    follower = Checkpoints(tmp_path / "checkpoints", network="l3net", keep=3, read_only=True)
    monkeypatch.setattr(logging.getLogger("avlearn"), "propagate", True)
    with caplog.at_level(logging.INFO, "avlearn"):
        follow.follow(built, follower, tmp_path / "evaluation", wait)
    assert [line.split()[:5] for line in caplog.text.splitlines() if line.startswith("step ")] == [
        ["step", str(step), "pictures/test", "Linear", "probe,"] for step in (4, 9)
    ]
    assert waited == [before]  # evaluating step 4 has touched nothing of the training's
    rows = metrics_log.read_rows(tmp_path / "evaluation" / "results.jsonl")
    assert (
        [row["step"] for row in rows] == [row["results"]["linear_probe"]["checkpoint_step"] for row in rows] == [4, 9]
    )
    alone = built.run(follower, 4).results
    assert rows[0]["results"] == json.loads(json.dumps(alone))
    assert len(list((tmp_path / "evaluation" / "tensorboard").iterdir())) == 1
    assert dict(follow.scalars(alone))["linear_probe/baselines/majority"] == 0.5
    # A restart finds nothing to do; with more steps to come it waits until Ctrl-C.
    follow.follow(built, follower, tmp_path / "evaluation", wait)
    config.train.steps = 20
    longer = dataclasses.replace(built, config=FrozenConfigDict(config))

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow.follow(longer, follower, tmp_path / "evaluation", interrupted)
    assert len(waited) == 1
    assert metrics_log.read_rows(tmp_path / "evaluation" / "results.jsonl") == rows


def test_a_checkpoint_that_training_has_removed_is_named(data_dir, tmp_path, caplog, monkeypatch):
    config = tiny("imagenet", data_dir)
    config.train.steps = 3
    follower = Checkpoints(tmp_path / "checkpoints", network="l3net", keep=3, read_only=True)
    listed = [[3]]  # and then no longer
    monkeypatch.setattr(follower, "steps", lambda: listed.pop() if listed else [])
    monkeypatch.setattr(logging.getLogger("avlearn"), "propagate", True)
    follow.follow(assembly.build_evaluation(config), follower, tmp_path / "evaluation")
    assert "Step 3 was removed before it could be evaluated" in caplog.text
    assert metrics_log.read_rows(tmp_path / "evaluation" / "results.jsonl") == []


def test_tables_take_any_networks_config():
    for name in ("esc50", "dcase2013", "imagenet", "kinetics_sounds"):
        config = importlib.import_module(f"configs.{name}").get_config("avolnet-miniature")
        config.model.width = 1 / 16
        network = build_network(config)
        assert network.name == "avolnet"
        assert dry_run.describe_evaluators(config, network).count("\n") == len(config.evaluation.evaluators)
        config.model.name = "lvs"
        with pytest.raises(ValueError, match=r"needs (audio_features|image_features|image_pool4)"):
            dry_run.describe_evaluators(config, build_network(config))
    assert (
        importlib.import_module("configs.kinetics_sounds").get_config().data.dataset == "kinetics_sounds/ks34_nearest"
    )
    assert importlib.import_module("configs.vgg16_l3net").get_config().evaluation.sounds_from == "runs/l3net"
    with pytest.raises(ValueError, match="configs/ has no file 'l3'"):
        importlib.import_module("configs.esc50").get_config("l3-net")


def test_missing_images(data_dir):
    with pytest.raises(ValueError, match=r"imagenet2012 are not in .*tfds build imagenet2012 --data_dir="):
        images.open_images("imagenet2012", data_dir, "train")
    with pytest.raises(ValueError, match=r"pictures has no split 'validation'; it has .*test"):
        images.open_images("pictures", data_dir, "validation")
    assert len(images.open_images("pictures", data_dir, "train[:25%]")) == 10


def test_the_probe_is_the_same_on_any_number_of_devices():
    rng = np.random.default_rng(0)
    classes = rng.integers(3, size=50)
    given = rng.normal(size=(50, 6)).astype(np.float32) + np.eye(3, 6, dtype=np.float32)[classes]
    options = {"count": 3, "epochs": 3, "batch": 20, "learning_rate": 0.1, "label_smoothing": 0.1, "seed": 0}
    eight, one = (
        linear_probe.train(given, classes, mesh=placement.make_mesh(count, jax.devices()[:count]), **options)
        for count in (8, 1)
    )
    for many, single in zip(eight, one, strict=True):
        np.testing.assert_allclose(many, single, atol=1e-5)


def test_window_starts_by_hand():
    # Five seconds at 5 ms are 1,000 columns; windows of one second have 200.
    assert windows.window_starts(1000, 200, 10).tolist() == [0, 88, 177, 266, 355, 444, 533, 622, 711, 800]
    assert windows.window_starts(1000, 200, 5).tolist() == [0, 200, 400, 600, 800]
    starts = windows.window_starts(6000, 200, 60)  # DCASE: 30 s
    assert (starts[0], starts[-1], len(starts)) == (0, 5800, 60)
    assert set(np.diff(starts)) == {98, 99}
    assert windows.window_starts(1000, 200, 1).tolist() == [400]
    assert windows.window_starts(200, 200, 3).tolist() == [0, 0, 0]


def test_clips_shorter_than_a_window(data_dir):
    config = tiny("esc50", data_dir)
    config.inputs.columns = 400
    built = assembly.build_evaluation(config)
    with pytest.raises(ValueError, match=r"clip is shorter than a window of\] \[400\] .*1-1\d-A"):
        built.sources["windows"].collect(built.passes.initial, {"audio_features"})
