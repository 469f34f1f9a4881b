"""The log of a run: rows, a restart, and the line on the terminal."""

import json
import sys
import types

import numpy as np
import pytest

from avlearn.logs import metrics_log, wandb_log
from tests.helpers import tensorboard_events
from tests.helpers.full_disk import files_no_larger_than


def test_a_restart_removes_later_rows(tmp_path):
    log = metrics_log.MetricsLog(tmp_path, first_step=0)
    for step in (10, 20, 30):
        log.write(step, {"train/loss": step / 100})
    log.close()
    log = metrics_log.MetricsLog(tmp_path, first_step=20)
    log.write(30, {"train/loss": 0.5})
    log.close()
    rows = metrics_log.read_rows(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["train/loss"]) for row in rows] == [(10, 0.1), (20, 0.2), (30, 0.5)]


def test_images_are_in_tensorboard(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[1, 2] = (255, 128, 0)
    log = metrics_log.MetricsLog(tmp_path, first_step=0)
    log.show(20, lambda: {"retrieval/image_to_sound": picture})
    log.close()
    (((step, name), shown),) = tensorboard_events.images(tmp_path / "tensorboard").items()
    assert (step, name) == (20, "retrieval/image_to_sound")
    np.testing.assert_array_equal(shown, picture)


def test_a_full_disk_is_an_error_at_once(tmp_path):
    log = metrics_log.MetricsLog(tmp_path, first_step=0)
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    with files_no_larger_than(4096), pytest.raises(OSError, match="File too large"):
        log.show(20, lambda: {"retrieval/image_to_sound": noise})


class FakeRun:
    """Records the calls of a run of wandb."""

    def __init__(self):
        self.logged, self.metrics, self.finished = [], [], False

    def define_metric(self, name, **options):
        self.metrics.append((name, options))

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """Return a fake wandb module: `started` has the arguments of the runs, `runs` the runs."""
    fake = types.ModuleType("wandb")
    fake.started, fake.runs, fake.Image = [], [], lambda picture: ("image", picture.shape)

    def init(**options):
        fake.started.append(options)
        fake.runs.append(FakeRun())
        return fake.runs[-1]

    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_weights_and_biases_gets_the_same_and_resumes_the_same_run(wandb, tmp_path):
    for step in (10, 20):
        run = wandb_log.start(tmp_path, "sounds", {"seed": 3})
        log = metrics_log.MetricsLog(tmp_path, step - 10, run)
        log.write(step, {"train/loss": 0.5})
        log.show(step, lambda: {"heat_map/a": np.zeros((4, 6, 3), np.uint8)})
        log.close()
    first, second = wandb.started
    assert first == second  # including the id, which the directory stores
    assert (first["project"], first["name"], first["resume"]) == ("sounds", tmp_path.name, "allow")
    assert first["config"] == {"seed": 3}
    for run, step in zip(wandb.runs, (10, 20), strict=True):
        assert run.logged == [
            {"step": step, "train/loss": 0.5},
            {"step": step, "heat_map/a": ("image", (4, 6, 3))},
        ]
        assert run.metrics == [("step", {}), ("*", {"step_metric": "step"})]
        assert run.finished


def test_weights_and_biases_is_used_only_if_a_project_is_named(wandb, tmp_path, monkeypatch):
    assert wandb_log.start(tmp_path, "", {}) is None
    monkeypatch.setattr(wandb_log.jax, "process_index", lambda: 1)
    assert wandb_log.start(tmp_path, "sounds", {}) is None
    assert wandb.started == []


def test_a_missing_wandb_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # what makes an import fail
    with pytest.raises(
        ValueError, match=r"wandb is not installed.*pip install -e .*leave --config\.train\.wandb_project"
    ):
        wandb_log.start(tmp_path, "sounds", {})


def test_a_truncated_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + '\n{"step": 2, "train/lo')
    assert metrics_log.read_rows(path) == [{"step": 1}]


def test_clock(monkeypatch):
    now = iter([0.0, 4.0, 4.0])
    monkeypatch.setattr(metrics_log.time, "perf_counter", lambda: next(now))
    clock = metrics_log.Clock(pairs_per_step=32, steps_left=10)
    clock.step(0.5)
    clock.step(1.5)
    assert clock.lap() == pytest.approx(
        {"train/pairs_per_second": 2 * 32 / 4, "train/waiting_share": 2 / 4, "train/seconds_left": 8 * 2}
    )


@pytest.mark.parametrize(("seconds", "left"), [(83.2, "0:01:23"), (3 * 86400 + 4 * 3600 + 65, "3 days, 4:01:05")])
def test_progress_line(seconds, left):
    scalars = {
        "train/loss": 0.6931,
        "train/accuracy": 0.5,
        "train/predicted_positive": 0.25,
        "train/pairs_per_second": 412.3,
        "train/waiting_share": 0.021,
        "train/seconds_left": seconds,
    }
    assert metrics_log.progress_line(50, 2500, scalars) == (
        f"step   50/2500  loss 0.693  accuracy 0.500  positives 0.25  412 pairs/s  waiting 2%  left {left}"
    )
