"""Shell scripts pass shellcheck, and allocator.sh chooses the right allocator."""

import subprocess

from tests.helpers.paths import ROOT

LAUNCH = ROOT / "launch"


def test_shellcheck_finds_nothing():
    scripts = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
    assert len(scripts) >= 7
    result = subprocess.run(["shellcheck", "--severity=warning", *scripts], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_allocator_is_preloaded_once_and_first(tmp_path):
    """A fake `find` reports the library as present, then as missing."""
    find = tmp_path / "find"
    script = "source launch/allocator.sh; source launch/allocator.sh; /usr/bin/env"
    for found in ("/usr/lib/libtcmalloc_minimal.so.4", ""):
        find.write_text(f"#!/bin/sh\necho {found}\n")
        find.chmod(0o755)
        given = {"PATH": str(tmp_path), "LD_PRELOAD": "libc.so.6"}
        command = ["/bin/bash", "-c", script]
        printed = subprocess.run(command, cwd=LAUNCH.parent, env=given, stdout=subprocess.PIPE, text=True).stdout
        after = dict(line.split("=", 1) for line in printed.splitlines())
        assert after["LD_PRELOAD"] == ("libtcmalloc_minimal.so.4:libc.so.6" if found else "libc.so.6")
        assert ("TCMALLOC_RELEASE_RATE" in after, "MALLOC_TOP_PAD_" in after) == (bool(found), not found)
