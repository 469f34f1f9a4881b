"""Every shell script passes shellcheck."""

import pathlib
import subprocess

LAUNCH = pathlib.Path(__file__).parents[1] / "launch"


def test_shellcheck_finds_nothing():
    scripts = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
    assert len(scripts) >= 7
    result = subprocess.run(["shellcheck", "--severity=warning", *scripts], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
