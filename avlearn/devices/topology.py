"""Describes a machine from its name, without access to it: memory of its devices, and time to exchange gradients.

A TPU is named by its accelerator type: `tpu-v4-32` has 32 cores, two per chip. `gpu-h100-16` has 16 GPUs. `32` is 32
devices of an unknown kind, for which the memory is computed and the time is not.
"""

import dataclasses
import re

FORMS = "tpu-v4-32, tpu-v5litepod-16, gpu-h100-16 (kinds: {}), or a number of devices alone, such as 32"


@dataclasses.dataclass(frozen=True)
class DeviceKind:
    """A kind of device, as JAX counts devices, with its manufacturer's published specifications.

    Attributes:
      title: name of one device.
      cores_per_device: 2 if the number in a topology's name counts the two cores of a chip, else 1.
      memory_bytes: memory of a device.
      flops: peak operations per second in bfloat16.
      link_bytes: bytes per second that a device sends within its machine or slice, one direction, all links together.
      host_devices: devices of one machine.
      between_hosts_bytes: bytes per second that a machine sends to others, one direction; None if devices of different
        machines are linked like those of one (TPU).
    """

    title: str
    cores_per_device: int
    memory_bytes: float
    flops: float
    link_bytes: float
    host_devices: int
    between_hosts_bytes: float | None = None


# TPU: https://cloud.google.com/tpu/docs/v3 to /v6e; links of v3 and v4 from Jouppi et al., TPU v4, ISCA 2023, table 4
# (4 x 70 GB/s and 6 x 50 GB/s per chip); one direction, half of the bidirectional figures. GPU: NVIDIA's data sheets,
# without sparsity; NVLink in one direction, and the network cards of DGX machines (8 x 200 Gb/s, 8 x 400 Gb/s).
GB, GIB = 1e9, 2.0**30
KINDS = {
    "tpu-v3": DeviceKind("core of TPU v3", 1, 16 * GIB, 61.5e12, 140 * GB, 8),
    "tpu-v4": DeviceKind("chip of TPU v4", 2, 32 * GIB, 275e12, 300 * GB, 4),
    "tpu-v5litepod": DeviceKind("chip of TPU v5e", 1, 16 * GIB, 197e12, 200 * GB, 4),
    "tpu-v5p": DeviceKind("chip of TPU v5p", 2, 95 * GIB, 459e12, 600 * GB, 4),
    "tpu-v6e": DeviceKind("chip of TPU v6e", 1, 32 * GIB, 918e12, 400 * GB, 4),
    "gpu-a100": DeviceKind("A100 80 GB (SXM)", 1, 80 * GB, 312e12, 300 * GB, 8, 200 * GB),
    "gpu-h100": DeviceKind("H100 80 GB (SXM)", 1, 80 * GB, 989e12, 450 * GB, 8, 400 * GB),
    "gpu-h200": DeviceKind("H200 141 GB (SXM)", 1, 141 * GB, 989e12, 450 * GB, 8, 400 * GB),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A number of devices and their kind, which may be unknown (None)."""

    name: str
    devices: int
    kind: DeviceKind | None

    @property
    def hosts(self) -> int:
        """Number of machines; the kind must be known."""
        return -(-self.devices // self._known_kind.host_devices)

    @property
    def ring_bytes(self) -> float:
        """Bytes per second that each device sends at best in an all-reduce; the kind must be known.

        This assumes that all links are in use, as in rings. Between machines, links or network cards set the limit,
        whichever are slower. (The pairs in `reduction.sum_over_devices` use the network cards less than a ring does; on
        a TPU's torus they may use only one link in four or six.)
        """
        kind = self._known_kind
        if kind.between_hosts_bytes is None or self.hosts == 1:
            return kind.link_bytes
        return min(kind.link_bytes, kind.between_hosts_bytes)

    @property
    def _known_kind(self) -> DeviceKind:
        if self.kind is None:
            raise ValueError(f"--topology={self.name}: the kind of device is unknown")
        return self.kind


def parse(name: str) -> Topology:
    """Parse the name of a topology.

    Raises:
      ValueError: the kind is unknown, or the number does not fit it.
    """
    kind_name, _, number = name.rpartition("-")
    forms = FORMS.format(", ".join(KINDS))
    if not re.fullmatch(r"[1-9]\d*", number) or (kind_name and kind_name not in KINDS):
        raise ValueError(f"--topology={name} is unknown; use {forms}.")
    if not kind_name:
        return Topology(name, int(number), None)
    kind = KINDS[kind_name]
    if int(number) % kind.cores_per_device:
        raise ValueError(f"--topology={name}: the number counts cores, {kind.cores_per_device} per chip; use {forms}.")
    return Topology(name, int(number) // kind.cores_per_device, kind)


def workers_per_device(topology: Topology, num_workers: int) -> int:
    """Return the number of workers that each device runs.

    Raises:
      ValueError: the number of devices does not divide the number of workers.
    """
    if num_workers % topology.devices:
        fitting = ", ".join(str(count) for count in range(1, num_workers + 1) if num_workers % count == 0)
        raise ValueError(
            f"the {topology.devices} devices of --topology={topology.name} cannot share {num_workers} workers evenly. "
            f"{num_workers} workers run on {fitting} devices; or choose --config.train.num_workers as a multiple of "
            f"{topology.devices}, and --config.train.batch_per_worker so that their product stays the same."
        )
    return num_workers // topology.devices


def ring_share(devices: int) -> float:
    """Return the bytes that each device sends in an all-reduce, relative to the size of the reduced data."""
    return 2 * (devices - 1) / devices


@dataclasses.dataclass(frozen=True)
class DeviceLoad:
    """The load of one device: the data that it holds and exchanges; sizes are in bytes.

    Attributes:
      pairs: pairs of all its workers.
      workers: workers that it runs.
      inputs: size of a batch of all its workers.
      parameters, statistics, optimizer: sizes of the parts of the state.
      temporary: size of activations and gradients of the compiled step.
      compiled_for: kind of device that the step was compiled for.
      exchanged: size of the data that is reduced over all devices each step.
    """

    pairs: int
    workers: int
    inputs: int
    parameters: int
    statistics: int
    optimizer: int
    temporary: int
    compiled_for: str
    exchanged: int


def describe(topology: Topology, load: DeviceLoad) -> str:
    """Describe what each device of a topology holds and exchanges, and where each number comes from."""
    kind = topology.kind
    devices = "devices of an unknown kind" if kind is None else f"x {kind.title}, {topology.hosts} machine(s)"
    rows = [
        ("a batch of input", load.inputs, "computed"),
        ("parameters", load.parameters, "computed"),
        ("running statistics", load.statistics, "computed"),
        ("optimizer state", load.optimizer, "computed"),
        ("activations and gradients", load.temporary, f"measured: the step compiled for {load.compiled_for}"),
    ]
    total = sum(size for _, size, _ in rows)
    rows.append(
        ("total", total, "" if kind is None else f"of {kind.memory_bytes / 2**20:,.0f} MiB{_fits(kind, total)}")
    )
    sent = ring_share(topology.devices) * load.exchanged
    lines = [
        f"Topology {topology.name}: {topology.devices} {devices}",
        f"Each device runs {load.workers} worker(s), {load.pairs} pairs a step, and holds, MiB:",
        *(f"  {name:<26}{size / 2**20:>9,.1f}  {source}".rstrip() for name, size, source in rows),
        f"All devices sum each step (gradients, running statistics and metrics in float32, computed): "
        f"{load.exchanged / 2**20:,.1f} MiB",
        f"To do so, each device sends {sent / 2**20:,.1f} MiB a step" + _time(topology, sent),
    ]
    return "\n".join(lines)


def _fits(kind: DeviceKind, total: int) -> str:
    if total <= kind.memory_bytes:
        return ""
    return ": does not fit; use a smaller --config.train.batch_per_worker with more workers"


def _time(topology: Topology, sent: float) -> str:
    if topology.kind is None:
        return "; the time depends on their kind"
    return (
        f": at best {1e3 * sent / topology.ring_bytes:.2f} ms at the published {topology.ring_bytes / 1e9:.0f} GB/s "
        "(computed; all links in use, no latency)"
    )
