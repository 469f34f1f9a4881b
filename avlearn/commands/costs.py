"""What the networks of the papers cost at full size: parameters, operations and memory of one pair.

    avlearn costs docs/reference/costs.md

writes the table for every file of configs/. Nothing is compiled.
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
BATCHES = (2, 4)  # pairs; the difference leaves out what a batch costs whatever its size
PAGE = """# What the networks cost

At the papers' size, for one pair of frame and sound, in the type of the config (float32). Written by

```
avlearn costs docs/reference/costs.md
```

* *Forward*: operations of the convolutions and matrix products of one forward pass, two for a product and its addition;
  zeros of the padding count as other cells do, as in counts by hand. (XLA's own figure leaves them out, and is some 5 %
  lower.) A training step computes about three times as many. By hand, from the sizes that Objects that Sound prints,
  AVE-Net has 5,139,447,810 products, 10.28 GFLOP: 2,564,997,120 in the convolutions of its vision tower, 2,574,286,848
  in those of its audio tower, the rest in fc1, fc2 and fc3.
* *Kept*: activations that the backward pass needs of the forward pass, as the program is written, for one more pair in
  the batch. It depends on no machine; what a compiler makes of it does. `--mode=dry_run` compiles the step of the whole
  batch for the devices of its machine and states its memory, in all and for each pair. Networks that are not trained
  here keep nothing.

"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a network.

    Attributes:
      parameters: that are trained.
      forward_gflop: of one pair, 10^9 operations.
      kept_mib: of one more pair in a training step, MiB; None where the network is not trained here.
    """

    parameters: int
    forward_gflop: float
    kept_mib: float | None

    def cells(self) -> tuple[str, str, str]:
        """As the table has them."""
        kept = "" if self.kept_mib is None else f"{self.kept_mib:.0f}"
        return f"{self.parameters:,}", f"{self.forward_gflop:.2f}", kept


def cost(config: ConfigDict, network: Network) -> Cost:
    """Costs of a network, from traces: nothing is computed or compiled."""
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
    """Products of a program's convolutions and matrix products, those of the programs that it calls included.

    Where a program is chosen from several, those of the one with most: a convolution's where it is chosen by platform
    how it is computed (avlearn/models/layers/winograd.py).
    """
    total = 0
    for equation in program.eqns:
        name, output = equation.primitive.name, equation.outvars[0] if equation.outvars else None
        if name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = equation.params["dimension_numbers"].rhs_spec[0]  # which axis of the kernel they are
            total += math.prod(output.aval.shape) * math.prod(kernel) // kernel[outputs]
        elif name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += math.prod(output.aval.shape) * math.prod(shape[axis] for axis in contracted)
        total += sum(multiply_adds(called) for called in _called_by(equation))
        total += max((multiply_adds(branch.jaxpr) for branch in equation.params.get("branches", ())), default=0)
    return total


def _called_by(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """The programs that an equation calls."""
    for value in equation.params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _bytes_kept(config: ConfigDict, network: Network, pairs: int) -> int:
    objective, params, batch = _objective(config, network, pairs)
    # The backward function is a tree, whose leaves are what it needs of the forward pass.
    backward = jax.eval_shape(lambda params, batch: jax.vjp(lambda p: objective(p, batch), params)[1], params, batch)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def _objective(config: ConfigDict, network: Network, pairs: int) -> tuple:
    """The loss as a function of parameters and batch, and the shapes of both."""
    score = build_score(config, network)
    _, params, stats = nnx.split(network.training, nnx.Param, nnx.BatchStat)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def objective(params: PyTree, batch: Batch):
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), stats)
        trained = steps.without_gradients(params, config.train.frozen)
        return score(steps.with_values(network.training, trained, zeros), batch)[0]

    return objective, params, empty_batch(network.inputs, (pairs,))


def full_size() -> Iterator[tuple[str, ConfigDict, Network]]:
    """Yields the networks of configs/ at the papers' size, shapes only: names of config files, a config, a network."""
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
    """Returns the page with the table of all networks of configs/."""
    lines = ["| configs/ | parameters | forward, GFLOP | kept, MiB |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(cost(config, network).cells())} |" for name, config, network in full_size()]
    return PAGE + "\n".join(lines) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `avlearn costs`."""
    parser.add_argument("page", type=pathlib.Path, help="file to write, such as docs/reference/costs.md")


def run(arguments: argparse.Namespace) -> str:
    """Writes the page that the command line names, and returns its path."""
    arguments.page.write_text(page())
    return f"Wrote {arguments.page}"
