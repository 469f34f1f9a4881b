"""Test the costs of networks against counts by hand, layer by layer, and the page that lists them."""

import functools
import re

import jax
import pytest
from flax import nnx

from avlearn.build import Network, build_model, empty_batch, network_of
from avlearn.commands import costs, dry_run
from configs import avenet, vgg16
from tests.helpers.paths import ROOT

PAGE, CONFIGS = ROOT / "docs" / "reference" / "costs.md", ROOT / "configs"
# Cells of the output, cells of the kernel, channels in, channels out (OtS figure 2).
VISION = (
    (112 * 112, 9, 3, 64),
    (112 * 112, 9, 64, 64),
    (56 * 56, 9, 64, 128),
    (56 * 56, 9, 128, 128),
    (28 * 28, 9, 128, 256),
    (28 * 28, 9, 256, 256),
    (14 * 14, 9, 256, 512),
    (14 * 14, 9, 512, 512),
    (1, 1, 512, 128),
    (1, 1, 128, 128),
)
AUDIO = (
    (128 * 100, 9, 1, 64),
    (128 * 100, 9, 64, 64),
    (64 * 50, 9, 64, 128),
    (64 * 50, 9, 128, 128),
    (32 * 25, 9, 128, 256),
    (32 * 25, 9, 256, 256),
    (16 * 12, 9, 256, 512),
    (16 * 12, 9, 512, 512),
    (1, 1, 512, 128),
    (1, 1, 128, 128),
)
FC3 = (1, 1, 1, 2)


def multiply_adds(*layers) -> int:
    return sum(cells * kernel * channels_in * channels_out for cells, kernel, channels_in, channels_out in layers)


def network_shapes(config) -> Network:
    return network_of(config, nnx.eval_shape(functools.partial(build_model, config)))


def test_forward_cost_of_avenet_equals_the_count_by_hand():
    config = avenet.get_config()
    network = network_shapes(config)
    expected = multiply_adds(*VISION, *AUDIO, FC3)
    assert expected == 5_139_447_810  # about 5.2 GMAC
    by_hand = [f"{number:,}" for number in (expected, multiply_adds(*VISION[:8]), multiply_adds(*AUDIO[:8]))]
    assert re.findall(r"\d+(?:,\d{3}){3}", PAGE.read_text()) == by_hand
    assert costs.cost(config, network).forward_gflop == pytest.approx(2 * expected / 1e9, rel=1e-9)
    # XLA does not count the padding: 1 cell in 14 of the last maps in both directions, 1 in 112 of the first.
    graph, state = nnx.split(network.evaluation)
    batch = empty_batch(network.inputs, (1,))
    # Lowered for a TPU, since some convolutions take fewer operations on a CPU.
    traced = jax.jit(lambda state, batch: nnx.merge(graph, state)(batch)).trace(state, batch)
    lowered = traced.lower(lowering_platforms=("tpu",))
    assert 0.93 < lowered.cost_analysis()["flops"] / (2 * expected) < 1


def test_kept_memory_of_avenet_is_within_the_bounds_by_hand():
    """Check the bounds: at least the inputs of each convolution and normalisation, at most all outputs of a layer.

    A layer has six operations: convolution, subtraction of the mean, scale, bias, ReLU, and pooling.
    """
    config = avenet.get_config()
    cells = sum(out * channels for out, _, _, channels in (*VISION[:8], *AUDIO[:8]))
    assert cells == 6_074_368
    map_mib = 4 * cells / 2**20
    assert 2 * map_mib < costs.cost(config, network_shapes(config)).kept_mib < 6 * map_mib


def test_cost_of_a_network_that_is_not_trained_here():
    config = vgg16.get_config()
    cost = costs.cost(config, network_shapes(config))
    assert cost.kept_mib is None
    assert cost.forward_gflop == pytest.approx(30.9, abs=0.1)  # 15.47 GMAC without the last layer of 4096 x 1000


def test_page_is_up_to_date():
    assert PAGE.read_text() == costs.page(), "run: avlearn costs docs/reference/costs.md"
    files = {path.stem for path in CONFIGS.glob("[a-z]*.py")} - {"base"}
    rows = re.findall(r"^\| ([a-z0-9_, ]+) \| \d", PAGE.read_text(), re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == files


def test_a_dry_run_states_the_costs():
    config = avenet.get_config()
    text = dry_run.describe_costs(config, network_shapes(config))
    assert text.startswith("One pair: 10.279 GFLOP forward, ")
    assert text.endswith(" MiB kept for the backward pass")
