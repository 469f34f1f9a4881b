"""Checkpoints on bad storage: files that are missing, truncated or changed, and a full disk."""

import dataclasses
import json
import logging
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.damage import sealed
from avlearn.training.step import TrainState
from tests.helpers.full_disk import files_no_larger_than


def state_at(step: int) -> TrainState:
    values = np.random.default_rng(step).normal(size=(64, 80)).astype(np.float32)
    return TrainState(
        jnp.asarray(step), {"fc": {"kernel": values, "bias": values[0]}}, {"mean": values[1]}, {"m": values * 2}
    )


def opened(directory: pathlib.Path) -> Checkpoints:
    return Checkpoints(directory, network="small", keep=3)


def save_and_wait(checkpoints: Checkpoints, step: int) -> None:
    checkpoints.save(state_at(step), metrics={"validation/loss": 1 / step})
    checkpoints.wait()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Return a directory with steps 1 and 2."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = opened(directory)
    for step in (1, 2):
        save_and_wait(checkpoints, step)
    return directory


@pytest.fixture
def saved(template, tmp_path):
    return pathlib.Path(shutil.copytree(template, tmp_path / "checkpoints"))


def restored(directory: pathlib.Path) -> TrainState:
    return opened(directory).restore_state(state_at(0), SingleDeviceSharding(jax.devices()[0]))


def assert_is(state: TrainState, step: int) -> None:
    assert int(state.step) == step
    for actual, written in zip(jax.tree.leaves(state), jax.tree.leaves(state_at(step)), strict=True):
        np.testing.assert_array_equal(actual, written)


def delete(path: pathlib.Path) -> None:
    path.unlink()


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 4
    path.write_bytes(content)


def files_of(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.relative_to(directory) for path in (directory / "2").rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", [delete, truncate, flip_a_bit])
def test_after_any_damage_the_restored_state_is_one_that_was_saved(damage, template, tmp_path, caplog):
    used = {}
    for number, file in enumerate(files_of(template)):
        directory = pathlib.Path(shutil.copytree(template, tmp_path / str(number) / "checkpoints"))
        damage(directory / file)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="avlearn"):
            state = restored(directory)
        used[str(file)] = int(state.step)
        assert_is(state, used[str(file)])
        said = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
        assert len(said) == (used[str(file)] == 1), said
    # Files that hold arrays, or their locations, are required.
    needed = [step for file, step in used.items() if "/d/" in file.replace("process_0/d/", "") or "/manifest" in file]
    assert 1 in needed
    assert {step for file, step in used.items() if "/weights/d/" in file or "/optimizer/d/" in file} == {1}


def test_a_changed_name_is_damage_and_not_another_network(saved, caplog):
    path = saved / "2" / "network" / "metadata"
    path.write_text(path.read_text().replace("small", "smalm"))
    assert_is(restored(saved), 1)
    assert "the checksum of its description is wrong" in caplog.text


def test_a_changed_validation_loss_is_noticed(saved, caplog):
    path = saved / "2" / "metrics" / "metrics"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert_is(restored(saved), 1)
    assert "its validation loss is not the one that was saved" in caplog.text


def test_training_resumes_from_a_checkpoint_without_its_validation_loss(saved):
    truncate(saved / "2" / "metrics" / "metrics")
    assert_is(restored(saved), 2)
    assert not opened(saved).is_validated(2)


def test_the_damaged_one_is_moved_aside_and_written_again(saved, caplog):
    delete(next((saved / "2" / "weights" / "d").iterdir()))
    checkpoints = opened(saved)
    with caplog.at_level(logging.WARNING, logger="avlearn"):
        assert_is(checkpoints.restore_state(state_at(0), SingleDeviceSharding(jax.devices()[0])), 1)
    [said] = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert said.startswith(f"The checkpoint {saved / '2'} is damaged (")
    assert said.endswith("step 1 is used instead.")
    assert not (saved / "2").exists()
    assert (saved.parent / "damaged_checkpoints" / "2.0" / "weights").is_dir()
    assert checkpoints.latest_step() == 1
    save_and_wait(checkpoints, 2)
    assert_is(restored(saved), 2)


def test_evaluation_moves_nothing(saved, caplog):
    truncate(next((saved / "2" / "weights" / "d").iterdir()))
    for which in ("best", "latest"):  # step 2 is both
        with caplog.at_level(logging.WARNING, logger="avlearn"):
            step, params, _ = opened(saved).restore_weights(state_at(0), SingleDeviceSharding(jax.devices()[0]), which)
        assert step == 1
        np.testing.assert_array_equal(params["fc"]["bias"], state_at(1).params["fc"]["bias"])
        assert (saved / "2").exists()
    assert sum("is damaged" in record.getMessage() for record in caplog.records) == 2


def reading(directory: pathlib.Path) -> Checkpoints:
    return Checkpoints(directory, network="small", keep=3, read_only=True)


def names_and_times(directory: pathlib.Path) -> dict[pathlib.Path, int]:
    return {path: path.stat().st_mtime_ns for path in (directory, *directory.rglob("*"))}


@pytest.mark.parametrize("damage", [truncate, delete])
def test_reading_anothers_run_changes_nothing(saved, damage, caplog):
    damage(saved / "2" / "metrics" / "metrics")
    (saved / "3.orbax-checkpoint-tmp").mkdir()  # that run is saving it
    before = names_and_times(saved)
    for which, expected in (("best", 1), ("latest", 2)):
        checkpoints = reading(saved)
        checkpoints.check_present(which)
        step, _, _ = checkpoints.restore_weights(state_at(0), SingleDeviceSharding(jax.devices()[0]), which)
        checkpoints.close()
        assert step == expected
    assert reading(saved).steps() == [1, 2]
    assert names_and_times(saved) == before
    assert ("cannot be read" in caplog.text) == (damage is truncate)


def test_a_directory_that_is_absent_stays_so(tmp_path):
    checkpoints = reading(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no checkpoint in .*none\. Train first"):
        checkpoints.check_present("best")
    assert checkpoints.steps() == []
    assert not (tmp_path / "none").exists()


def test_a_loss_that_is_nan_is_never_the_best_without_a_warning(saved, caplog):
    network, metrics = (saved / "1" / name / file for name, file in (("network", "metadata"), ("metrics", "metrics")))
    description = json.loads(network.read_text()) | {"metrics": {"validation/loss": float("nan")}}
    del description["checksum"]
    network.write_text(json.dumps(sealed(description)))
    metrics.write_text(json.dumps(description["metrics"]))
    sharding = SingleDeviceSharding(jax.devices()[0])
    assert reading(saved).restore_weights(state_at(0), sharding, "best")[0] == 2
    assert f"The validation loss of steps [1] in {saved} is NaN; they come last." in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the device is lost"),
        TypeError("a fault of the program"),
        OSError(116, "Stale file handle"),
        ValueError("PERMISSION_DENIED: Error opening"),
        Exception("Encountered error while reading array"),
    ],
)
def test_errors_that_are_not_of_the_files_are_told_as_they_are(error, saved, monkeypatch):
    if type(error) is Exception:
        error.__cause__ = ValueError("RESOURCE_EXHAUSTED: out of memory")
    checkpoints, restore = opened(saved), opened(saved)._manager.restore

    def fails(step, args):
        if "weights" in args.keys():  # noqa: SIM118
            raise error
        return restore(step, args=args)

    monkeypatch.setattr(checkpoints._manager, "restore", fails)
    with pytest.raises(type(error)) as raised:
        checkpoints.restore_state(state_at(0), SingleDeviceSharding(jax.devices()[0]))
    assert raised.value is error
    assert (saved / "2").exists()


def test_another_optimizer_is_no_damage(saved):
    other = dataclasses.replace(state_at(0), opt_state={"m": state_at(0).opt_state["m"], "v": np.zeros(3)})
    message = r"2 holds the state of another optimizer; 1 arrays are only in one of them, the first opt_state\.v\."
    with pytest.raises(ValueError, match=message):
        opened(saved).restore_state(other, SingleDeviceSharding(jax.devices()[0]))


def test_all_damaged_is_an_error_that_says_why(saved):
    for step in (1, 2):
        delete(saved / str(step) / "network" / "metadata")
    with pytest.raises(ValueError, match=r"all checkpoints in .* are damaged:\n  step 2: .*not found.*\n  step 1: "):
        restored(saved)
    assert (saved / "2").exists()


def test_a_full_disk_is_an_error_and_the_last_checkpoint_is_intact(saved):
    checkpoints = opened(saved)
    with (
        files_no_larger_than(4096),
        pytest.raises(ValueError, match=r"no space is left .* is of step 2\. Free some space"),
    ):
        save_and_wait(checkpoints, 3)
    assert_is(restored(saved), 2)
    again = opened(saved)  # with room; opening it removed the incomplete checkpoint
    save_and_wait(again, 3)
    assert_is(restored(saved), 3)
