"""The environment decides whether a run has several processes, and which GPUs are theirs."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from avlearn.devices import processes
from tests.helpers.paths import ROOT

EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "host:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "2"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_NODEID": "1", "SLURM_LOCALID": "1"}
TPU_VM = {"TPU_ML_PLATFORM": "JAX"}  # JAX sets it if it finds chips
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
        (TPU_VM | {"TPU_PROCESS_BOUNDS": "1,1,1"}, None),  # one chip of a host, as quickstart sets it
        (TPU_VM | {"JAX_PLATFORMS": "cpu"}, None),
        (GKE_TPU, {}),
        ({"TPU_SKIP_MDS_QUERY": "1"}, None),  # JAX sets it if it finds no chips
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
def test_the_environment_decides_whether_there_are_other_processes(environment, arguments):
    assert processes.cluster_arguments(environment) == arguments


def test_an_incomplete_environment_is_an_error():
    with pytest.raises(ValueError, match=r"set JAX_NUM_PROCESSES, JAX_PROCESS_ID too"):
        processes.cluster_arguments({"JAX_COORDINATOR_ADDRESS": "host:1234"})


def test_kubernetes_needs_its_package(monkeypatch):
    job = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install kubernetes"):
        processes.cluster_arguments(job)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert processes.cluster_arguments(job) == {}


@pytest.mark.parametrize(
    ("visible", "on_node", "tasks", "local", "expected"),
    [
        ("0,1,2,3", 4, "4(x2)", 1, [1]),  # one task per GPU
        ("0,1,2,3", 4, "1(x2)", 0, [0, 1, 2, 3]),  # one task per node
        ("0,1,2,3", 4, "2(x2)", 1, [2, 3]),
        ("0,1,2,3", 4, "1,2", 1, [2, 3]),  # the first node has another number of tasks
        ("2", 4, "4(x2)", 2, [0]),  # --gpus-per-task=1: Slurm shows each task its own GPU only
        ("2,3", 4, "2(x2)", 1, [0, 1]),
        ("", 0, "2(x2)", 1, None),
    ],
)
def test_slurms_gpus_are_shared_evenly(visible, on_node, tasks, local, expected):
    environment = {
        "CUDA_VISIBLE_DEVICES": visible,
        "SLURM_GPUS_ON_NODE": str(on_node),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_NODEID": "1",
        "SLURM_LOCALID": str(local),
    }
    assert processes.slurm_devices(environment) == expected


PLATFORM = """
from avlearn.devices import processes
try:
    processes.check_platform()
    print("runs")
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("platforms", "said"),
    [
        ("cpu", "runs"),
        ("", "runs"),
        ("cuda", "JAX_PLATFORMS=cuda: JAX finds no such device. Look at the driver"),
        ("cuda,cpu", "JAX_PLATFORMS=cuda,cpu: JAX finds no such device. Look at the driver"),
        ("rocm", "JAX_PLATFORMS=rocm: Unable to initialize backend 'rocm': Backend 'rocm' is not in the list of known"),
    ],
)
@pytest.mark.skipif(pathlib.Path("/dev/nvidia0").exists(), reason="the machine has a GPU")
def test_a_platform_that_is_absent_is_not_replaced_by_the_next(platforms, said):
    environment = {**os.environ, "JAX_PLATFORMS": platforms}
    command = [sys.executable, "-c", PLATFORM]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.startswith(said)
    assert done.stdout.count("\n") == 1
