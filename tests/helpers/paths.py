"""Folders that tests read."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"  # official annotation files and real clips; tests skip where it is absent
GOLDEN = ROOT / "tests" / "golden"
