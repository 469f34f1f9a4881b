"""Compares the structure of a checkpoint, its network's and its optimizer's, with that of the config."""

from collections.abc import Mapping

import jax
from etils import epath
from jaxtyping import PyTree


def parameter_shapes(params: PyTree) -> dict[str, list[int]]:
    """Return the shape of each parameter by its path, such as `vision.conv1_1.kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): list(leaf.shape) for path, leaf in leaves}


def check_network(path: epath.Path, stored: Mapping, network: str, params: PyTree) -> None:
    """Check that a checkpoint holds a network.

    Args:
      path: directory of the checkpoint.
      stored: name and parameter shapes of the network that it holds.
      network: name of the network that the config builds.
      params: its parameters.

    Raises:
      ValueError: it holds another one; the message lists the first differing parameters.
    """
    expected = parameter_shapes(params)
    if stored["name"] == network and stored["parameters"] == expected:
        return
    names = sorted(stored["parameters"].keys() | expected.keys())
    differing = [
        f"{name}: {stored['parameters'].get(name, 'absent')} in the checkpoint, {expected.get(name, 'absent')} here"
        for name in names
        if stored["parameters"].get(name) != expected.get(name)
    ]
    raise ValueError(
        f"the checkpoint {path} holds the network {stored['name']!r}, but the config builds {network!r}; "
        f"{len(differing)} of {len(names)} parameters differ"
        + "".join(f"\n  {line}" for line in differing[:5])
        + "\nUse the config that it was trained with (config.json next to its checkpoints), or another --workdir."
    )


def check_optimizer(path: epath.Path, stored: Mapping | None, optimizer: PyTree) -> None:
    """Check that a checkpoint holds the state of an optimizer.

    Args:
      path: directory of the checkpoint.
      stored: the names of the arrays that it holds, as keys; None for a checkpoint of an early version.
      optimizer: state of the config's optimizer, and the step.

    Raises:
      ValueError: it holds the state of another one.
    """
    expected = parameter_shapes(optimizer)
    if stored is None or stored.keys() == expected.keys():
        return
    names = sorted(stored.keys() ^ expected.keys())
    raise ValueError(
        f"the checkpoint {path} holds the state of another optimizer; {len(names)} arrays are only in one of them, the "
        f"first {names[0]}. Use the settings that it was trained with (train in the config.json next to its "
        "checkpoints), or another --workdir."
    )
