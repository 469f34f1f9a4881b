"""A machine that is not at hand, by its name: its devices, and what exchanging gradients among them takes.

A TPU's name is that of its accelerator type: `tpu-v4-32` has 32 cores, two to a chip. `gpu-h100-16` has 16 GPUs. `32`
is 32 devices of no kind: what each holds is known then, how long an exchange takes is not.
"""

import dataclasses
import re

FORMS = "tpu-v4-32, tpu-v5litepod-16, gpu-h100-16 (kinds: {}), or a number of devices alone, such as 32"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of device, as JAX counts devices, by its maker's published figures.

    Attributes:
      title: what one device is.
      number_counts: what one device adds to the number in a topology's name: 2 where the name counts the two cores of a
        chip that JAX sees as one device, else 1.
      memory_bytes: its memory.
      flops: peak operations a second in bfloat16.
      link_bytes: bytes a second that it sends to others of its machine or slice, one direction, all its links together.
      host_devices: devices of one machine.
      between_hosts_bytes: bytes a second that a machine sends to others, one direction; None where devices of several
        machines are linked as those of one (TPU).
    """

    title: str
    number_counts: int
    memory_bytes: float
    flops: float
    link_bytes: float
    host_devices: int
    between_hosts_bytes: float | None = None


# TPU: https://cloud.google.com/tpu/docs/v3 ... /v6e, links of v3 and v4 from Jouppi et al., TPU v4, ISCA 2023, table 4
# (4 of 70 GB/s and 6 of 50 GB/s a chip); half of what the pages call bidirectional. GPU: NVIDIA's data sheets, without
# sparsity; NVLink one way, and the network cards of DGX machines (8 of 200 Gb/s, 8 of 400 Gb/s).
GB, GIB = 1e9, 2.0**30
KINDS = {
    "tpu-v3": Kind("core of TPU v3", 1, 16 * GIB, 61.5e12, 140 * GB, 8),
    "tpu-v4": Kind("chip of TPU v4", 2, 32 * GIB, 275e12, 300 * GB, 4),
    "tpu-v5litepod": Kind("chip of TPU v5e", 1, 16 * GIB, 197e12, 200 * GB, 4),
    "tpu-v5p": Kind("chip of TPU v5p", 2, 95 * GIB, 459e12, 600 * GB, 4),
    "tpu-v6e": Kind("chip of TPU v6e", 1, 32 * GIB, 918e12, 400 * GB, 4),
    "gpu-a100": Kind("A100 80 GB (SXM)", 1, 80 * GB, 312e12, 300 * GB, 8, 200 * GB),
    "gpu-h100": Kind("H100 80 GB (SXM)", 1, 80 * GB, 989e12, 450 * GB, 8, 400 * GB),
    "gpu-h200": Kind("H200 141 GB (SXM)", 1, 141 * GB, 989e12, 450 * GB, 8, 400 * GB),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices and their kind; None where only their number is known."""

    name: str
    devices: int
    kind: Kind | None

    @property
    def hosts(self) -> int:
        """Machines, of a known kind."""
        return -(-self.devices // self.kind.host_devices)

    @property
    def ring_bytes(self) -> float:
        """Bytes a second that each device sends at best when all add up what they hold, of a known kind.

        With all its links in use, as in rings. Where an exchange leaves a machine, its network cards carry what its
        devices send each other inside: the slower of the two counts. (The pairs of `parallel.sum_over_devices` need
        less of the cards than a ring. On a TPU's torus they may use one link in four or six.)
        """
        if self.kind.between_hosts_bytes is None or self.hosts == 1:
            return self.kind.link_bytes
        return min(self.kind.link_bytes, self.kind.between_hosts_bytes)


def parse(name: str) -> Topology:
    """The topology of a name.

    Raises:
      ValueError: no such kind, or a number that is no number of its devices.
    """
    kind_name, _, number = name.rpartition("-")
    forms = FORMS.format(", ".join(KINDS))
    if not re.fullmatch(r"[1-9]\d*", number) or (kind_name and kind_name not in KINDS):
        raise ValueError(f"--topology={name} is unknown; use {forms}.")
    if not kind_name:
        return Topology(name, int(number), None)
    kind = KINDS[kind_name]
    if int(number) % kind.number_counts:
        raise ValueError(f"--topology={name}: the number counts cores, {kind.number_counts} to a chip; use {forms}.")
    return Topology(name, int(number) // kind.number_counts, kind)


def workers_per_device(topology: Topology, num_workers: int) -> int:
    """Workers that each device carries in turn.

    Raises:
      ValueError: the devices do not divide the workers.
    """
    if num_workers % topology.devices:
        fitting = ", ".join(str(count) for count in range(1, num_workers + 1) if num_workers % count == 0)
        raise ValueError(
            f"the {topology.devices} devices of --topology={topology.name} cannot share {num_workers} workers evenly. "
            f"{num_workers} workers run on {fitting} devices; or choose --config.train.num_workers as a multiple of "
            f"{topology.devices}, and --config.train.batch_per_worker so that their product stays."
        )
    return num_workers // topology.devices


def ring_share(devices: int) -> float:
    """Bytes that each device sends in an all-reduce, as a multiple of what is reduced: every part goes round twice."""
    return 2 * (devices - 1) / devices


@dataclasses.dataclass(frozen=True)
class Load:
    """What one device holds and exchanges, bytes.

    Attributes:
      pairs: of its workers together.
      workers: that it carries.
      inputs: a batch of all its workers.
      parameters, statistics, optimizer: of the state.
      temporary: activations and gradients of the compiled step.
      compiled_for: the kind of device that the step was compiled for.
      exchanged: what is reduced over all devices each step.
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


def describe(topology: Topology, load: Load) -> str:
    """Text of what each device of a topology holds and exchanges, and which figure comes from where."""
    kind = topology.kind
    made_of = "devices of no kind" if kind is None else f"x {kind.title}, {topology.hosts} machine(s)"
    rows = [
        ("a batch of input", load.inputs, "computed"),
        ("parameters", load.parameters, "computed"),
        ("running statistics", load.statistics, "computed"),
        ("optimizer state", load.optimizer, "computed"),
        ("activations and gradients", load.temporary, f"measured: the step compiled for {load.compiled_for}"),
    ]
    total = sum(size for _, size, _ in rows)
    rows.append(
        ("in all", total, "" if kind is None else f"of {kind.memory_bytes / 2**20:,.0f} MiB{_fits(kind, total)}")
    )
    sent = ring_share(topology.devices) * load.exchanged
    lines = [
        f"Topology {topology.name}: {topology.devices} {made_of}",
        f"Each device carries {load.workers} worker(s), {load.pairs} pairs a step, and holds, MiB:",
        *(f"  {name:<26}{size / 2**20:>9,.1f}  {source}".rstrip() for name, size, source in rows),
        f"All devices add up each step (gradients, running statistics and metrics in float32, computed): "
        f"{load.exchanged / 2**20:,.1f} MiB",
        f"For that each device sends {sent / 2**20:,.1f} MiB a step" + _time(topology, sent),
    ]
    return "\n".join(lines)


def _fits(kind: Kind, total: int) -> str:
    if total <= kind.memory_bytes:
        return ""
    return ": does not fit; a smaller --config.train.batch_per_worker with more workers does"


def _time(topology: Topology, sent: float) -> str:
    if topology.kind is None:
        return "; how long that takes depends on their kind"
    return (
        f": at best {1e3 * sent / topology.ring_bytes:.2f} ms at the published {topology.ring_bytes / 1e9:.0f} GB/s "
        "(computed; all links in use, no latency)"
    )
