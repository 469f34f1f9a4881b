"""Workers over devices."""

import types

import jax
import numpy as np
import pytest

from avlearn.devices import placement, processes, reduction


def test_devices_must_divide_workers():
    with pytest.raises(ValueError, match=r"3 devices cannot share 16 workers evenly. 16 workers run on 1, 2, 4, 8, 16"):
        placement.make_mesh(16, jax.devices()[:3])


def test_each_device_holds_its_workers():
    mesh = placement.make_mesh(8, jax.devices()[:4])
    laid = placement.to_devices(mesh, np.arange(24).reshape(8, 3))
    for place, shard in enumerate(laid.addressable_shards):
        np.testing.assert_array_equal(shard.data, np.arange(24).reshape(8, 3)[2 * place : 2 * place + 2])
    assert placement.local_workers(mesh, 8) == range(8)
    np.testing.assert_array_equal(placement.to_host(laid), np.arange(24).reshape(8, 3))


def test_whole_batch_is_laid_out_the_same():
    mesh = placement.make_mesh(4, jax.devices()[:4])
    x = np.arange(8.0)
    np.testing.assert_array_equal(placement.whole_to_devices(mesh, x), placement.to_devices(mesh, x))


def test_sums_are_those_of_a_tree():
    def add(a, b):
        return f"({a}{b})"

    assert reduction.sum_in_tree("abcdefgh", add) == "(((ab)(cd))((ef)(gh)))"
    assert reduction.sum_in_tree("a", add) == "a"
    assert reduction.sum_in_tree("abcdefg", add) == "(((ab)(cd))((ef)g))"


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_devices_continue_the_tree(devices):
    """Numbers of all sizes, whose sum depends on the order; 7 of them to each worker, which no number of parts fits."""
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=(8, 7)) * 10.0 ** rng.integers(-4, 5, size=(8, 7))).astype(np.float32)
    expected = reduction.sum_in_tree(numbers, np.add)
    assert (expected != numbers.sum(0)).any()
    mine = np.stack([reduction.sum_in_tree(some, np.add) for some in numbers.reshape(devices, -1, 7)])
    mesh = placement.make_mesh(8, jax.devices()[:devices])
    everywhere = jax.jit(
        jax.shard_map(
            lambda x: jax.tree.map(
                lambda total: total[None], reduction.sum_over_devices({"a": x[0, :3], "b": x[0, 3:]})
            ),
            mesh=mesh,
            in_specs=jax.P(placement.AXIS),
            out_specs=jax.P(placement.AXIS),
        )
    )(mine)
    for place in range(devices):
        np.testing.assert_array_equal(np.concatenate([everywhere["a"][place], everywhere["b"][place]]), expected)


def test_other_numbers_of_devices_add_up_in_the_machines_order():
    total = jax.jit(
        jax.shard_map(
            reduction.sum_over_devices,
            mesh=placement.make_mesh(3, jax.devices()[:3]),
            in_specs=jax.P(placement.AXIS),
            out_specs=jax.P(),
        )
    )(np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(total, [[6.0, 9.0]])


def test_devices_of_a_process_stay_together():
    """On a TPU slice of 4 x 4 chips, ids go along the rows, and each of 4 hosts has a square of 2 x 2."""
    devices = [
        types.SimpleNamespace(id=4 * row + col, process_index=2 * (row // 2) + col // 2)
        for row in range(4)
        for col in range(4)
    ]
    ordered = placement.by_process(devices)
    assert [device.process_index for device in ordered] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert [device.id for device in ordered[:8]] == [0, 1, 4, 5, 2, 3, 6, 7]


EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "host:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "2"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_NODEID": "1", "SLURM_LOCALID": "1"}
TPU_VM = {"TPU_ML_PLATFORM": "JAX"}  # what JAX sets where it finds chips
GKE_TPU = TPU_VM | {"TPU_SKIP_MDS_QUERY": "true", "TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}


@pytest.mark.parametrize(
    ("environment", "arguments"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script, not a step
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
        (SRUN, {"local_device_ids": None}),
        (SRUN | {"JAX_NUM_PROCESSES": "1"}, None),
        (TPU_VM, {}),
        (TPU_VM | {"TPU_PROCESS_BOUNDS": "1,1,1"}, None),  # one chip of a host, as quickstart asks for
        (TPU_VM | {"JAX_PLATFORMS": "cpu"}, None),
        (GKE_TPU, {}),
        ({"TPU_SKIP_MDS_QUERY": "1"}, None),  # what JAX sets where there are no chips
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),  # a notebook in a cluster
        (
            EXPLICIT,
            {
                "coordinator_address": "host:1234",
                "num_processes": 4,
                "process_id": 2,
                "cluster_detection_method": "deactivate",
            },
        ),
    ],
)
def test_the_environment_says_whether_there_are_other_processes(environment, arguments):
    assert processes.cluster(environment) == arguments


def test_an_incomplete_environment_is_an_error():
    with pytest.raises(ValueError, match=r"JAX_NUM_PROCESSES, JAX_PROCESS_ID is not set"):
        processes.cluster({"JAX_COORDINATOR_ADDRESS": "host:1234"})


def test_kubernetes_needs_its_package(monkeypatch):
    job = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}
    monkeypatch.setattr(placement.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install kubernetes"):
        processes.cluster(job)
    monkeypatch.setattr(placement.importlib.util, "find_spec", lambda name: name)
    assert processes.cluster(job) == {}


@pytest.mark.parametrize(
    ("visible", "on_node", "tasks", "local", "mine"),
    [
        ("0,1,2,3", 4, "4(x2)", 1, [1]),  # a task for each GPU
        ("0,1,2,3", 4, "1(x2)", 0, [0, 1, 2, 3]),  # a task for each node
        ("0,1,2,3", 4, "2(x2)", 1, [2, 3]),
        ("0,1,2,3", 4, "1,2", 1, [2, 3]),  # another number on the first node
        ("2", 4, "4(x2)", 2, [0]),  # --gpus-per-task=1: Slurm shows a task its own only
        ("2,3", 4, "2(x2)", 1, [0, 1]),
        ("", 0, "2(x2)", 1, None),
    ],
)
def test_slurms_gpus_are_shared_evenly(visible, on_node, tasks, local, mine):
    environment = {
        "CUDA_VISIBLE_DEVICES": visible,
        "SLURM_GPUS_ON_NODE": str(on_node),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_NODEID": "1",
        "SLURM_LOCALID": str(local),
    }
    assert processes.slurm_devices(environment) == mine
