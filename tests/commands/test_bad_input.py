"""What a user can get wrong on the command line: each ends with one message that says what is allowed.

Bad records, clips, arrays and checkpoints are tested beside the modules that read them.
"""

import io
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest
from absl import app
from absl.testing import flagsaver

from avlearn import cli, experiment, main
from avlearn.commands import report, write_contents
from avlearn.data import images
from configs import avenet, lvs
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("avenet.py", "--config.train.stepz=5"), r'Did you mean "steps" instead of "stepz"\?'),
        (("avenet.py", "--config.train.steps=many"), "steps"),
        (("avenet.py:minature",), "the variant is 'minature'; "),
        (("avnet.py",), "configs/avnet.py"),
    ],
)
def test_flags_that_cannot_be(given, message, monkeypatch):
    file, *others = given
    arguments = ["main", f"--config={ROOT}/configs/{file}", *others]
    monkeypatch.setattr(sys, "argv", arguments)  # ml_collections looks there for the keys of the config
    with flagsaver.flagsaver(), pytest.raises(SystemExit, match="error: in the flags: ") as ended:
        main.parse_flags(arguments)
    assert re.search(message, str(ended.value))
    assert "Traceback" not in str(ended.value)


def test_dataset_not_built_names_the_command_and_the_miniature(tmp_path):
    """The command itself."""
    arguments = [sys.executable, "-m", "avlearn.main", "--config=configs/avenet.py"]
    arguments += [f"--config.data.data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}"]
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"tfds build data_builders/audioset --config=instruments --data_dir={tmp_path}" in done.stderr
    assert ":miniature" in done.stderr


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend 'rocm'")])
def test_a_command_without_the_platform_ends_with_one_line(error, monkeypatch):
    def fails(*_):
        raise error

    monkeypatch.setattr(report, "run", fails)
    with pytest.raises(type(error)):  # JAX has the platform: another fault
        cli.main(["report", "run"])
    monkeypatch.setattr(jax, "default_backend", fails)
    with pytest.raises(SystemExit, match=r"^error: JAX_PLATFORMS=cpu: .*or run on the CPU: JAX_PLATFORMS=cpu\.$"):
        cli.main(["report", "run"])


def test_ctrl_c_ends_a_command_without_a_traceback(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "run", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", "run"])
    assert ended.value.code == 130


def test_workdir_is_a_directory():
    with pytest.raises(ValueError, match=r"bucket/run is not a directory; mount the bucket"):
        main.run(avenet.get_config("miniature"), pathlib.Path("gs://bucket/run"), "train", None)


def test_topology_is_of_a_dry_run(tmp_path):
    with pytest.raises(ValueError, match=r"--topology=32 goes with --mode=dry_run, not with train"):
        main.run(avenet.get_config("miniature"), tmp_path, "train", None, topology="32")


def test_checkpoints_that_are_absent_are_refused_and_not_made(tmp_path):
    absent = tmp_path / "checkpints"
    with pytest.raises(ValueError, match="checkpints is not a directory; name a run's checkpoints"):
        main.run(avenet.get_config("miniature"), tmp_path / "run", "evaluate", str(absent))
    assert not absent.exists()
    assert not (tmp_path / "run").exists()


def test_a_training_does_not_leave_out_its_checkpoint_unsaid(tmp_path):
    checkpoints = tmp_path / "my checkpoints"
    checkpoints.mkdir()
    with pytest.raises(
        ValueError, match=rf"To start from its weights: --config.train.initialise_from='{checkpoints}'$"
    ):
        main.run(avenet.get_config("miniature"), tmp_path / "run", "train", str(checkpoints))
    assert not (tmp_path / "run").exists()
    for mode in ("dry_run", "inspect"):
        with pytest.raises(ValueError, match=f"goes with --mode=evaluate or follow, not with {mode}.$"):
            main.run(avenet.get_config("miniature"), tmp_path / "run", mode, str(tmp_path))


def test_an_empty_workdir_is_not_the_current_directory(monkeypatch):
    """As --workdir=$RUN is where RUN is not set."""
    arguments = ["main", f"--config={ROOT}/configs/avenet.py:miniature", "--workdir="]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(main, "run", lambda *_, **__: pytest.fail("it ran"))
    with flagsaver.flagsaver(), pytest.raises(app.UsageError, match="--workdir is empty"):
        main.main(main.parse_flags(arguments))


def test_commands_in_messages_are_quoted_for_the_shell(tmp_path):
    run = tmp_path / "my run"
    with pytest.raises(ValueError, match=rf"--mode=evaluate --config=\.\.\. --workdir='{run}'$"):
        report.load(run)
    with pytest.raises(ValueError, match=rf"tfds build imagenet2012 --data_dir='{run}' \("):
        images.open_images("imagenet2012", run, "train")


def test_the_output_may_have_an_encoding_without_the_names(monkeypatch):
    """Python would end the program at the first such character, after the work."""
    output = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(write_contents, "run", lambda arguments: "Noël, \u30c7")
    cli.main(["contents", "a"])
    output.flush()
    assert output.buffer.getvalue() == b"No\xebl, \\u30c7\n"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    with pytest.raises(app.UsageError):
        main.main(["main", "more"])
    assert sys.stdout.errors == "backslashreplace"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.name", "avnet", "model.name is 'avnet'; --config.model.name takes attention10k, avenet, avenet_flow, "),
        ("train.schedule", "cosine", "schedule is 'cosine'; --config.train.schedule takes staircase, warmup_cosine"),
        ("train.rematerialise", "all", "is 'all'; --config.train.rematerialise takes nothing, all_but_convolutions"),
        ("train.weight_decay_kind", "L2", "is 'L2'; --config.train.weight_decay_kind takes l2, decoupled"),
        ("data.pairing", "pairs", "pairing is 'pairs'; --config.data.pairing takes avc, "),
        ("data.pairing", "contrast", "avenet cannot be trained with pairing 'contrast'; use .*avc or all_pairs"),
        ("train.warmup_steps", 3000, "a warm-up of 3000 steps does not end within 2200"),
        ("train.num_workers", 0, "train.num_workers is 0; --config.train.num_workers must be at least 1"),
        ("evaluation.checkpoint", "newest", "is 'newest'; --config.evaluation.checkpoint takes best, latest"),
        ("train.frozen", ("trunk",), "no parameter 'trunk'; use paths such as audio, fc3, vision"),
        ("inputs.classes", 16, "avenet cannot be trained with pairing 'all_pairs'; use .*=labelled"),
        ("data.pairing", "labelled", "avenet cannot be trained with pairing 'labelled'; use .*avc or all_pairs"),
        ("evaluation.avc_accuracy.threshold", "best", "threshold is 'best'; .*threshold takes zero, validation"),
        ("evaluation.dataset", "vgg_ss/heard", "The dataset vgg_ss/heard is not built in"),
        ("data.negatives", "any", "negatives.*any.*on_grid.*off_grid"),
        ("data.spectrogram_scaling", "log", "log.*ln_12"),
        ("evaluation.evaluators", ("ndgc",), "is 'ndgc'; --config.evaluation.evaluators takes avc_accuracy, cca, "),
        ("evaluation.evaluators", ("pointing",), "pointing needs heat_map, which avenet does not provide"),
        (
            "evaluation.ndcg.gain",
            "square",
            "ndcg.gain is 'square'; --config.evaluation.ndcg.gain takes exponential, linear",
        ),
        ("evaluation.ndcg.own_item_across", "left", "own_item_across is 'left'; .* takes kept, excluded"),
        ("evaluation.films", -1, "evaluation.films is -1; --config.evaluation.films must be 0 or more"),
        ("data.shift_seconds", (0.0, 3.0), r"shift_seconds=\(0.0, 3.0\) is out of range"),
        ("evaluation.avc_accuracy.pair_draws", 0, "avc_accuracy: pair_draws = 0; .*pair_draws must be at least 1"),
        ("evaluation.fit_clips", 0, "evaluation.fit_clips is 0; --config.evaluation.fit_clips must be at least 1"),
        ("evaluation.split", "testing", r"no split 'testing'; it has train \(64 clips\), validation \("),
        ("train.num_workers", 12, "8 devices cannot share 12 workers evenly"),
        ("train.batch_per_worker", 100, "64 clips, fewer than one worker's batch of 100"),
        ("inputs.front_end", "lvs", "front end 'l3', but the network takes 'lvs'"),
    ],
)
def test_config_value_that_cannot_be(tiny_world, tmp_path, key, value, message):
    check_refused(avenet.get_config("miniature"), tiny_world, tmp_path, key, value, message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("loss.objective", "printed", "objective is 'printed'; --config.loss.objective takes paper, released"),
        ("loss.regions", "all", "regions is 'all'; --config.loss.regions takes positives_only, complement, tri_map"),
        ("loss.temperature", 0.0, "loss.temperature is 0.0; use a number above 0"),
    ],
)
def test_loss_that_cannot_be(tiny_world, tmp_path, key, value, message):
    check_refused(lvs.get_config("miniature"), tiny_world, tmp_path, key, value, message)


def check_refused(config, tiny_world, workdir, key, value, message):
    config.data.dataset, config.data.data_dir = "synthetic_av/tiny", str(tiny_world)
    config.train.num_workers = 8
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message):
        experiment.build(config, workdir)
    assert not list(workdir.iterdir())
