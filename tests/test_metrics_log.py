"""The run's log: rows, a restart, and the line on the terminal."""

import json

import pytest

from avlearn import metrics_log


def test_a_restart_forgets_later_rows(tmp_path):
    log = metrics_log.MetricsLog(tmp_path, first_step=0)
    for step in (10, 20, 30):
        log.write(step, {"train/loss": step / 100})
    log.close()
    log = metrics_log.MetricsLog(tmp_path, first_step=20)
    log.write(30, {"train/loss": 0.5})
    log.close()
    rows = metrics_log.read_rows(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["train/loss"]) for row in rows] == [(10, 0.1), (20, 0.2), (30, 0.5)]


def test_a_line_cut_short_is_left_out(tmp_path):
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


def test_progress_line():
    scalars = {
        "train/loss": 0.6931,
        "train/accuracy": 0.5,
        "train/predicted_positive": 0.25,
        "train/pairs_per_second": 412.3,
        "train/waiting_share": 0.021,
        "train/seconds_left": 83.2,
    }
    assert metrics_log.progress_line(50, 2500, scalars) == (
        "step   50/2500  loss 0.693  accuracy 0.500  positives 0.25  412 pairs/s  waiting 2%  left 1:23"
    )
