"""What a run would do, without its data: parameters, batch, memory, and what its evaluators read."""

import jax
from ml_collections import ConfigDict

from avlearn import evaluate, parallel, parts
from avlearn import step as steps
from avlearn.data import read
from avlearn.models.parts.layer_table import layer_table


def describe(config: ConfigDict) -> str:
    """Text of the dry run; compiles the training step for this machine's devices to learn its memory.

    Raises:
      ValueError: something in the config is unknown or does not fit.
    """
    network = parts.build_network(config)
    mesh = parallel.make_mesh(config.train.num_workers)
    sections = [
        layer_table(network.evaluation).rstrip(),
        describe_batch(config, network, mesh),
        describe_memory(config, network, mesh),
        describe_evaluators(config, network),
        describe_dataset(config),
    ]
    return "\n\n".join(sections)


def describe_batch(config: ConfigDict, network: parts.Network, mesh) -> str:
    """Workers, devices and the arrays of one step."""
    workers, pairs = config.train.num_workers, config.train.batch_per_worker
    batch = parts.empty_batch(network.inputs, (workers, pairs))
    lines = [
        f"Batch: {workers} workers x {pairs} = {workers * pairs} pairs; "
        f"{mesh.size} device(s) ({jax.devices()[0].device_kind}) carry {workers // mesh.size} worker(s) each"
    ]
    present = {name: value for name, value in vars(batch).items() if value is not None}
    lines += [f"  {name:<16} {value.dtype!s:<8} {list(value.shape)}" for name, value in present.items()]
    return "\n".join(lines)


def describe_memory(config: ConfigDict, network: parts.Network, mesh) -> str:
    """Memory of the compiled step on each device, MiB."""
    if network.loss is None:
        return f"Memory of a training step: none, {network.name} is not trained here"
    # The schedule's epochs do not change shapes: one step an epoch stands for any number.
    adam = parts.build_optimizer(config, parts.build_schedule(config, steps_per_epoch=1.0))
    step = parts.build_train_step(config, network, adam, mesh)
    state = jax.eval_shape(lambda: steps.initial_state(network.training, adam))
    batch = parts.empty_batch(network.inputs, (config.train.num_workers, config.train.batch_per_worker))
    memory = step.lower(state, batch).compile().memory_analysis()
    mib = 2.0**20
    return (
        "Memory of a training step on each device: "
        f"{memory.argument_size_in_bytes / mib:.0f} MiB of parameters, optimizer state and input, "
        f"{memory.temp_size_in_bytes / mib:.0f} MiB of activations and gradients"
    )


def describe_evaluators(config: ConfigDict, network: parts.Network) -> str:
    """What each evaluator reads, checked against what the network delivers."""
    available = evaluate.output_names(network.outputs(2)) | parts.ANNOTATIONS
    evaluators = parts.build_evaluators(config, relevance=None)
    evaluate.check_needs(evaluators, available, network.name)
    lines = [f"  {e.name:<16} {e.pairing:<14} {', '.join(e.needs)}" for e in evaluators]
    return "\n".join(["Evaluators, their pairs and what they read:", *lines])


def describe_dataset(config: ConfigDict) -> str:
    """The size of each split, or the command that builds the dataset."""
    names = (config.data.train_split, config.data.validation_split, config.evaluation.split)
    try:
        sizes = [f"{name} {len(read.open_split(config.data.dataset, config.data.data_dir, name))}" for name in names]
    except ValueError as error:
        return f"Dataset: {error}"
    return f"Dataset {config.data.dataset}: {', '.join(sizes)} clips"
