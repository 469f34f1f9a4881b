"""What networks cost: counts by hand, layer by layer, and the page that states them."""

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


def products(*layers) -> int:
    return sum(cells * kernel * channels_in * channels_out for cells, kernel, channels_in, channels_out in layers)


def of_shapes(config) -> Network:
    return network_of(config, nnx.eval_shape(functools.partial(build_model, config)))


def test_forward_of_avenet_is_the_count_by_hand():
    config = avenet.get_config()
    network = of_shapes(config)
    expected = products(*VISION, *AUDIO, FC3)
    assert expected == 5_139_447_810  # about 5.2 GMAC
    by_hand = [f"{number:,}" for number in (expected, products(*VISION[:8]), products(*AUDIO[:8]))]
    assert re.findall(r"\d+(?:,\d{3}){3}", PAGE.read_text()) == by_hand
    assert costs.cost(config, network).forward_gflop == pytest.approx(2 * expected / 1e9, rel=1e-9)
    # XLA counts no products with the padding: 1 of 14 in both directions of the last maps, 1 of 112 of the first.
    graph, state = nnx.split(network.evaluation)
    batch = empty_batch(network.inputs, (1,))
    # As for a TPU: on a CPU some convolutions have fewer.
    traced = jax.jit(lambda state, batch: nnx.merge(graph, state)(batch)).trace(state, batch)
    lowered = traced.lower(lowering_platforms=("tpu",))
    assert 0.93 < lowered.cost_analysis()["flops"] / (2 * expected) < 1


def test_kept_memory_of_avenet_is_within_the_bounds_by_hand():
    """Least: what each convolution and each normalisation reads. Most: what each operation of a layer writes.

    These are the convolution, less the mean, times the scale, plus the bias, ReLU, and a pooling.
    """
    config = avenet.get_config()
    cells = sum(out * channels for out, _, _, channels in (*VISION[:8], *AUDIO[:8]))
    assert cells == 6_074_368
    map_mib = 4 * cells / 2**20
    assert 2 * map_mib < costs.cost(config, of_shapes(config)).kept_mib < 6 * map_mib


def test_cost_of_a_network_that_is_not_trained_here():
    config = vgg16.get_config()
    cost = costs.cost(config, of_shapes(config))
    assert cost.kept_mib is None
    assert cost.forward_gflop == pytest.approx(30.9, abs=0.1)  # 15.47 GMAC, less the last layer of 4096 x 1000


def test_page_is_in_step_with_the_networks():
    assert PAGE.read_text() == costs.page(), "run: avlearn costs docs/reference/costs.md"
    of_files = {path.stem for path in CONFIGS.glob("[a-z]*.py")} - {"base"}
    rows = re.findall(r"^\| ([a-z0-9_, ]+) \| \d", PAGE.read_text(), re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == of_files


def test_a_dry_run_states_them():
    config = avenet.get_config()
    text = dry_run.describe_costs(config, of_shapes(config))
    assert text.startswith("One pair: 10.279 GFLOP forward, ")
    assert text.endswith(" MiB kept for the backward pass")
