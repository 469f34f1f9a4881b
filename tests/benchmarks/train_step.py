"""Pairs per second of a training step, beside the machine's matrix rate: `python tests/benchmarks/train_step.py`.

Needs no dataset and no TensorFlow, so that it runs on any machine with JAX. The share says how much of the measured
matrix rate (one large float32 product, in the same run) the step's operations, as XLA counts them, come to.
"""

import argparse
import functools
import importlib
import statistics
import time

import jax
import jax.numpy as jnp
from flax import nnx

from avlearn import optimizer, parallel, step
from avlearn.types import Batch, InputSpec

NETWORKS = ("l3net", "avenet", "avolnet", "lvs", "attention10k")
SCORES = {"avc": step.score_pairs, "all_pairs": step.score_all_pairs, "contrast": step.score_contrast}
MATRIX_SIDE = 2048


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


def seconds_each(function, repeats: int) -> float:
    """Median seconds of a call, after one that compiles."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_rate(repeats: int) -> float:
    """GFLOP/s of one large float32 matrix product."""
    x = jnp.ones((MATRIX_SIDE, MATRIX_SIDE))
    product = jax.jit(lambda x: x @ x)
    return 2 * MATRIX_SIDE**3 / seconds_each(lambda: product(x), repeats) / 1e9


def step_rate(name: str, variant: str, pairs: int | None, repeats: int) -> tuple[int, float, float]:
    """Pairs of a step on one worker, pairs/s, and GFLOP/s by XLA's count of operations."""
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    pairs = config.train.batch_per_worker if pairs is None else pairs
    inputs = InputSpec(**config.inputs)
    module = importlib.import_module(f"avlearn.models.{name}")
    model = module.Model(config.model, inputs, rngs=nnx.Rngs(0))
    model.train()
    adam = optimizer.adam(lambda _: 1e-4, weight_decay=1e-5, weight_decay_kind="l2")
    score = functools.partial(SCORES[config.data.pairing], loss=module.loss)
    mesh = parallel.make_mesh(1, jax.devices()[:1])
    state = {"now": jax.tree.map(jnp.copy, step.initial_state(model, adam))}
    batch = random_batch(inputs, 1, pairs)
    compiled = (
        step.jit_train_step(model=model, score=score, optimizer=adam, mesh=mesh).lower(state["now"], batch).compile()
    )

    def one_step():
        state["now"], metrics = compiled(state["now"], batch)
        return metrics

    seconds = seconds_each(one_step, repeats)
    return pairs, pairs / seconds, compiled.cost_analysis()["flops"] / seconds / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="miniature", help="miniature, or empty for the papers' size")
    parser.add_argument("--pairs", type=int, help="pairs of the worker; default: the config's")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    limit = matrix_rate(arguments.repeats)
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}; float32 matrix rate {limit:.0f} GFLOP/s")
    print(f"{'network':<12}  pairs  pairs/s  GFLOP/s  share of the matrix rate")
    for name in NETWORKS:
        pairs, rate, flops = step_rate(name, arguments.variant, arguments.pairs, arguments.repeats)
        print(f"{name:<12}  {pairs:5d}  {rate:7.1f}  {flops:7.0f}  {flops / limit:.0%}")


if __name__ == "__main__":
    main()
