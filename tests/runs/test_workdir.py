"""The directory of a run: what is refused, and that nothing is written before."""

import contextlib
import json
import os
import pathlib
import sys

import pytest

from avlearn import experiment, main, train
from avlearn.logs import metrics_log
from avlearn.runs import lock
from avlearn.runs import workdir as workdirs
from configs import avenet, base
from tests.helpers import tiny_run
from tests.helpers.full_disk import files_no_larger_than


def test_another_run_is_left_alone(tmp_path):
    workdirs.write_config(tmp_path, base.get_config())
    (tmp_path / "checkpoints").mkdir()
    other = base.get_config()
    other.seed, other.train.num_workers, other.data.threads, other.train.steps = 1, 8, 3, 7
    message = r"another config:\n  seed: 0 there, 1 now\n  train.num_workers: 16 there, 8 now\nChoose"
    with pytest.raises(ValueError, match=message):
        workdirs.check_same_run(tmp_path, other)


def test_a_run_of_an_earlier_version_is_resumed(tmp_path):
    """Its config.json has the settings of all networks."""
    config = avenet.get_config()
    stored = json.loads(config.to_json())
    stored["model"]["conv7_scale"] = 1.0
    stored["loss"] = {"objective": "released"}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    (tmp_path / "checkpoints").mkdir()
    workdirs.check_same_run(tmp_path, config)
    config.model.fc3_scale = 5.0
    with pytest.raises(ValueError, match=r"model.fc3_scale: 0.7 there, 5.0 now"):
        workdirs.check_same_run(tmp_path, config)


@pytest.mark.parametrize("path", ["file/run", "/proc/avlearn"])
def test_a_directory_that_cannot_be_written(tmp_path, path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"the workdir .* cannot be written .* Choose another with --workdir"):
        workdirs.make(tmp_path / path)


def contents(directory: pathlib.Path) -> dict[pathlib.Path, tuple[bytes, int]]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", 1, "seed: 0 there, 1 now"),
        ("train.weight_decay_kind", "decoupled", "train.weight_decay_kind: l2 there, decoupled now"),
        ("train.schedule", "cosine", "takes staircase, warmup_cosine"),
        ("evaluation.evaluators", ("pointing",), "pointing needs heat_map"),
        ("evaluation.dataset", "vgg_ss/full", "vgg_ss/full is not built"),
        ("train.wandb_project", "p", "wandb is not installed"),
    ],
)
def test_a_refused_resume_changes_nothing(tiny_world, tmp_path, monkeypatch, key, value, message):
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = tiny_run.config_of("avenet", tiny_world, num_steps=2)
    workdirs.write_config(tmp_path, config)
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "1" / "weights").write_text("")
    before = contents(tmp_path)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message):
        main.run(config, tmp_path, "train", None)
    assert contents(tmp_path) == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]


def test_a_start_without_space_leaves_the_files(tiny_world, tmp_path):
    config = tiny_run.config_of("avenet", tiny_world, num_steps=2)
    workdirs.write_config(tmp_path, config)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    before = contents(tmp_path)
    config.train.learning_rate = 1.0
    with files_no_larger_than(1000), pytest.raises(OSError, match="File too large"):
        workdirs.write_config(tmp_path, config)
    with files_no_larger_than(5), pytest.raises(OSError, match="File too large"):
        metrics_log.MetricsLog(tmp_path, 1)
    assert contents(tmp_path) == before


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match=r"config\.json is damaged \(.*\)\. Restore it from a copy"):
        workdirs.check_same_run(tmp_path, base.get_config())


def test_a_directory_in_use_is_refused_and_left_alone(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.1)
    config = tiny_run.config_of("avenet", tiny_world, num_steps=2)
    with workdirs.taken(tmp_path):
        with pytest.raises(ValueError, match=rf"is in use by process {os.getpid()} on .*--mode=follow"):
            main.run(config, tmp_path, "train", None)
        assert [path.name for path in tmp_path.iterdir()] == [lock.FILE]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_ended_while_this_one_waited_is_left_alone(tiny_world, tmp_path, monkeypatch):
    other = tiny_run.config_of("avenet", tiny_world, num_steps=2)
    other.seed = 7

    @contextlib.contextmanager
    def held_after_another(path):
        workdirs.write_config(path, other)
        (path / "checkpoints").mkdir()
        yield

    monkeypatch.setattr(lock, "held", held_after_another)
    with pytest.raises(ValueError, match="seed: 7 there, 0 now"):
        main.run(tiny_run.config_of("avenet", tiny_world, num_steps=2), tmp_path, "train", None)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 7


@pytest.mark.parametrize("mode", ["evaluate", "train"])
def test_a_directory_that_cannot_be_written_is_found_first(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    with pytest.raises(ValueError, match=r"run cannot be written \(Permission denied\)"):
        main.run(base.get_config(), tmp_path / "run", mode, None)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_another_network_are_refused_before_the_config_is_written(tiny_world, tmp_path):
    config = tiny_run.config_of("avenet", tiny_world, num_steps=2)
    built = experiment.build(config, tmp_path)
    assert not list(tmp_path.iterdir())
    state = built.start()
    built.checkpoints.save(state, metrics=None)
    built.checkpoints.close()
    config.model.width = 1 / 8
    with pytest.raises(ValueError, match="holds the network 'avenet'"):
        train.train(experiment.build(config, tmp_path))
    assert not (tmp_path / "config.json").exists()


def test_a_refused_new_run_leaves_no_directory(tiny_world, tmp_path):
    config = tiny_run.config_of("avenet", tiny_world, num_steps=2)
    config.train.batch_per_worker = 100
    with pytest.raises(ValueError, match="fewer than one worker's batch of 100"):
        main.run(config, tmp_path / "run", "train", None)
    assert not (tmp_path / "run").exists()
