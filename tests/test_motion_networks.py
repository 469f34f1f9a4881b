"""The networks that take more than a frame, the whole way on a small world: trained, evaluated and reported."""

import json

import jax
import numpy as np
import pytest

from avlearn import main
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
        config.inputs.frames = 5  # a second here
    if config.inputs.waveform_samples:
        config.inputs.waveform_samples = 8000
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
