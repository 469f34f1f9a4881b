"""The time of a step on 16, 64 and 256 chips and its limit, computed from the inputs below.

    python tests/benchmarks/scaling.py                             # the table of docs/running/scaling.md
    python tests/benchmarks/scaling.py --kind=gpu-h100 --utilisation=0.5 --record_mb=5.9 --read_ms=1.92
    python tests/benchmarks/scaling.py --write                     # writes the tables into docs/running/scaling.md

Nothing is measured here: every input is a flag with its unit, and --help gives the source of its default.
"""

import argparse
import dataclasses
import pathlib

from avlearn.devices import topology

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "running" / "scaling.md"
CHIPS = (16, 64, 256)
COLUMNS = (
    "chips",
    "pairs a step",
    "compute, ms",
    "exchange, ms",
    "decode, ms",
    "read, ms",
    "step, ms",
    "pairs/s",
    "cores needed (there are)",
    "read, GB/s",
    "epoch",
    "the limit",
)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The inputs of the table; each field's metadata gives the source of its default."""

    kind: str = dataclasses.field(default="tpu-v5litepod", metadata={"help": "kind of chip, a key of topology.KINDS"})
    utilisation: float = dataclasses.field(
        default=0.3, metadata={"help": "share of the chip's published peak that a step reaches; ASSUMED"}
    )
    gflop_per_pair: float = dataclasses.field(
        default=29.5,
        metadata={"help": "GFLOP of a training step for each pair, AVE-Net, counted by XLA (docs/running/scaling.md)"},
    )
    exchanged_mib: float = dataclasses.field(
        default=36.4, metadata={"help": "MiB all-reduced in each step, AVE-Net: --mode=dry_run --topology=..."}
    )
    pairs_per_chip: int = dataclasses.field(
        default=128, metadata={"help": "a worker's batch (OtS 3.3), a worker a chip"}
    )
    pairs_per_step: int = dataclasses.field(
        default=0, metadata={"help": "pairs of all chips together; 0: pairs_per_chip on each"}
    )
    decode_ms: float = dataclasses.field(
        default=0.28,
        metadata={"help": "ms of one core for each pair: decode and crop at 256 pixels, audio, batching; measured"},
    )
    read_ms: float = dataclasses.field(
        default=0.87,
        metadata={"help": "further ms of one core for each record: read and parse 10 s at 5 frames/s; measured"},
    )
    record_mb: float = dataclasses.field(
        default=2.0, metadata={"help": "MB of a record of 10 s at 5 frames/s and 256 pixels; measured"}
    )
    samples_per_clip: int = dataclasses.field(
        default=1, metadata={"help": "pairs drawn from each read (data.samples_per_clip)"}
    )
    cores_per_chip: int = dataclasses.field(
        default=28, metadata={"help": "CPU cores: 112 for 4 chips of ct5lp-hightpu-4t; published"}
    )
    storage_gb_per_s: float = dataclasses.field(
        default=25.0, metadata={"help": "read rate of the storage for all machines together; ASSUMED"}
    )
    clips: int = dataclasses.field(default=2_000_000, metadata={"help": "clips of the full AudioSet, approximately"})


@dataclasses.dataclass(frozen=True)
class Plan:
    """The seconds that one step takes on a number of chips, and the resulting rates."""

    chips: int
    pairs: int
    compute: float
    exchange: float
    decode: float
    read: float
    cores: float
    cores_there: int
    read_bytes: float
    epoch: float

    @property
    def step(self) -> float:
        """Return the seconds of a step: compute, then exchange, or the concurrent input if it takes longer."""
        return max(self.compute + self.exchange, self.decode, self.read)

    @property
    def limit(self) -> str:
        """Return the name of the part that takes longest."""
        if self.step == self.compute + self.exchange:
            return "compute" if self.compute >= self.exchange else "exchange"
        return "decode (cores)" if self.step == self.decode else "read (storage)"


def plan(inputs: Inputs, chips: int) -> Plan:
    """Compute one row of the table; cores and bytes are those that keep the chips busy."""
    kind = topology.KINDS[inputs.kind]
    machine = topology.parse(f"{inputs.kind}-{chips * kind.cores_per_device}")
    pairs = inputs.pairs_per_step or inputs.pairs_per_chip * chips
    compute = pairs / chips * inputs.gflop_per_pair * 1e9 / (kind.flops * inputs.utilisation)
    exchange = topology.ring_share(chips) * inputs.exchanged_mib * 2**20 / machine.ring_bytes
    core_seconds = pairs * (inputs.decode_ms + inputs.read_ms / inputs.samples_per_clip) / 1e3
    read = pairs * inputs.record_mb * 1e6 / inputs.samples_per_clip
    busy = compute + exchange
    there = inputs.cores_per_chip * chips
    row = Plan(
        chips,
        pairs,
        compute,
        exchange,
        core_seconds / there,
        read / (inputs.storage_gb_per_s * 1e9),
        cores=core_seconds / busy,
        cores_there=there,
        read_bytes=read / busy,
        epoch=0.0,
    )
    return dataclasses.replace(row, epoch=inputs.clips * inputs.samples_per_clip / pairs * row.step)


def duration(seconds: float) -> str:
    """Format seconds as minutes, or from two hours on as hours."""
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table(inputs: Inputs) -> str:
    """Return the table in Markdown, a row for each number of chips."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for chips in CHIPS:
        row = plan(inputs, chips)
        times = [f"{1e3 * t:.2f}" for t in (row.compute, row.exchange, row.decode, row.read, row.step)]
        cores = f"{row.cores:.0f} ({row.cores_there})"
        rows.append(
            [
                *(str(chips), str(row.pairs), *times, f"{row.pairs / row.step:,.0f}", cores),
                *(f"{row.read_bytes / 1e9:.1f}", duration(row.epoch), row.limit),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def storage_table() -> str:
    """Return the table of dataset sizes by frame rate, from measured sizes of records of 10 s at 256 pixels."""
    clips = Inputs.clips
    lines = ["| stored | MB a clip | all of AudioSet |", "|---|---|---|"]
    for stored, megabytes in (("25 frames/s", 5.9), ("5 frames/s", 2.0), ("1 frame/s", 1.2)):
        lines.append(f"| {stored} | {megabytes} | {megabytes * clips / 1e6:.1f} TB |")
    return "\n".join(lines) + "\n"


# The tables of the page: name in its markers, and inputs.
VARIANTS = {
    "weak": Inputs(),
    "samples_per_clip": Inputs(samples_per_clip=8),
    "strong": Inputs(pairs_per_step=2048, samples_per_clip=8),
    "gpu": Inputs(kind="gpu-h100", cores_per_chip=26, samples_per_clip=8),
}


def page(text: str) -> str:
    """Return the text of docs/running/scaling.md with recomputed tables."""
    tables = {name: table(inputs) for name, inputs in VARIANTS.items()} | {"storage": storage_table()}
    for name, content in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition("<!-- end -->\n")
        text = f"{before}<!-- {name} -->\n{content}<!-- end -->\n{after}"
    return text


def main() -> None:
    """Print a table, or write the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Inputs):
        text = f"{field.metadata['help']}; default: {field.default}"
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default, help=text)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/running/scaling.md")
    options = vars(parser.parse_args())
    if options.pop("write"):
        PAGE.write_text(page(PAGE.read_text()))
    else:
        print(table(Inputs(**options)), end="")


if __name__ == "__main__":
    main()
