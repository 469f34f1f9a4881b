"""What a step takes on 16, 64 and 256 chips, and what limits it first: computed from the inputs below.

    python tests/benchmarks/scaling.py                             # the table of docs/scaling.md
    python tests/benchmarks/scaling.py --kind=gpu-h100 --utilisation=0.5 --record_mb=5.9 --read_ms=1.92
    python tests/benchmarks/scaling.py --write                     # puts the tables into docs/scaling.md

Nothing is measured here: every input is a flag with its unit, and --help says where its default comes from.
"""

import argparse
import dataclasses
import pathlib

from avlearn.devices import topology

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "scaling.md"
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
    """What the table is computed from; each field's metadata says where its default comes from."""

    kind: str = dataclasses.field(default="tpu-v5litepod", metadata={"help": "of chip, a key of topology.KINDS"})
    utilisation: float = dataclasses.field(
        default=0.3, metadata={"help": "share of the chip's published peak that a step reaches; ASSUMED"}
    )
    gflop_per_pair: float = dataclasses.field(
        default=29.5, metadata={"help": "of a training step, AVE-Net, counted by XLA (docs/scaling.md)"}
    )
    exchanged_mib: float = dataclasses.field(
        default=36.4, metadata={"help": "all-reduced each step, AVE-Net: --mode=dry_run --topology=..."}
    )
    pairs_per_chip: int = dataclasses.field(
        default=128, metadata={"help": "a worker's batch (OtS 3.3), a worker a chip"}
    )
    pairs_per_step: int = dataclasses.field(
        default=0, metadata={"help": "of all chips together, divided among them; 0: pairs_per_chip on each"}
    )
    decode_ms: float = dataclasses.field(
        default=0.28, metadata={"help": "of one core a pair: decode and crop at 256 pixels, sound, batches, measured"}
    )
    read_ms: float = dataclasses.field(
        default=0.87, metadata={"help": "of one core a record beyond that: read and parse 10 s at 5 frames/s, measured"}
    )
    record_mb: float = dataclasses.field(
        default=2.0, metadata={"help": "of 10 s at 5 frames/s and 256 pixels, measured"}
    )
    samples_per_clip: int = dataclasses.field(
        default=1, metadata={"help": "pairs drawn from one read (data.samples_per_clip)"}
    )
    cores_per_chip: int = dataclasses.field(
        default=28, metadata={"help": "of the machines: 112 to 4 chips of ct5lp-hightpu-4t, published"}
    )
    storage_gb_per_s: float = dataclasses.field(
        default=25.0, metadata={"help": "that the store of records delivers to all machines together; ASSUMED"}
    )
    clips: int = dataclasses.field(default=2_000_000, metadata={"help": "of the whole of AudioSet, about"})


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a number of chips takes for one step, seconds, and the rates that follow."""

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
        """Compute, then exchange; input is made ready meanwhile, and holds the step up where it takes longer."""
        return max(self.compute + self.exchange, self.decode, self.read)

    @property
    def limit(self) -> str:
        """What takes longest."""
        if self.step == self.compute + self.exchange:
            return "compute" if self.compute >= self.exchange else "exchange"
        return "decode (cores)" if self.step == self.decode else "read (storage)"


def plan(inputs: Inputs, chips: int) -> Plan:
    """One row of the table; cores and bytes are those that keep the chips busy."""
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
    """Minutes, or hours from two on."""
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table(inputs: Inputs) -> str:
    """The table in markdown, a row for each number of chips."""
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
    """Size of all clips by how they are stored: MB a record of 10 s at 256 pixels, measured."""
    clips = Inputs.clips
    lines = ["| stored | MB a clip | all of AudioSet |", "|---|---|---|"]
    for stored, megabytes in (("25 frames/s", 5.9), ("5 frames/s", 2.0), ("1 frame/s", 1.2)):
        lines.append(f"| {stored} | {megabytes} | {megabytes * clips / 1e6:.1f} TB |")
    return "\n".join(lines) + "\n"


# The tables of the page by the name in its markers, and what each changes.
VARIANTS = {
    "weak": Inputs(),
    "samples_per_clip": Inputs(samples_per_clip=8),
    "strong": Inputs(pairs_per_step=2048, samples_per_clip=8),
    "gpu": Inputs(kind="gpu-h100", cores_per_chip=26, samples_per_clip=8),
}


def page(text: str) -> str:
    """The text of docs/scaling.md with its tables computed anew."""
    tables = {name: table(inputs) for name, inputs in VARIANTS.items()} | {"storage": storage_table()}
    for name, content in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition("<!-- end -->\n")
        text = f"{before}<!-- {name} -->\n{content}<!-- end -->\n{after}"
    return text


def main() -> None:
    """Prints a table, or writes those of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Inputs):
        text = f"{field.metadata['help']}; default: {field.default}"
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default, help=text)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/scaling.md")
    options = vars(parser.parse_args())
    if options.pop("write"):
        PAGE.write_text(page(PAGE.read_text()))
    else:
        print(table(Inputs(**options)), end="")


if __name__ == "__main__":
    main()
