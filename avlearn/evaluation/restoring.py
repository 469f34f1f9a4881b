"""The forward passes of a config's network, and its weights from a checkpoint."""

import dataclasses
import math

import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avlearn.build import Network, build_sampling, replicated_state
from avlearn.devices import placement
from avlearn.evaluation import collect
from avlearn.evaluation.forward_passes import ForwardPasses
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preemption
from avlearn.training.step import TrainState


def build_passes(config: ConfigDict, network: Network, mesh: Mesh, preemption: Preemption) -> ForwardPasses:
    """Build the forward passes of a network with the settings of the config; the devices share each batch.

    The batch size is the same for every number of devices that divides the number of workers, since a contrastive loss
    depends on it.
    """
    pixels, multiple = config.evaluation.frame_pixels, math.lcm(config.train.num_workers, mesh.size)
    return ForwardPasses(
        model=network.evaluation,
        outputs=frozenset(collect.output_names(network.outputs(2))),
        initial=replicated_state(network, optax.identity(), mesh),
        # Only the loss takes labels.
        inputs=dataclasses.replace(network.inputs, classes=0, frame_pixels=pixels or network.inputs.frame_pixels),
        sampling=build_sampling(config),
        mesh=mesh,
        batch_size=-(-config.evaluation.batch // multiple) * multiple,
        seed=config.seed,
        preemption=preemption,
    )


def restored(passes: ForwardPasses, checkpoints: Checkpoints, which: str | int) -> tuple[int, TrainState]:
    """Restore a checkpoint for evaluation; return its step and state."""
    state = passes.initial
    step, params, batch_stats = checkpoints.restore_weights(state, placement.replicated(passes.mesh), which)
    return step, dataclasses.replace(state, params=params, batch_stats=batch_stats)
