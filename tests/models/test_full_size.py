"""One training step of every network at the papers' width and sizes, computed on the CPU."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avlearn.build import build_model, build_score, network_of
from avlearn.commands import dry_run
from avlearn.devices import placement
from avlearn.training import step as steps
from tests.helpers.model_checks import randomised, small_batch

pytestmark = pytest.mark.slow

# The fewest pairs that give a gradient: two if clips are contrasted with each other, and for AVOL-Net, whose scalar
# product of random vectors is so large that the loss of a single pair is 0.
PAIRS = {
    "l3net": 1,
    "avenet": 1,
    "avenet_flow": 1,
    "avenet_multiframe": 1,
    "multisensory": 1,
    "supervised": 1,
    "avolnet": 2,
    "lvs": 2,
    "attention10k": 2,
}
NORMALISED_AWAY = ("second.bias", "merge2.bias")  # the next normalisation subtracts them: their gradient is rounding


@pytest.mark.parametrize("name", PAIRS)
def test_a_step_at_full_size_moves_every_weight(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert config.model.width == 1
    network = network_of(config, randomised(functools.partial(build_model, config)))
    assert dry_run.describe_evaluators(config, network).count("\n") == len(config.evaluation.evaluators)
    sgd, mesh = optax.sgd(1.0), placement.make_mesh(1, jax.devices()[:1])
    score = build_score(config, network)
    step = steps.TrainStep(model=network.training, score=score, optimizer=sgd, mesh=mesh)
    before = jax.tree.map(np.asarray, steps.initial_state(network.training, sgd))
    batch = jax.tree.map(lambda x: x[None], small_batch(network.inputs, PAIRS[name]))
    after, metrics = step(jax.tree.map(jnp.array, before), batch)
    assert all(np.isfinite(value).all() for value in metrics.values())
    # At learning rate 1 the change of a weight is its gradient.
    gradients = jax.tree.map(lambda a, b: np.asarray(b, np.float64) - a, after.params, before.params)
    norms = {
        jax.tree_util.keystr(path, simple=True, separator="."): float(np.linalg.norm(gradient))
        for path, gradient in jax.tree_util.tree_leaves_with_path(gradients)
    }
    unmoved = [path for path, norm in norms.items() if norm == 0 and not path.endswith(NORMALISED_AWAY)]
    assert not unmoved
    assert float(metrics["gradient_norm"]) == pytest.approx(np.linalg.norm(list(norms.values())), rel=1e-3)
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), after.batch_stats, before.batch_stats)
    assert jax.tree.all(moved), moved
