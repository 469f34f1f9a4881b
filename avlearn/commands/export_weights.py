"""Writes the weights of a trained run to one safetensors file, for use in other programs or on other machines.

    avlearn export --from=runs/avenet --to=avenet.safetensors

docs/running/weights.md describes the file. `avlearn import` restores it bit for bit.
"""

import argparse
import json
import pathlib

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from avlearn.commands.import_weights import initial_state
from avlearn.runs.checkpoint import Checkpoints
from avlearn.weights import files


def weights(workdir: pathlib.Path, which: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the parameters and running statistics of a run by path, and the metadata of the file to write.

    Args:
      workdir: directory of the run, with `config.json` and `checkpoints/`.
      which: the `best` or the `latest` checkpoint.

    Raises:
      ValueError: the directory does not hold a trained run.
    """
    for name in ("config.json", "checkpoints"):
        if not (workdir / name).exists():
            raise ValueError(
                f"--from={workdir} has no {name}; name the directory of a trained run, such as runs/avenet."
            )
    text = (workdir / "config.json").read_text()
    try:
        config = ConfigDict(json.loads(text))
    except ValueError as error:
        raise ValueError(f"--from={workdir}: config.json is damaged ({error}).") from error
    checkpoints = Checkpoints(workdir / "checkpoints", network=config.model.name, keep=config.train.keep_checkpoints)
    like = initial_state(config, abstract=True)
    step, params, batch_stats = checkpoints.restore_weights(like, SingleDeviceSharding(jax.devices()[0]), which)
    checkpoints.close()
    arrays = {}
    for tree in (params, batch_stats):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            arrays[jax.tree_util.keystr(path, simple=True, separator=".")] = np.asarray(leaf)
    metadata = {"format": "avlearn", "network": config.model.name, "step": str(step), "config": text}
    return arrays, metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `avlearn export`."""
    parser.add_argument(
        "--from", dest="workdir", metavar="RUN", type=pathlib.Path, required=True, help="directory of a trained run"
    )
    parser.add_argument("--to", metavar="FILE", type=pathlib.Path, required=True, help=".safetensors file to write")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best (by validation loss, the default) or latest"
    )


def run(arguments: argparse.Namespace) -> str:
    """Export a run; return a line for the terminal.

    Raises:
      ValueError: the directory does not hold a trained run, or the file cannot be written.
    """
    arrays, metadata = weights(arguments.workdir, arguments.checkpoint)
    files.write_safetensors(arguments.to, arrays, metadata)
    return f"Wrote {len(arrays)} arrays of {metadata['network']}, step {metadata['step']}: {arguments.to}"
