"""Sends scalars and images to Weights & Biases, if the config names a project."""

import pathlib
import uuid
from collections.abc import Mapping
from types import ModuleType

import jax
import numpy as np

INSTALL = 'pip install -e ".[wandb]"'


def module() -> ModuleType:
    """Import the library, which is an optional dependency.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ValueError(
            f"train.wandb_project is set, but wandb is not installed. Install it ({INSTALL}), or leave "
            "--config.train.wandb_project empty: TensorBoard and metrics.jsonl are written without it."
        ) from error
    return wandb


def start(workdir: pathlib.Path, project: str, config: Mapping) -> "WandbLog | None":
    """Start or resume the run in a project; return None without a project, and in all processes but the first.

    Raises:
      ValueError: a project is named, but wandb is not installed.
    """
    return WandbLog(workdir, project, config) if project and jax.process_index() == 0 else None


class WandbLog:
    """A run in a project of Weights & Biases; the same directory resumes the same run.

    Args:
      workdir: directory of the run; its name becomes the run's name, and it stores the run's id.
      project: project of the run.
      config: config of the run.
    """

    def __init__(self, workdir: pathlib.Path, project: str, config: Mapping):
        self._wandb = module()
        kept = workdir / "wandb_run_id.txt"
        if not kept.exists():
            kept.write_text(uuid.uuid4().hex[:12] + "\n")
        options = {"id": kept.read_text().strip(), "resume": "allow", "dir": str(workdir), "config": dict(config)}
        self._run = self._wandb.init(project=project, name=workdir.name, **options)
        # Use our own step metric, since the library refuses steps that a restart repeats.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add scalars of a step."""
        self._run.log({"step": step, **scalars})

    def show(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Add images `[height, width, 3]` uint8 of a step."""
        self._run.log({"step": step, **{name: self._wandb.Image(image) for name, image in images.items()}})

    def close(self) -> None:
        """Send the rest and end the run."""
        self._run.finish()
