"""Trains and evaluates any file of configs/ in seconds, on small datasets."""

import contextlib
import importlib
import inspect
import pathlib
from unittest import mock

import jax
import optax
from ml_collections import ConfigDict

from avlearn import main
from avlearn.build import build_network
from avlearn.runs.checkpoint import Checkpoints
from avlearn.training import step as steps
from tests.helpers import small_datasets


def tiny(name: str, data_dir: pathlib.Path) -> ConfigDict:
    """Return the miniature config of a file, made smaller still: a few steps on a small dataset."""
    get_config = importlib.import_module(f"configs.{name}").get_config
    # Configs that evaluate any network take its name in place of a variant.
    any_network = "network" in inspect.signature(get_config).parameters
    config = get_config("l3net-miniature" if any_network else "miniature")
    config.model.width = 1 / 16
    config.inputs.frame_pixels = 48
    config.data.data_dir = str(data_dir)
    config.train.update({"batch_per_worker": 8, "num_workers": 8, "steps": 2, "warmup_steps": 1})
    config.train.update({"checkpoint_every_steps": 2, "log_every_steps": 1})
    assert config.data.dataset.startswith("synthetic_av/"), (
        f"configs/{name}.py:miniature trains on {config.data.dataset}; use a config of synthetic_av"
    )
    config.data.dataset = "synthetic_av/tiny"
    if is_moving(config):
        _make_moving(config)
    _shrink_evaluation(config)
    return config


def is_moving(config: ConfigDict) -> bool:
    """Return whether the network takes more than one frame and a log-spectrogram."""
    return config.inputs.frames > 1 or config.inputs.flow_fields > 0 or config.inputs.waveform_samples > 0


def _make_moving(config: ConfigDict) -> None:
    config.data.dataset = "synthetic_av/moving"
    config.data.shift_seconds = (1.0, 1.2)
    config.inputs.frame_pixels = 32
    if config.inputs.frames > 1:
        config.inputs.frames = 5  # one second
    if config.inputs.waveform_samples:
        config.inputs.waveform_samples = 8000  # one second
    config.train.update({"batch_per_worker": 4, "num_workers": 1, "steps": 1, "checkpoint_every_steps": 1})
    config.train.schedule = "staircase"


def _shrink_evaluation(config: ConfigDict) -> None:
    evaluation = config.evaluation
    evaluation.batch = 8
    evaluation.fit_clips = 40
    evaluation.nmi.clusters = 4
    evaluation.sound_classification.windows = 3
    evaluation.linear_probe.dataset, evaluation.linear_probe.split = "pictures", "test"


def datasets_of(config: ConfigDict) -> set[str]:
    """Return the names of the datasets that a config reads."""
    names = {config.data.dataset}
    if "sound_classification" in config.evaluation.evaluators:
        names.add(config.evaluation.sound_classification.dataset)
    if "linear_probe" in config.evaluation.evaluators:
        names.add(config.evaluation.linear_probe.dataset)
    return names


class TrainedConfigs:
    """Runs of the files of configs/, each trained when it is first asked for: `runs("avenet")` is its workdir.

    Args:
      directory: directory of the runs.
      data_dir: directory of the datasets, with synthetic_av/tiny.
    """

    def __init__(self, directory: pathlib.Path, data_dir: pathlib.Path):
        self.directory = directory
        self._data_dir = data_dir

    def __call__(self, name: str) -> pathlib.Path:
        """Return the workdir of a file, trained and evaluated by `main.run`."""
        workdir = self.directory / name
        if not workdir.exists():
            config = self.config(name)
            # The single worker of these runs compiles faster for one device than for eight.
            one_device = mock.patch.object(jax, "devices", return_value=jax.devices()[:1])
            with one_device if is_moving(config) else contextlib.nullcontext():
                self._run(config, workdir)
        return workdir

    def config(self, name: str) -> ConfigDict:
        """Return `tiny`, with its datasets built and the runs trained that it starts from or takes audio from."""
        config = tiny(name, self._data_dir)
        for dataset in datasets_of(config) - {"synthetic_av/tiny"}:
            assert dataset in small_datasets.BUILDERS, (
                f"configs/{name}.py reads {dataset}: add a small one to tests/helpers/small_datasets.py"
            )
            if not (self._data_dir / dataset).exists():
                small_datasets.BUILDERS[dataset](self._data_dir)
        if config.train.initialise_from:
            other = pathlib.Path(config.train.initialise_from).parent
            config.train.initialise_from = str(self(other.name.partition("-")[0]) / "checkpoints")
        if config.evaluation.sounds_from:
            config.evaluation.sounds_from = str(
                self(pathlib.Path(config.evaluation.sounds_from).name.partition("-")[0])
            )
        return config

    def _run(self, config: ConfigDict, workdir: pathlib.Path) -> None:
        network = build_network(config)
        if network.loss is not None:
            main.run(config, workdir, "train", None)
            return
        checkpoints = Checkpoints(workdir / "checkpoints", network=network.name, keep=1)
        checkpoints.save(steps.initial_state(network.training, optax.identity()), metrics={"validation/loss": 0.0})
        checkpoints.close()
        main.run(config, workdir, "evaluate", None)
