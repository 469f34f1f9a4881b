"""The same run on 1 to 8 devices and 1 to 4 processes: `python -m tests.benchmarks.topology --data_dir=DATA`.

The dataset synthetic_av/tiny must exist in DATA. AVE-Net and LVS train for 50 steps in float32 with the papers'
learning rate. The first column is the norm of the parameters' difference from those on one device, relative to their
norm; the second is the largest difference of an evaluation metric. Batches must be the same to the bit.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import numpy as np

from avlearn.devices import environment
from tests.helpers import tiny_run

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 1e-5
FLAG = "--xla_backend_optimization_level=1"  # compiles several times faster


def on_processes(
    name: str, data_dir: pathlib.Path, workdir: pathlib.Path, steps: int, devices: int, processes: int
) -> None:
    command = ["launch/local_multiprocess.py", f"--processes={processes}", f"--devices={devices // processes}"]
    command += ["--module=tests.helpers.tiny_run", "--", str(data_dir), str(workdir), name, str(steps)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def largest_difference_of_metrics(workdir: pathlib.Path, other: pathlib.Path) -> float:
    here, there = (jax.tree.leaves(json.loads((path / "results.json").read_text())) for path in (workdir, other))
    assert [value for value in here if not isinstance(value, float)] == [
        value for value in there if not isinstance(value, float)
    ]
    return max(abs(a - b) for a, b in zip(here, there, strict=True) if isinstance(a, float))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    # As in the processes, set XLA_FLAGS (added to avlearn's) and PJRT_NPROC before JAX initialises its devices.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}"
    environment.set_thread_count(tiny_run.WORKERS)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    directory, steps = pathlib.Path(tempfile.mkdtemp(prefix="topology")), arguments.steps
    worst = 0.0
    print("network  where                     parameters  metrics", flush=True)
    for name in tiny_run.CONFIGS:
        first = directory / f"{name}1"
        for count in (1, 2, 4, 8):
            tiny_run.run(name, arguments.data_dir, directory / f"{name}{count}", steps, devices=jax.devices()[:count])
        settings = {f"{devices} devices, this process": f"{name}{devices}" for devices in (2, 4, 8)}
        for devices, processes in ((1, 1), (8, 2), (8, 4)):
            setting = f"{devices} devices, {processes} processes"
            settings[setting] = f"{name}{devices}_{processes}"
            on_processes(name, arguments.data_dir, directory / settings[setting], steps, devices, processes)
        for setting, folder in settings.items():
            other = directory / folder
            assert tiny_run.batches_of(other) == tiny_run.batches_of(first), f"{name}: different batches with {setting}"
            difference = tiny_run.difference(
                *(tiny_run.params_of(path, name, arguments.data_dir) for path in (other, first))
            )
            metrics = largest_difference_of_metrics(other, first)
            print(f"{name:<7}  {setting:<24}  {difference:.1e}     {metrics:.1e}", flush=True)
            worst = np.maximum(worst, difference)
    if worst > LIMIT:
        sys.exit(f"the largest difference, {worst:.1e}, exceeds {LIMIT:.0e}")


if __name__ == "__main__":
    main()
