"""Computes what the networks cost at full size: parameters, operations and memory of one pair.

    avlearn costs docs/reference/costs.md

Writes a table of all files in configs/. Counts come from traces: nothing is compiled.
"""

import argparse
import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend import core
from jaxtyping import PyTree
from ml_collections import ConfigDict

from avlearn import config as configs
from avlearn.build import Network, build_model, build_score, empty_batch, network_of
from avlearn.training import step as steps
from avlearn.types import Batch

MIB = 2.0**20
BATCHES = (2, 4)  # pairs; subtracting the two cancels costs that do not depend on the batch size
PAGE = """# What the networks cost

Costs of one pair of frame and audio at the papers' size, in the config's type (float32). Written by

```sh
avlearn costs docs/reference/costs.md
```

* *Forward*: operations in the convolutions and matrix products of one forward pass. A multiply-add counts as two
  operations; padded zeros count, as they do in counts by hand. (XLA does not count them, and reports about 5 % less.) A
  training step takes about three times as many. A count by hand, from the sizes printed in Objects that Sound, gives
  AVE-Net 5,139,447,810 multiply-adds, or 10.28 GFLOP: 2,564,997,120 in the convolutions of its vision tower,
  2,574,286,848 in those of its audio tower, the rest in fc1, fc2 and fc3.
* *Kept*: activations that the forward pass keeps for the backward pass, for each pair in the batch, before any compiler
  optimises the program. `--mode=dry_run` compiles the training step for the local devices and prints the memory that
  it really takes. The column is empty for networks that are not trained here.

"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a network.

    Attributes:
      parameters: number of trained parameters.
      forward_gflop: 10^9 operations of a forward pass of one pair.
      kept_mib: MiB of activations kept for each pair in a training step; None if the network is not trained here.
    """

    parameters: int
    forward_gflop: float
    kept_mib: float | None

    def cells(self) -> tuple[str, str, str]:
        """Format the cells of the table's columns."""
        kept = "" if self.kept_mib is None else f"{self.kept_mib:.0f}"
        return f"{self.parameters:,}", f"{self.forward_gflop:.2f}", kept


def cost(config: ConfigDict, network: Network) -> Cost:
    """Compute the cost of a network from traces; nothing is executed or compiled."""
    graph, state = nnx.split(network.evaluation)
    batch = empty_batch(network.inputs, (1,))
    program = jax.make_jaxpr(lambda state, batch: nnx.merge(graph, state)(batch))(state, batch)
    kept = None
    if network.loss is not None:
        fewer, more = (_bytes_kept(config, network, pairs) for pairs in BATCHES)
        kept = (more - fewer) / (BATCHES[1] - BATCHES[0]) / MIB
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network.evaluation, nnx.Param)))
    return Cost(parameters, 2 * multiply_adds(program.jaxpr) / 1e9, kept)


def multiply_adds(program: core.Jaxpr) -> int:
    """Count the multiply-adds in convolutions and matrix products of a program and of the programs that it calls.

    A conditional counts as its most expensive branch: convolutions have one branch per platform
    (avlearn/models/layers/winograd.py).
    """
    total = 0
    for equation in program.eqns:
        name, output = equation.primitive.name, equation.outvars[0] if equation.outvars else None
        if name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = equation.params["dimension_numbers"].rhs_spec[0]  # the kernel's axis of output channels
            total += math.prod(output.aval.shape) * math.prod(kernel) // kernel[outputs]
        elif name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += math.prod(output.aval.shape) * math.prod(shape[axis] for axis in contracted)
        total += sum(multiply_adds(called) for called in _called_by(equation))
        total += max((multiply_adds(branch.jaxpr) for branch in equation.params.get("branches", ())), default=0)
    return total


def _called_by(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Yield the programs that an equation calls."""
    for value in equation.params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _bytes_kept(config: ConfigDict, network: Network, pairs: int) -> int:
    objective, params, batch = _objective(config, network, pairs)
    # The backward function is a tree; its leaves are the arrays kept from the forward pass.
    backward = jax.eval_shape(lambda params, batch: jax.vjp(lambda p: objective(p, batch), params)[1], params, batch)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def _objective(config: ConfigDict, network: Network, pairs: int) -> tuple:
    """Return the loss as a function of parameters and batch, and the shapes of both."""
    score = build_score(config, network)
    _, params, stats = nnx.split(network.training, nnx.Param, nnx.BatchStat)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def objective(params: PyTree, batch: Batch):
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), stats)
        trained = steps.without_gradients(params, config.train.frozen)
        return score(steps.with_values(network.training, trained, zeros), batch)[0]

    return objective, params, empty_batch(network.inputs, (pairs,))


def full_size() -> Iterator[tuple[str, ConfigDict, Network]]:
    """Yield each distinct full-size network: the names of its config files, a config, and the network (shapes only)."""
    files: dict[str, list[str]] = {}
    found: dict[str, ConfigDict] = {}
    for name in configs.names():
        config = configs.load(name)
        same = str(configs.flat({"model": config.model, "inputs": config.inputs, "frozen": config.train.frozen}))
        files.setdefault(same, []).append(name)
        found.setdefault(same, config)
    for same, names in files.items():
        config = found[same]
        model = nnx.eval_shape(functools.partial(build_model, config))
        yield ", ".join(names), config, network_of(config, model)


def page() -> str:
    """Return the page with the table of all networks in configs/."""
    lines = ["| configs/ | parameters | forward, GFLOP | kept, MiB |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(cost(config, network).cells())} |" for name, config, network in full_size()]
    return PAGE + "\n".join(lines) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `avlearn costs`."""
    parser.add_argument(
        "page", type=pathlib.Path, metavar="PAGE", help="Markdown file to write, such as docs/reference/costs.md"
    )


def run(arguments: argparse.Namespace) -> str:
    """Write the page; return a line for the terminal."""
    arguments.page.write_text(page())
    return f"Wrote {arguments.page}"
