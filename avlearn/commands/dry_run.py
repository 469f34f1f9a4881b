"""Describes a run without reading its data: parameters, batch, memory, and the inputs of its evaluators."""

import jax
from ml_collections import ConfigDict

from avlearn.build import Network, build_augmentation, build_network, build_optimizer, build_schedule, build_train_step
from avlearn.commands import costs
from avlearn.data import built_dataset
from avlearn.data.augment import raw_batch_shapes
from avlearn.devices import placement, topology
from avlearn.evaluation import further_datasets, registry, scoring
from avlearn.models.layers.layer_table import layer_table
from avlearn.training import step as steps


def describe(config: ConfigDict, topology_name: str | None = None) -> str:
    """Describe a run; the training step is compiled for this machine's devices to measure its memory.

    Args:
      config: the experiment.
      topology_name: name of another machine (`topology.parse`), whose devices are described instead of this machine's.

    Raises:
      ValueError: a config value is unknown, or values do not fit each other.
    """
    network = build_network(config)
    if topology_name is None:
        mesh = placement.make_mesh(config.train.num_workers)
        machine = [describe_batch(config, network, mesh), describe_memory(config, network, mesh)]
    else:
        machine = [describe_topology(config, network, topology.parse(topology_name))]
    sections = [
        layer_table(network.evaluation).rstrip(),
        describe_costs(config, network),
        *machine,
        describe_evaluators(config, network),
        describe_dataset(config),
    ]
    return "\n\n".join(sections)


def describe_costs(config: ConfigDict, network: Network) -> str:
    """Describe operations and memory of one pair (docs/reference/costs.md)."""
    cost = costs.cost(config, network)
    kept = "" if cost.kept_mib is None else f", {cost.kept_mib:.1f} MiB kept for the backward pass"
    return f"One pair: {cost.forward_gflop:.3f} GFLOP forward{kept}"


def describe_batch(config: ConfigDict, network: Network, mesh) -> str:
    """Describe workers, devices and the arrays of one step."""
    workers, pairs = config.train.num_workers, config.train.batch_per_worker
    cuts = raw_batch_shapes(network.inputs, (workers, pairs))
    lines = [
        f"Batch: {workers} workers x {pairs} = {workers * pairs} pairs; "
        f"{mesh.size} device(s) ({jax.devices()[0].device_kind}) with {workers // mesh.size} worker(s) each"
    ]
    lines += [
        f"  {jax.tree_util.keystr(path, simple=True, separator='.'):<18} {field.dtype!s:<8} {list(field.shape)}"
        for path, field in jax.tree.leaves_with_path(cuts)
    ]
    return "\n".join(lines)


def describe_memory(config: ConfigDict, network: Network, mesh) -> str:
    """Describe the memory of the compiled step on each device, MiB."""
    if network.loss is None:
        return f"Memory of a training step: none, {network.name} is not trained here"
    step, state, batch = step_and_shapes(config, network, mesh, config.train.num_workers)
    mib, pairs = 2.0**20, config.train.batch_per_worker
    arguments, working = size_in_bytes(state) + size_in_bytes(batch) // mesh.size, step.working_bytes(state, batch)
    return (
        "Memory of a training step on each device: "
        f"{arguments / mib:.0f} MiB of parameters, optimizer state and input, "
        f"{working / mib:.0f} MiB of activations and gradients, "
        f"{working / mib / pairs:.1f} MiB for each of a worker's {pairs} pairs"
    )


def step_and_shapes(config: ConfigDict, network: Network, mesh, workers: int) -> tuple:
    """Return the training step for a number of workers on a mesh, and the shapes of its state and batch."""
    # The schedule does not change shapes, so the number of steps per epoch is arbitrary.
    adam = build_optimizer(config, build_schedule(config, steps_per_epoch=1.0))
    step = build_train_step(config, network, adam, mesh, prepare=build_augmentation(config))
    state = jax.eval_shape(lambda: steps.initial_state(network.training, adam))
    return step, state, raw_batch_shapes(network.inputs, (workers, config.train.batch_per_worker))


def describe_topology(config: ConfigDict, network: Network, machine: topology.Topology) -> str:
    """Describe what each device of another machine would hold and exchange.

    A local device compiles the step for the workers of one remote device; only the exchange is missing.

    Raises:
      ValueError: the number of workers is not a multiple of the number of devices.
    """
    workers = topology.workers_per_device(machine, config.train.num_workers)
    if network.loss is None:
        return f"Topology {machine.name}: nothing to exchange, {network.name} is not trained here"
    device = jax.devices()[0]
    step, state, batch = step_and_shapes(config, network, placement.make_mesh(workers, [device]), workers)
    _, metrics = jax.eval_shape(step, state, batch)
    # Metrics are averaged over the workers, except for the norm, which is computed after the exchange.
    means = {name: metric for name, metric in metrics.items() if metric.ndim == 0 and name != "gradient_norm"}
    load = topology.DeviceLoad(
        pairs=workers * config.train.batch_per_worker,
        workers=workers,
        inputs=size_in_bytes(batch),
        parameters=size_in_bytes(state.params),
        statistics=size_in_bytes(state.batch_stats),
        optimizer=size_in_bytes(state.opt_state),
        temporary=step.working_bytes(state, batch),
        compiled_for=f"{device.platform} ({device.device_kind})",
        exchanged=size_in_bytes((state.params, state.batch_stats, means)),
    )
    return topology.describe(machine, load)


def size_in_bytes(shapes) -> int:
    """Return the total size of a tree of arrays in bytes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def describe_evaluators(config: ConfigDict, network: Network) -> str:
    """Describe the arrays that each evaluator reads; check that the network provides them."""
    lines = []
    for name, each in {"": config, **further_datasets.configs(config)}.items():
        needs = registry.needs(each)
        scoring.check_needs(needs, registry.available(each, network), network.name)
        lines += [f"Evaluators on {name}:"] if name else ["Evaluators, their pairs and the arrays that they read:"]
        lines += [f"  {need.evaluator:<16} {need.pairing:<14} {', '.join(need.arrays)}" for need in needs]
    return "\n".join(lines)


def describe_dataset(config: ConfigDict) -> str:
    """Describe the size of each split, or name the command that builds the dataset."""
    sizes: dict[str, list[str]] = {}
    try:
        data, evaluation = config.data, config.evaluation
        trained = [(data.dataset, name) for name in (data.train_split, data.validation_split)]
        evaluated = [(evaluation.dataset or data.dataset, evaluation.split)]
        further = [
            (each.evaluation.dataset, each.evaluation.split) for each in further_datasets.configs(config).values()
        ]
        for dataset, name in [*trained, *evaluated, *further]:
            clips = len(built_dataset.open_split(dataset, config.data.data_dir, name))
            sizes.setdefault(dataset, []).append(f"{name} {clips}")
    except ValueError as error:
        return f"Dataset: {error}"
    return "\n".join(f"Dataset {dataset}: {', '.join(splits)} clips" for dataset, splits in sizes.items())
