"""Joins the processes of a run on several hosts: detects the cluster, and checks that they share the workdir."""

import importlib.util
import os
import pathlib
import signal
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# A process is declared dead this long after its last heartbeat, and the others are terminated: long enough for a host
# that is busy or swaps, short compared to the cost of a pod.
HEARTBEAT_TIMEOUT_SECONDS = 60
INITIALIZATION_TIMEOUT_SECONDS = 300  # the hosts of a pod start within minutes of each other


def initialize(environment: Mapping[str, str] = os.environ) -> None:
    """Join the processes of a pod (see `cluster_arguments`); call it before devices are used.

    Raises:
      ValueError: the environment is incomplete, or the processes do not find each other.
    """
    arguments = cluster_arguments(environment)
    if arguments is None:
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=int(
                environment.get("AVLEARN_INITIALIZATION_SECONDS", INITIALIZATION_TIMEOUT_SECONDS)
            ),
            heartbeat_timeout_seconds=int(environment.get("AVLEARN_HEARTBEAT_SECONDS", HEARTBEAT_TIMEOUT_SECONDS)),
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(
            f"the processes of this run did not find each other: {error}\nEach process must reach the address and port "
            "of the first. To run a single process, set JAX_NUM_PROCESSES=1 in the environment."
        ) from error
    signal.signal(signal.SIGTERM, handler)  # JAX has replaced it


def cluster_arguments(environment: Mapping[str, str]) -> dict | None:
    """Return the arguments that `jax.distributed.initialize` does not find itself; None for a single process.

    The environment is checked in this order:

    * `JAX_COORDINATOR_ADDRESS` (host:port of process 0), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, as
      launch/local_multiprocess.py sets them. `JAX_NUM_PROCESSES=1` alone means a single process, on any machine.
    * Slurm: a step of several tasks (`srun`).
    * TPU: JAX asks the metadata server of a TPU VM, or reads the variables of GKE (`TPU_WORKER_HOSTNAMES`,
      `TPU_WORKER_ID`). `TPU_PROCESS_BOUNDS=1,1,1` or another `JAX_PLATFORMS` means a single process.
    * Kubernetes: an Indexed Job or a JobSet (`JOB_COMPLETION_INDEX`). JAX asks the cluster for the rest, with the
      package `kubernetes` and a service account that may read pods, jobs and services.

    Raises:
      ValueError: one or two of the three variables are missing, or the package `kubernetes` is not installed.
    """
    if environment.get("JAX_NUM_PROCESSES") == "1":
        return None
    if missing := [name for name in EXPLICIT if name not in environment]:
        if len(missing) < len(EXPLICIT):
            raise ValueError(f"a run of several processes needs {', '.join(EXPLICIT)}: set {', '.join(missing)} too.")
    else:
        return {
            "coordinator_address": environment["JAX_COORDINATOR_ADDRESS"],
            "num_processes": int(environment["JAX_NUM_PROCESSES"]),
            "process_id": int(environment["JAX_PROCESS_ID"]),
            "cluster_detection_method": "deactivate",
        }
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return {"local_device_ids": slurm_devices(environment)}
    if on_tpu(environment):
        return {}
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        if importlib.util.find_spec("kubernetes") is None:
            raise ValueError(
                "this is a pod of an Indexed Job, and JAX needs a package to ask Kubernetes for the other pods: "
                f"pip install kubernetes. Or set {', '.join(EXPLICIT)} in the manifest (JAX_NUM_PROCESSES=1: a single "
                "process)."
            )
        return {}
    return None


def on_tpu(environment: Mapping[str, str]) -> bool:
    """Return whether this host belongs to a TPU slice, according to the variables that JAX sets on import."""
    if "tpu" not in environment.get("JAX_PLATFORMS", "tpu") or environment.get("TPU_PROCESS_BOUNDS") == "1,1,1":
        return False
    by_gke = "TPU_WORKER_HOSTNAMES" in environment or "TPU_PROCESS_ADDRESSES" in environment
    return "TPU_ML_PLATFORM" in environment and (by_gke or "TPU_SKIP_MDS_QUERY" not in environment)


def slurm_devices(environment: Mapping[str, str]) -> list[int] | None:
    """Return the indices of this task's GPUs among the visible ones; None if Slurm announces no GPUs.

    Tasks that see all GPUs of a node share them evenly. By default JAX takes one GPU per task, which would leave the
    others idle.
    """
    visible = list(filter(None, environment.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    if not visible:
        return None
    local = int(environment["SLURM_LOCALID"])
    tasks = _tasks_of_node(environment["SLURM_STEP_TASKS_PER_NODE"], int(environment["SLURM_NODEID"]))
    shared = len(visible) == int(environment.get("SLURM_GPUS_ON_NODE", len(visible))) and tasks <= len(visible)
    if not shared:
        return list(range(len(visible)))  # Slurm has bound each task to its GPUs
    share = len(visible) // tasks
    return list(range(local * share, (local + 1) * share))


def _tasks_of_node(tasks_per_node: str, node: int) -> int:
    """Parse Slurm's shorthand: `2(x3),1` means two tasks on each of three nodes and one on the fourth."""
    counts = []
    for group in tasks_per_node.split(","):
        count, _, repeated = group.partition("(x")
        counts += [int(count)] * int(repeated.rstrip(")") or 1)
    return counts[node]


def check_platform() -> None:
    """Check that JAX runs on the platform that `JAX_PLATFORMS` names first; JAX may take the next one.

    Raises:
      ValueError: JAX does not find a device of this platform.
    """
    named = jax.config.jax_platforms or ""
    wanted = named.partition(",")[0]
    try:
        found, reason = jax.default_backend(), "JAX finds no such device"
    except (RuntimeError, AssertionError) as error:
        found, reason = "none", str(error).partition(" (set JAX_PLATFORMS=")[0] or "JAX finds no such device"
    if found == "none" or (found == "cpu" and wanted not in ("", "cpu")):
        raise ValueError(
            f"JAX_PLATFORMS={named}: {reason.rstrip('.')}. Look at the driver and at what is installed "
            "(launch/install.sh cuda or tpu), or run on the CPU: JAX_PLATFORMS=cpu."
        )


def agreed(answer: bool) -> bool:
    """Return the first process's answer on all processes."""
    if jax.process_count() == 1:
        return answer
    return bool(multihost_utils.broadcast_one_to_all(np.array(answer)))


def check_shared_directory(directory: pathlib.Path) -> None:
    """Check that all processes see the same directory: the first writes a number there, and all read it.

    Raises:
      ValueError: a process does not see it; the message names all such processes.
    """
    if jax.process_count() == 1:
        return
    marker = directory / ".shared_directory_check"
    number = int(multihost_utils.broadcast_one_to_all(np.random.default_rng().integers(2**31, dtype=np.int32)))
    if jax.process_index() == 0:
        marker.write_text(str(number))
    multihost_utils.sync_global_devices("written")
    found = marker.exists() and marker.read_text() == str(number)
    missing = np.flatnonzero(~multihost_utils.process_allgather(np.array(found)))
    if jax.process_index() == 0:
        marker.unlink()
    if missing.size:
        raise ValueError(
            f"the workdir {directory} is not the same directory for all {jax.process_count()} processes: "
            f"process {', '.join(map(str, missing))} cannot see what process 0 writes there. Choose one on storage "
            "that all hosts mount (NFS, Filestore, a mounted bucket) with --workdir=DIRECTORY."
        )
