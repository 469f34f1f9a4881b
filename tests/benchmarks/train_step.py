"""Pairs per second of a training step, and its share of the matrix rate: `python tests/benchmarks/train_step.py`.

Needs no dataset, and no packages besides JAX, flax, optax, ml_collections and jaxtyping, so that it runs on any machine
with JAX. The share is the rate of the step's operations, as XLA counts them before optimisation, divided by the rate of
one large matrix product of the same dtype, measured in the same run. `--pytorch` alternates our steps with those of the
same networks in plain PyTorch:

    python tests/benchmarks/train_step.py --variant= --pairs=8 --repeats=5 --pytorch
"""

import argparse
import functools
import importlib
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from avlearn.devices import environment, placement
from avlearn.training import optimizer, step
from avlearn.types import Batch, InputSpec

NETWORKS = ("l3net", "avenet", "avolnet", "lvs", "attention10k")
SCORES = {"avc": step.score_pairs, "all_pairs": step.score_all_pairs, "contrast": step.score_contrast}
MATRIX_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}


def random_batch(inputs: InputSpec, workers: int, pairs: int) -> Batch:
    keys = jax.random.split(jax.random.key(0), 2)
    leading = (workers, pairs)
    return Batch(
        frames=jax.random.randint(keys[0], (*leading, *inputs.frame_shape), 0, 256).astype(jnp.uint8),
        log_spectrogram=jax.random.normal(keys[1], (*leading, *inputs.spectrogram_shape)),
        corresponds=jnp.tile(jnp.arange(pairs) % 2 == 0, (workers, 1)),
        video=jnp.arange(workers * pairs).reshape(leading),
        weight=jnp.ones(leading),
    )


def seconds_each(functions: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Return each function's median seconds; the functions alternate, after one call that compiles."""
    for function in functions.values():
        jax.block_until_ready(function())
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def matrix_rate(dtype: str, repeats: int) -> float:
    """Measure the GFLOP/s of one large matrix product."""
    side = MATRIX_SIDE[jax.default_backend()]
    x = jnp.ones((side, side), dtype)
    product = jax.jit(lambda x: x @ x)
    return 2 * side**3 / seconds_each({"product": lambda: product(x)}, repeats)["product"] / 1e9


def our_step(name: str, config: ConfigDict, workers: int, pairs: int) -> tuple[Callable, float, float]:
    """Return the workers' step on one device, compiled, its operations counted by XLA, and its memory, MiB.

    Operations are counted in the program for a TPU: on a CPU some convolutions need fewer, but the share of the matrix
    rate should not depend on how the network is computed.
    """
    inputs = InputSpec(**config.inputs)
    module = importlib.import_module(f"avlearn.models.{name}")
    model = module.Model(config.model, inputs, rngs=nnx.Rngs(0))
    model.train()
    adam = optimizer.adam(lambda _: 1e-4, weight_decay=1e-5, weight_decay_kind="l2")
    score = functools.partial(SCORES[config.data.pairing], loss=module.loss)
    mesh = placement.make_mesh(workers, jax.devices()[:1])
    state = {"now": jax.tree.map(jnp.copy, step.initial_state(model, adam))}
    batch = random_batch(inputs, workers, pairs)
    train_step = step.TrainStep(model=model, score=score, optimizer=adam, mesh=mesh)

    def one_step():
        state["now"], metrics = train_step(state["now"], batch)
        return metrics

    argument_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves((state["now"], batch)))
    mib = (argument_bytes + train_step.working_bytes(state["now"], batch)) / 2**20
    flops = workers * train_step.lower_worker(state["now"], batch, "tpu").cost_analysis()["flops"]
    return one_step, flops, mib


def measure(name: str, variant: str, dtype: str, workers: int, pairs: int | None, repeats: int, pytorch: bool) -> str:
    """Measure one network; return its line of the table."""
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    config.model.dtype = dtype
    pairs = config.train.batch_per_worker if pairs is None else pairs
    limit = matrix_rate(dtype, repeats)
    ours, flops, mib = our_step(name, config, workers, pairs)
    functions = {"ours": ours}
    if pytorch:
        import pytorch_step

        if name in pytorch_step.NETWORKS:
            functions["theirs"] = pytorch_step.step(name, InputSpec(**config.inputs), pairs, dtype)
    seconds = seconds_each(functions, repeats)
    rate = flops / seconds["ours"] / 1e9
    line = f"{name:<12}  {dtype:<8}  {pairs:5d}  {workers * pairs / seconds['ours']:8.1f}  {rate:8.0f}  {limit:8.0f}"
    line += f"  {rate / limit:5.0%}  {mib:8.0f}"
    if "theirs" in functions:
        theirs_mib = pytorch_step.peak_mib()
        line += f"  {pairs / seconds['theirs']:8.1f}  {seconds['theirs'] / seconds['ours']:5.2f}"
        line += "" if theirs_mib is None else f"  {theirs_mib:8.0f}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--variant", default="miniature", help="miniature, or empty for the papers' size")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--workers", type=int, default=1, help="workers that the device runs in turn")
    parser.add_argument("--pairs", type=int, help="pairs for each worker; default: the config's")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--pytorch", action="store_true", help="compare with PyTorch, at the papers' size only")
    arguments = parser.parse_args()
    if arguments.pytorch and arguments.variant:
        parser.error("--pytorch compares at the papers' size: give --variant= too")
    if arguments.pytorch and arguments.workers != 1:
        parser.error("--pytorch compares with one worker: leave --workers out")
    environment.set_xla_flags()
    environment.set_thread_count(arguments.workers)
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}")
    print(
        "network       type      pairs   pairs/s   GFLOP/s    matrix  share       MiB"
        + "   PyTorch  ratio" * arguments.pytorch
    )
    for name in arguments.networks:
        for dtype in arguments.dtypes:
            settings = (
                arguments.variant,
                dtype,
                arguments.workers,
                arguments.pairs,
                arguments.repeats,
                arguments.pytorch,
            )
            print(measure(name, *settings), flush=True)


if __name__ == "__main__":
    main()
