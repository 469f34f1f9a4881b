"""A run's numbers and pictures in Weights & Biases, where the config names a project."""

import pathlib
import uuid
from collections.abc import Mapping
from types import ModuleType

import jax
import numpy as np

INSTALL = 'pip install -e ".[wandb]"'


def module() -> ModuleType:
    """The library, which is loaded only where it is asked for.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ValueError(
            f"train.wandb_project is set, and wandb is not installed. Install it ({INSTALL}), or leave "
            "--config.train.wandb_project empty: TensorBoard and metrics.jsonl are written without it."
        ) from error
    return wandb


def start(workdir: pathlib.Path, project: str, config: Mapping) -> "WandbLog | None":
    """The run in a project; None where no project is named, and on all processes but the first.

    Raises:
      ValueError: a project is named, and wandb is not installed.
    """
    return WandbLog(workdir, project, config) if project and jax.process_index() == 0 else None


class WandbLog:
    """One run of a project; the same directory goes on with the same run.

    Args:
      workdir: the run's directory; its name is the run's, and it keeps the run's id.
      project: where the run appears.
      config: every key of the run's config.
    """

    def __init__(self, workdir: pathlib.Path, project: str, config: Mapping):
        self._wandb = module()
        kept = workdir / "wandb_run_id.txt"
        if not kept.exists():
            kept.write_text(uuid.uuid4().hex[:12] + "\n")
        options = {"id": kept.read_text().strip(), "resume": "allow", "dir": str(workdir), "config": dict(config)}
        self._run = self._wandb.init(project=project, name=workdir.name, **options)
        # Steps that a restart repeats would be refused as the library's own: there they only rise.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds numbers of a step."""
        self._run.log({"step": step, **scalars})

    def show(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Adds pictures `[height, width, 3]` uint8 of a step."""
        self._run.log({"step": step, **{name: self._wandb.Image(picture) for name, picture in pictures.items()}})

    def close(self) -> None:
        """Sends the rest."""
        self._run.finish()
