"""What the devices of a named machine hold and exchange: by hand, and compared with a step compiled for 8 devices."""

import re

import jax
import pytest
from flax import nnx

from avlearn.build import build_network
from avlearn.commands import dry_run
from avlearn.devices import placement, topology
from configs import avenet, vgg16


def small() -> "avenet.ConfigDict":
    config = avenet.get_config("miniature")
    config.model.width = 1 / 16
    config.inputs.frame_pixels = 32
    config.train.batch_per_worker = 4
    config.train.num_workers = 8
    return config


@pytest.mark.parametrize(
    ("name", "devices", "hosts", "ring_gigabytes"),
    [
        ("tpu-v4-32", 16, 4, 300),  # 32 cores, two per chip, 4 chips per machine
        ("tpu-v3-32", 32, 4, 140),  # 32 cores, each of them a device
        ("tpu-v5litepod-16", 16, 4, 200),
        ("tpu-v6e-256", 256, 64, 400),
        ("gpu-h100-8", 8, 1, 450),  # inside one machine: NVLink
        ("gpu-h100-16", 16, 2, 400),  # the network cards
        ("gpu-a100-256", 256, 32, 200),
    ],
)
def test_names_are_parsed(name, devices, hosts, ring_gigabytes):
    found = topology.parse(name)
    assert (found.devices, found.hosts, found.ring_bytes) == (devices, hosts, ring_gigabytes * 1e9)


def test_a_number_alone_has_no_kind():
    assert topology.parse("32") == topology.Topology("32", 32, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu-v9-8", "--topology=tpu-v9-8 is unknown; use tpu-v4-32"),
        ("h100", "--topology=h100 is unknown"),
        ("0", "--topology=0 is unknown"),
        ("tpu-v4-7", "the number counts cores, 2 per chip"),
    ],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        topology.parse(name)


def test_devices_must_divide_the_workers():
    assert topology.workers_per_device(topology.parse("tpu-v4-32"), 16) == 1
    assert topology.workers_per_device(topology.parse("tpu-v4-8"), 16) == 4
    with pytest.raises(
        ValueError, match=r"32 devices of --topology=32 cannot share 16 workers evenly\. .* 1, 2, 4, 8, 16"
    ):
        topology.workers_per_device(topology.parse("32"), 16)


def test_the_description_matches_hand_calculation():
    """1,000 MiB on 16 devices: each sends 15/16 of it twice, 1,875 MiB, in 1875 * 2**20 / 300e9 s = 6.55 ms."""
    mib = 2**20
    load = topology.DeviceLoad(128, 1, 20 * mib, 40 * mib, mib, 80 * mib, 900 * mib, "cpu (cpu)", 1000 * mib)
    lines = topology.describe(topology.parse("tpu-v4-32"), load).splitlines()
    assert lines[0] == "Topology tpu-v4-32: 16 x chip of TPU v4, 4 machine(s)"
    assert lines[1] == "Each device runs 1 worker(s), 128 pairs a step, and holds, MiB:"
    assert lines[6] == "  activations and gradients     900.0  measured: the step compiled for cpu (cpu)"
    assert lines[7].split() == ["total", "1,041.0", "of", "32,768", "MiB"]
    assert lines[9].startswith("To do so, each device sends 1,875.0 MiB a step: at best 6.55 ms at the published 300 G")
    large = topology.DeviceLoad(128, 1, 0, 0, 0, 0, 40_000 * mib, "cpu (cpu)", mib)
    assert "does not fit" in topology.describe(topology.parse("tpu-v4-32"), large)
    assert "does not fit" not in topology.describe(topology.parse("16"), large)


@pytest.fixture(scope="module")
def described() -> str:
    """Describe eight workers on four devices, two on each."""
    return dry_run.describe(small(), "tpu-v5litepod-4")


def test_exchanged_bytes_match_the_compiled_step(described):
    """Count in the program's text what each of eight devices sends to its partners."""
    config = small()
    step, state, batch = dry_run.step_and_shapes(config, build_network(config), placement.make_mesh(8), 8)
    program = jax.jit(step).lower(state, batch).as_text()
    sent = [int(size) for size in re.findall(r"collective_permute.*?-> tensor<(\d+)xf32>", program)]
    reduced = sum(leaf.size for leaf in jax.tree.leaves((state.params, state.batch_stats))) + mean_metrics(
        step, state, batch
    )
    eighth = -(-reduced // 8)
    assert sent == [4 * eighth, 2 * eighth, eighth, eighth, 2 * eighth, 4 * eighth]
    assert sum(sent) == pytest.approx(topology.ring_share(8) * reduced, abs=14)
    assert not re.search("all_reduce|all_gather|all_to_all|reduce_scatter", program)
    assert f"computed): {4 * reduced / 2**20:,.1f} MiB" in described


def mean_metrics(step, state, batch) -> int:
    """Return the number of metrics that are means over the workers."""
    _, metrics = jax.eval_shape(step, state, batch)
    return sum(metric.ndim == 0 for metric in metrics.values()) - len({"gradient_norm"} & metrics.keys())


def test_dry_run_describes_the_topology_in_place_of_this_machine(described):
    network = build_network(small())
    parameters = 4 * sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network.training, nnx.Param)))
    assert "Each device runs 2 worker(s), 8 pairs a step" in described
    assert f"  {'parameters':<26}{parameters / 2**20:>9,.1f}  computed" in described
    assert "8 device(s)" not in described
    assert "avc_accuracy" in described


def test_a_network_without_a_loss_exchanges_nothing():
    config = vgg16.get_config("miniature")
    text = dry_run.describe_topology(config, build_network(config), topology.parse("1"))
    assert text == "Topology 1: nothing to exchange, vgg16 is not trained here"
