"""Formats a network as a table of layers, output shapes and parameters, for golden files and dry runs."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from avlearn.types import Batch, InputSpec


def layer_table(model: nnx.Module) -> str:
    """Return a table of a network's layers in execution order, for one pair of the size in `model.inputs`.

    Shapes come from a trace, so nothing is computed: a full-size network takes about a second.

    Args:
      model: a network of this package, or `nnx.eval_shape` of one.

    Returns:
      A line for each layer (its path, its output without the batch axis, its trainable parameters) and the total.
    """
    shapes = _output_shapes(model)
    parameters = {path: _count(layer) for path, layer in _layers(model).items()}
    rows = [(path, "x".join(map(str, shape)), f"{parameters[path]:,}") for path, shape in shapes.items()]
    rows = [("layer", "output", "parameters"), *rows, ("total", "", f"{_count(model):,}")]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
    return "\n".join(lines) + "\n"


def _layers(model: nnx.Module) -> dict[str, nnx.Module]:
    """Return the modules that contain no other module, by dotted path."""
    modules = {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
    return {path: module for path, module in modules.items() if len(list(nnx.iter_modules(module))) == 1}


def _output_shapes(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Return the output shape of each layer that runs, without the batch axis, in execution order."""
    graphdef, state = nnx.split(model)

    def run(state, batch):
        traced = nnx.merge(graphdef, state)
        layers = _layers(traced)
        _, outputs = nnx.capture(traced, nnx.Intermediate, method_outputs=nnx.Intermediate)(batch)
        calls = {".".join(map(str, path[:-1])): sown.get_value() for path, sown in nnx.to_flat_state(outputs)}
        return {path: calls[path][0] for path in layers if path in calls}

    program, shapes = jax.make_jaxpr(run, return_shape=True)(state, _one_pair(vars(model)["inputs"]))
    created_at: dict[Any, int] = {
        variable: line for line, equation in enumerate(program.eqns) for variable in equation.outvars
    }
    paths = sorted(zip(shapes, program.jaxpr.outvars, strict=True), key=lambda pair: created_at[pair[1]])
    return {path: shapes[path].shape[1:] for path, _ in paths}


def _one_pair(inputs: InputSpec) -> Batch:
    return Batch(
        frames=jnp.zeros((1, *inputs.frame_shape), jnp.uint8),
        log_spectrogram=jnp.zeros((1, *inputs.spectrogram_shape)),
        corresponds=jnp.zeros(1, bool),
        video=jnp.zeros(1, jnp.int32),
        weight=jnp.ones(1),
        flow=jnp.zeros((1, *inputs.flow_shape), jnp.uint8) if inputs.flow_fields else None,
        waveform=jnp.zeros((1, inputs.waveform_samples)) if inputs.waveform_samples else None,
    )


def _count(module: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
