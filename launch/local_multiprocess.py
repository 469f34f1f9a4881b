#!/usr/bin/env python3
"""Rehearses a pod on one machine: starts several processes that find each other on localhost and train as one.

    python launch/local_multiprocess.py --processes=2 --devices=4 -- --config=configs/avenet.py:miniature ...

Flags of avlearn.main follow after `--`. Each process has `--devices` fake CPU devices or, with `--gpus`, that many of
the machine's GPUs. Each output line is prefixed with the number of its process. When a process fails, the others are
terminated, and the command exits with the failed one's exit code. Ctrl-C and SIGTERM are forwarded to all processes.
"""

import argparse
import collections
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).parents[1]
LAST_LINES = 15  # lines of the failed process that are shown again at the end
# Messages of the CPU's collectives about each group of devices; they arrive in fragments, since several threads write.
GLOO = re.compile(
    r"(\[Gloo\] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : |\d|\s)*"
)
GRACE_SECONDS = 5  # time for the other processes to exit with their own messages before they are killed


def free_port() -> int:
    """Find a free port of localhost."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def environment(process: int, arguments: argparse.Namespace, port: int) -> dict[str, str]:
    """Return the environment of a process, with its number and its devices."""
    settings = {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(arguments.processes),
        "JAX_PROCESS_ID": str(process),
    }
    if arguments.gpus:
        first = process * arguments.devices
        settings["CUDA_VISIBLE_DEVICES"] = ",".join(str(first + number) for number in range(arguments.devices))
        settings["JAX_PLATFORMS"] = "cuda,cpu"  # fail if the GPUs do not start; by default JAX would use the CPU
    else:
        settings |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(arguments.devices)}
    return {**os.environ, **settings, "PYTHONUNBUFFERED": "1"}


class Process:
    """One process of the run, whose output lines are printed as they come.

    Args:
      number: number of the process.
      command: command that it runs.
      environment: environment variables.
    """

    def __init__(self, number: int, command: list[str], environment: dict[str, str]):
        self.number = number
        self.last_lines: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._popen = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that Ctrl-C reaches it only once, forwarded by this program
        )
        self._printer = threading.Thread(target=self._print_lines, daemon=True)
        self._printer.start()
        self.pid = self._popen.pid

    def _print_lines(self) -> None:
        for line in self._popen.stdout:
            if GLOO.fullmatch(line):
                continue
            self.last_lines.append(line)
            sys.stdout.write(f"[{self.number}] {line}")
            sys.stdout.flush()

    def poll(self) -> int | None:
        """Return the exit code as a shell does (128 + signal), or None while the process runs."""
        code = self._popen.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send a signal if the process still runs."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)

    def end(self, deadline: float) -> None:
        """Wait until the deadline (of the monotonic clock), then kill; return when all output is printed."""
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._printer.join(timeout=5)


def watch(processes: list[Process]) -> int:
    """Wait for all processes; when one fails, end the others. Return the exit code of the command."""
    while True:
        codes = [process.poll() for process in processes]
        failed = next((number for number, code in enumerate(codes) if code not in (None, 0)), None)
        if failed is not None:
            end(processes)
            return report(processes[failed], codes[failed])
        if None not in codes:
            end(processes)
            return 0
        time.sleep(0.1)


def end(processes: list[Process]) -> None:
    """Kill the processes that still run after a grace period."""
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        process.end(deadline)


def report(process: Process, code: int) -> int:
    """Print which process failed first, and its last lines; return its exit code."""
    reason = f"by signal {signal.Signals(code - 128).name}" if code > 128 else f"with exit code {code}"
    print(f"\nProcess {process.number} ended first, {reason}. Its last lines:", file=sys.stderr)
    for line in process.last_lines:
        print(f"  {line.rstrip()}", file=sys.stderr)
    return code


def parse() -> argparse.Namespace:
    """Parse the command line; arguments after `--` are for the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--devices", type=int, default=1, help="devices of each process")
    parser.add_argument("--gpus", action="store_true", help="use GPUs instead of fake CPU devices")
    parser.add_argument("--module", default="avlearn.main", help="program to run; default: avlearn.main")
    parser.add_argument("flags", nargs="*", help="flags of the program, after --")
    arguments, unknown = parser.parse_known_args()
    if unknown:
        parser.error(f"{' '.join(unknown)}: flags of the program follow after --: ... -- --config=configs/avenet.py")
    for name in ("processes", "devices"):
        if (number := getattr(arguments, name)) < 1:
            parser.error(f"--{name}={number} is too few; use 1 or more")
    return arguments


def main() -> int:
    """Start the processes and wait for them."""
    arguments = parse()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a terminal or log may not show all that a process prints
    early: list[int] = []  # signals that arrive before all processes have started
    # A background shell ignores SIGINT, and the processes would inherit that, so it is handled here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: early.append(number))
    command = [sys.executable, "-m", arguments.module, *arguments.flags]
    port = free_port()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    processes = [
        Process(number, command, environment(number, arguments, port)) for number in range(arguments.processes)
    ]

    def forward(number: int, _) -> None:
        for process in processes:
            process.send(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    for number in early:
        forward(number, None)
    return watch(processes)


if __name__ == "__main__":
    sys.exit(main())
