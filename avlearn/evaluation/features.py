"""Features of conv4_2, which evaluators and the report request by name (L3 3.4 and 3.5, tables 2 to 4, figures 3 to 9).

A network has them if its streams are the papers' towers. They are computed only if an evaluator reads them.
"""

import dataclasses
from collections.abc import Collection

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from avlearn.models.layers.conv_tower import CHANNELS, ConvTower, image_input, spectrogram_input
from avlearn.training.step import TrainState, with_values
from avlearn.types import Batch

UNTRAINED = "untrained_"  # prefix of the arrays of the network with the parameters of step 0


@dataclasses.dataclass(frozen=True)
class Feature:
    """Reduction of the map of conv4_2 to one vector.

    Attributes:
      stream: `vision` or `audio`.
      after_relu: whether the ReLU is applied to the map first.
      cells: rows and columns that the map is max-pooled to; None: the full map.
    """

    stream: str
    after_relu: bool
    cells: tuple[int, int] | None


FEATURES = {
    "image_pool4": Feature("vision", True, (1, 1)),
    "audio_pool4": Feature("audio", True, (1, 1)),
    "image_features": Feature("vision", True, (4, 4)),  # 8,192 numbers at width 1 (L3 table 3)
    "audio_features": Feature("audio", False, (4, 3)),  # frequency x time: 6,144 numbers (L3 table 2)
    "image_conv4_2": Feature("vision", True, None),
    "audio_conv4_2": Feature("audio", True, None),  # frequency x time
}
MAPS = {"image": "image_conv4_2", "audio": "audio_conv4_2"}  # mode to feature (L3 figures 3 to 9)


def available(model: nnx.Module) -> set[str]:
    """Return the names of the features that a model has: of its streams that are towers on one frame or spectrogram."""
    towers = {name: getattr(model, name, None) for name in ("vision", "audio")}
    streams = {
        name for name, tower in towers.items() if isinstance(tower, ConvTower) and tower.blocks == tuple(CHANNELS)
    }
    if model.inputs.frames != 1 or not hasattr(model, "frame_scaling"):
        streams.discard("vision")
    return {name for name, feature in FEATURES.items() if feature.stream in streams}


def arrays(state: TrainState, batch: Batch, *, model: nnx.Module, names: Collection[str]) -> dict[str, Array]:
    """Compute the named outputs and features of a batch of pairs; `model` is in evaluation mode."""
    network = with_values(model, state.params, state.batch_stats)
    found = {
        **_of_stream(network, "vision", batch.frames, names),
        **_of_stream(network, "audio", batch.log_spectrogram, names),
    }
    if set(names) <= found.keys():
        return found
    outputs = network(batch)
    return found | {name: getattr(outputs, name) for name in names if name not in found}


def of_audio(
    state: TrainState, log_spectrogram: Float[Array, "batch columns bins"], *, model: nnx.Module, names: Collection[str]
) -> dict[str, Float[Array, "batch dim"]]:
    """Compute the named features of audio."""
    return _of_stream(with_values(model, state.params, state.batch_stats), "audio", log_spectrogram, names)


def of_frames(
    state: TrainState, frames: UInt8[Array, "batch height width 3"], *, model: nnx.Module, names: Collection[str]
) -> dict[str, Float[Array, "batch dim"]]:
    """Compute the named features of frames."""
    return _of_stream(with_values(model, state.params, state.batch_stats), "vision", frames, names)


def _of_stream(network: nnx.Module, stream: str, inputs: Array, names: Collection[str]) -> dict[str, Array]:
    wanted = {name: FEATURES[name] for name in names if name in FEATURES and FEATURES[name].stream == stream}
    if not wanted:
        return {}
    tower = getattr(network, stream)
    tower_input = image_input(inputs, network.frame_scaling) if stream == "vision" else spectrogram_input(inputs)
    before = tower.before_last_relu(tower_input).astype(jnp.float32)
    return {name: _feature(before, feature) for name, feature in wanted.items()}


def _feature(before: Float[Array, "batch height width channels"], feature: Feature) -> Float[Array, "batch ..."]:
    """Return the map before or after its ReLU, in full or as a vector of pooled cells."""
    after = nnx.relu(before) if feature.after_relu else before
    return after if feature.cells is None else max_pool_to(after, feature.cells).reshape(len(after), -1)


def max_pool_to(
    maps: Float[Array, "batch height width channels"], cells: tuple[int, int]
) -> Float[Array, "batch rows cols channels"]:
    """Max-pool to a grid of cells; cell i of n covers the rows from floor(i height / n) to ceil((i + 1) height / n).

    If n does not divide the height, neighbouring cells share a row (14 to 4: four rows each).
    """
    for axis, count in zip((1, 2), cells, strict=True):
        size = maps.shape[axis]
        pieces = [
            jax.lax.slice_in_dim(maps, i * size // count, -(-(i + 1) * size // count), axis=axis) for i in range(count)
        ]
        maps = jnp.concatenate([piece.max(axis=axis, keepdims=True) for piece in pieces], axis=axis)
    return maps
