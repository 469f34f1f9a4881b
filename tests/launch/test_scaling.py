"""docs/running/scaling.md holds what tests/benchmarks/scaling.py computes, which matches hand calculation."""

import dataclasses
import importlib.util
import re
import sys

import pytest

from tests.helpers.paths import ROOT

SPEC = importlib.util.spec_from_file_location("scaling", ROOT / "tests" / "benchmarks" / "scaling.py")
scaling = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = scaling
SPEC.loader.exec_module(scaling)


def test_page_matches_the_script():
    text = scaling.PAGE.read_text()
    assert text == scaling.page(text), "run: python tests/benchmarks/scaling.py --write"
    assert text.count("<!-- end -->") == len(scaling.VARIANTS) + 1
    assert len(re.findall(r"^\| (?:16|64|256) \|", text, re.MULTILINE)) == 3 * len(scaling.VARIANTS)


def test_page_states_the_inputs():
    text = scaling.PAGE.read_text()
    inputs = scaling.Inputs()
    for stated in (
        f"{inputs.gflop_per_pair} GFLOP a pair",
        f"{inputs.exchanged_mib} MiB",
        f"{inputs.decode_ms} ms of one core a pair",
        f"{inputs.read_ms} ms of one core a record",
        f"| {inputs.record_mb} MB |",
        f"**{inputs.utilisation}**",
        f"{inputs.storage_gb_per_s:.0f} GB/s",
        f"{inputs.clips:,}",
    ):
        assert stated in text, stated


def test_a_row_by_hand():
    """16 chips of 100 TFLOP/s at half utilisation: 10 pairs of 5 GFLOP take 1 ms on each."""
    inputs = scaling.Inputs(
        kind="gpu-h100",
        utilisation=0.5e14 / 989e12,
        gflop_per_pair=5.0,
        exchanged_mib=1000.0,
        pairs_per_chip=10,
        decode_ms=1.0,
        read_ms=4.0,
        record_mb=2.0,
        samples_per_clip=2,
        cores_per_chip=20,
        storage_gb_per_s=10.0,
        clips=1600,
    )
    row = scaling.plan(inputs, 16)
    assert row.pairs == 160
    assert row.compute == pytest.approx(1e-3)
    # 2 x 15/16 of 1000 MiB at 400 GB/s; 160 pairs of 1 + 4/2 ms on 320 cores; 160 MB at 10 GB/s.
    assert row.exchange == pytest.approx(1.875 * 1000 * 2**20 / 400e9)
    assert row.decode == pytest.approx(160 * 3e-3 / 320)
    assert row.read == pytest.approx(0.016)
    assert (row.step, row.limit) == (row.read, "read (storage)")
    # 1600 clips give 3200 pairs: 20 steps.
    assert row.epoch == pytest.approx(20 * 0.016)
    assert row.cores == pytest.approx(0.48 / (row.compute + row.exchange))


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({"storage_gb_per_s": 1e6}, "compute"),
        ({"storage_gb_per_s": 1e6, "cores_per_chip": 1}, "decode (cores)"),
        ({"storage_gb_per_s": 1e6, "exchanged_mib": 1e5}, "exchange"),
        ({}, "read (storage)"),
    ],
)
def test_the_limit_is_what_takes_longest(change, limit):
    assert scaling.plan(dataclasses.replace(scaling.Inputs(), **change), 64).limit == limit
