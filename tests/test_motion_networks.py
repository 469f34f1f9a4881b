"""The networks that take more than a frame, the whole way on a small world: trained, evaluated and reported."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference_network import small_batch

from avlearn import dry_run, main, parallel, parts
from avlearn import step as steps
from configs import avenet_flow, avenet_multiframe, multisensory
from data_builders.synthetic_av.synthetic_av_dataset_builder import Builder, Config

CONFIGS = {"avenet_flow": avenet_flow, "avenet_multiframe": avenet_multiframe, "multisensory": multisensory}
CLIPS = 8  # of each split
WORLD = Config(
    name="moving",
    height=48,
    width=48,
    frames_per_second=5,
    clip_seconds=2.4,
    train_clips=CLIPS,
    validation_clips=CLIPS,
    test_clips=CLIPS,
    optical_flow=True,
    waveform_hz=8000,
    jump=0.25,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data directory with a world that stores flow and waveform."""
    data_dir = tmp_path_factory.mktemp("data")
    Builder(config=WORLD, data_dir=data_dir).download_and_prepare()
    return data_dir


def tiny(name: str, data_dir):
    """The miniature experiment, smaller still."""
    config = CONFIGS[name].get_config("miniature")
    config.model.width = 1 / 16
    config.inputs.frame_pixels = 32
    if config.inputs.frames > 1:
        config.inputs.frames = 5
    config.data.dataset = f"synthetic_av/{WORLD.name}"
    config.data.data_dir = str(data_dir)
    config.data.shift_seconds = (1.0, 1.2)
    config.train.update({"batch_per_worker": 4, "num_workers": 1, "steps": 1, "checkpoint_every_steps": 1})
    config.train.schedule = "staircase"
    config.evaluation.batch = 8
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_covers_every_clip(name, world, tmp_path, monkeypatch):
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *_: one)  # compiles faster than eight
    main.run(tiny(name, world), tmp_path, "train", None)
    results = json.loads((tmp_path / "results.json").read_text())
    pairs = {evaluator: (figures["items"], figures["items_expected"]) for evaluator, figures in results.items()}
    drawn = (1 + 5) * CLIPS  # a clip's own sound, and one in each of five draws
    expected = {"avc_accuracy": drawn, "shift_accuracy": 2 * CLIPS, "ndcg": CLIPS}
    assert pairs == {evaluator: (expected[evaluator],) * 2 for evaluator in pairs}
    assert set(pairs) == ({"shift_accuracy", "avc_accuracy"} if name == "multisensory" else {"avc_accuracy", "ndcg"})
    with np.load(tmp_path / "arrays.npz") as arrays:
        wanted = "shifted/logit" if name == "multisensory" else "avc/image_embedding"
        assert len(arrays[wanted]) == 2 * CLIPS  # of the first draw
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.parametrize("name", ["avenet_multiframe", "multisensory"])
def test_a_step_at_full_size_fits_together(name):
    """The step of the paper's settings, traced with every shape checked, and what the evaluators need."""
    config = CONFIGS[name].get_config()
    network = parts.build_network(config)
    assert dry_run.describe_evaluators(config, network).count("\n") == len(config.evaluation.evaluators)
    sgd, mesh = optax.sgd(1e-3), parallel.make_mesh(1, jax.devices()[:1])
    score = functools.partial(parts.SCORES[config.data.pairing], loss=network.loss)
    step = steps.TrainStep(model=network.training, score=score, optimizer=sgd, mesh=mesh)
    state = jax.eval_shape(lambda: steps.initial_state(network.training, sgd))
    after, metrics = jax.eval_shape(step, state, parts.empty_batch(network.inputs, (1, config.train.batch_per_worker)))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    of_workers = {"worker_loss", "worker_gradient_norm"}
    assert set(metrics) == {"loss", "accuracy", "predicted_positive", "gradient_norm"} | of_workers


def test_a_step_at_full_size_moves_every_weight():
    """AVE+OF, two pairs at the paper's width and sizes, computed: the cheapest of the three."""
    config = avenet_flow.get_config()
    network = parts.build_network(config)
    assert dry_run.describe_evaluators(config, network).count("\n") == len(config.evaluation.evaluators)
    sgd, mesh = optax.sgd(1e-3), parallel.make_mesh(1, jax.devices()[:1])
    score = functools.partial(steps.score_pairs, loss=network.loss)
    step = steps.TrainStep(model=network.training, score=score, optimizer=sgd, mesh=mesh)
    before = steps.initial_state(network.training, sgd)
    kept = jax.tree.map(np.asarray, before.params)
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], small_batch(network.inputs, pairs=2))
    after, metrics = step(before, batch)
    assert np.isfinite(float(metrics["loss"]))
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), after.params, kept)
    assert all(jax.tree.leaves(moved["vision"])), moved


def test_what_cannot_meet_every_sound_is_not_trained_so(world):
    config = tiny("multisensory", world)
    config.data.pairing = "all_pairs"
    network = parts.build_network(config)
    with pytest.raises(ValueError, match=r"multisensory cannot be trained with pairing 'all_pairs'; .*avc or shifted"):
        parts.build_train_step(config, network, optax.sgd(0.1), parallel.make_mesh(1, jax.devices()[:1]))
