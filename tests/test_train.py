"""The training loop: preemption, and a loss that is not finite."""

import dataclasses
import json
import os
import pathlib
import signal

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict, FrozenConfigDict

from avlearn import experiment, train
from avlearn.data import graph
from avlearn.devices import placement
from avlearn.logs import metrics_log
from avlearn.runs import non_finite
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preempted, Preemption
from configs import avenet

STEPS = 4  # validated and saved after 2 and 4


class Scheduled(Preemption):
    """A SIGTERM that comes at the n-th question: one after each step, and one before each batch of a validation."""

    def __init__(self):
        super().__init__()
        self.at = self.asked = 0

    def poll(self) -> bool:
        self.asked += 1
        return self.asked == self.at


@pytest.fixture(scope="module")
def built(tiny_world, tmp_path_factory):
    """Return an experiment on two devices with 4 workers, and batches of 8 clips in validation."""
    config = avenet.get_config("miniature")
    config.model.width = 1 / 16
    config.inputs.frame_pixels = 32
    config.data.dataset = "synthetic_av/tiny"
    config.data.data_dir = str(tiny_world)
    config.train.update({"batch_per_worker": 4, "num_workers": 4, "steps": STEPS, "warmup_steps": 1})
    config.train.update({"checkpoint_every_steps": 2, "log_every_steps": 1, "pictures_every": 0})
    config.evaluation.batch = 8
    workdir = tmp_path_factory.mktemp("built")
    return experiment.build(config, workdir, preemption=Scheduled(), devices=jax.devices()[:2])


def fresh(built, workdir: pathlib.Path, preempted_at: int = 0):
    """Return the same experiment in another directory, preempted at a question."""
    workdir.mkdir(exist_ok=True)
    built.preemption.at, built.preemption.asked = preempted_at, 0
    return dataclasses.replace(
        built, workdir=workdir, checkpoints=Checkpoints(workdir / "checkpoints", network="avenet", keep=9)
    )


@pytest.fixture(scope="module")
def uninterrupted(built, tmp_path_factory):
    """Return the state at the end of an uninterrupted run, with a trace."""
    run = fresh(built, tmp_path_factory.mktemp("uninterrupted"))
    state = train.train(run, profile=True)
    assert list((run.workdir / "profile").rglob("*.xplane.pb"))
    return state


def validated(workdir: pathlib.Path) -> list[int]:
    rows = metrics_log.read_rows(workdir / "metrics.jsonl")
    return [row["step"] for row in rows if "validation/loss" in row]


# Validation asks before each of its 4 batches (16 clips, a positive and a negative each). So the questions are: 1 and 2
# after steps; 3 to 6 in validation; 7 and 8 after steps; 9 to 12 in validation.
@pytest.mark.parametrize(
    ("question", "saved", "without_loss", "best"),
    [(1, [1], [1], None), (5, [2], [2], None), (7, [2, 3], [3], 2), (8, [2, 4], [4], 2), (12, [2, 4], [4], 2)],
)
def test_preempted_it_saves_and_resumes_with_the_same_bits(
    question, saved, without_loss, best, built, uninterrupted, tmp_path
):
    stopped = fresh(built, tmp_path, preempted_at=question)
    with pytest.raises(Preempted, match=f"step {saved[-1]} is saved"):
        train.train(stopped)
    steps = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert steps == saved
    assert [step for step in steps if not stopped.checkpoints.is_validated(step)] == without_loss
    everywhere = placement.replicated(built.mesh)
    if best is None:
        with pytest.raises(ValueError, match="no checkpoint with a validation loss in"):
            stopped.checkpoints.restore_weights(built.initial_state(), everywhere, "best")
    else:
        assert stopped.checkpoints.restore_weights(built.initial_state(), everywhere, "best")[0] == best
    again = fresh(built, tmp_path)
    state = train.train(again)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(uninterrupted), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert validated(tmp_path) == [2, 4]
    assert again.checkpoints.is_validated(4)


def test_a_validation_that_fails_loses_no_step(built, uninterrupted, tmp_path):
    def failing(state):
        raise ValueError("a clip is damaged")

    with pytest.raises(ValueError, match=r"^a clip is damaged$"):
        train.train(dataclasses.replace(fresh(built, tmp_path), validation_pairs=failing))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]
    again = fresh(built, tmp_path)
    assert not again.checkpoints.is_validated(2)
    state = train.train(again)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(uninterrupted), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert validated(tmp_path) == [2, 4]


def test_pictures_that_cannot_be_drawn_lose_no_step(built, tmp_path, monkeypatch):
    def failing(log, step, pictures):
        raise ValueError("no picture")

    monkeypatch.setattr(metrics_log.MetricsLog, "show", failing)
    run = fresh(built, tmp_path)
    config = ConfigDict(run.config)
    config.train.pictures_every = 1
    with pytest.raises(ValueError, match=r"^no picture$"):
        train.train(dataclasses.replace(run, config=FrozenConfigDict(config)))
    assert fresh(built, tmp_path).checkpoints.is_validated(2)


def test_a_validation_loss_that_is_not_finite_is_not_saved(built, tmp_path):
    run = fresh(built, tmp_path)

    def diverged(state):
        arrays = built.validation_pairs(state)
        return arrays | {"logit": np.full_like(arrays["logit"], np.nan)}

    with pytest.raises(non_finite.NonFiniteLoss, match=r"validation loss after step 2 is nan.*from step 0"):
        train.train(dataclasses.replace(run, validation_pairs=diverged))
    assert run.checkpoints.latest_step() is None


def poisoned(batches, worker: int, after: int):
    """Yield the batches, with a NaN in the audio of one worker after some steps."""
    for number, batch in enumerate(batches):
        if number == after:
            audio = np.array(batch.log_spectrogram)
            audio[worker, 1, 0, 0] = np.nan
            audio = jax.device_put(audio, batch.log_spectrogram.sharding)
            batch = dataclasses.replace(batch, log_spectrogram=audio)
        yield batch


def test_a_loss_that_is_not_finite_names_step_worker_and_clips(built, tiny_world, tmp_path, monkeypatch):
    run, waits = fresh(built, tmp_path), []
    monkeypatch.setattr(run.checkpoints, "wait", lambda wait=run.checkpoints.wait: waits.append(wait()))
    videos = np.asarray([*zip(range(3), run.training_batches(0), strict=False)][2][1].video)
    run = dataclasses.replace(run, training_batches=lambda first: poisoned(built.training_batches(first), 3, after=2))
    with pytest.raises(non_finite.NonFiniteLoss, match=r"loss of step 3 is nan.*worker 3 of 4\..*resumes from step 2 "):
        train.train(run)
    assert waits == [None]  # until the checkpoint that it names is complete
    assert run.checkpoints.latest_step() == 2
    found = json.loads((tmp_path / "non_finite.json").read_text())
    assert (found["step"], found["last_checkpoint"], found["config"]["train"]["num_workers"]) == (3, 2, 4)
    [culprit] = found["workers"]
    assert (culprit["worker"], culprit["loss"]) == (3, "nan")
    # The clips of these ids are of the videos in the batch.
    dataset = tfds.load("synthetic_av/tiny", data_dir=tiny_world, split="train")
    video = {row["clip_id"].numpy().decode(): int(graph.fingerprint(row["video_id"])) for row in dataset}
    assert [video[clip] for clip in culprit["clips"]] == videos[3].tolist()


def test_the_workers_loss_and_gradient_are_told_apart(built, tmp_path):
    run = fresh(built, tmp_path)
    batch = next(poisoned(run.training_batches(0), worker=1, after=0))
    _, metrics = run.train_step(run.initial_state(), batch)
    assert np.isfinite(metrics["worker_loss"]).tolist() == [True, False, True, True]
    assert np.isfinite(metrics["worker_gradient_norm"]).tolist() == [True, False, True, True]


def test_an_evaluation_ends_when_preempted(built, tmp_path):
    run = fresh(built, tmp_path, preempted_at=2)
    with pytest.raises(Preempted, match="preempted"):
        run.evaluation.sources["all_positive"].collect(run.initial_state())


@pytest.mark.parametrize(
    ("number", "message", "code"),
    [(signal.SIGTERM, r"preempted \(SIGTERM\)", 75), (signal.SIGINT, r"interrupted \(Ctrl-C\)", 130)],
)
def test_outside_of_training_a_single_process_ends_at_once(number, message, code):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    preemption, again = Preemption(), Preemption()
    try:
        preemption.listen()
        with preemption.deferred():
            assert not preemption.poll()
            os.kill(os.getpid(), number)
            assert preemption.poll()
        assert preemption.stopped("step 3 is saved").args == (f"{message.replace(chr(92), '')}: step 3 is saved",)
        again.listen()
        with pytest.raises(Preempted, match=message) as raised:
            os.kill(os.getpid(), number)
        assert raised.value.exit_code == code
        if number == signal.SIGINT:  # the second
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
