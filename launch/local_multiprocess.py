#!/usr/bin/env python3
"""Rehearses a pod on one machine: several processes that find each other on localhost and train as one.

    python launch/local_multiprocess.py --processes=2 --devices=4 -- --config=configs/avenet.py:miniature ...

What follows `--` are the flags of avlearn.main. On a CPU each process has `--devices` fake devices; with `--gpus` it
has as many of the machine's GPUs. Lines are prefixed by their process. The first process that fails ends the others,
and its exit code is that of the command; Ctrl-C and SIGTERM go to all of them.
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
LAST_LINES = 15  # of the process that failed, shown again at the end
# What the CPU's collectives write for each group of devices, from several threads at once: pieces, in any order.
GLOO = re.compile(
    r"(\[Gloo\] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : |\d|\s)*"
)
GRACE_SECONDS = 5  # that the others have to leave by themselves, for the same reason, before they are ended


def free_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def environment(process: int, arguments: argparse.Namespace, port: int) -> dict[str, str]:
    """What tells a process its place, and its devices."""
    place = {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(arguments.processes),
        "JAX_PROCESS_ID": str(process),
    }
    if arguments.gpus:
        first = process * arguments.devices
        place["CUDA_VISIBLE_DEVICES"] = ",".join(str(first + number) for number in range(arguments.devices))
        place["JAX_PLATFORMS"] = "cuda,cpu"  # GPUs that do not start are an error; JAX alone would take the CPU
    else:
        place |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(arguments.devices)}
    return {**os.environ, **place, "PYTHONUNBUFFERED": "1"}


class Process:
    """One process of the run; its lines are passed on as they come.

    Args:
      number: its place.
      command: what it runs.
      environment: its environment variables.
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
            start_new_session=True,  # Ctrl-C comes from here, once
        )
        self._pump = threading.Thread(target=self._pass_on, daemon=True)
        self._pump.start()
        self.pid = self._popen.pid

    def _pass_on(self) -> None:
        for line in self._popen.stdout:
            if GLOO.fullmatch(line):
                continue
            self.last_lines.append(line)
            sys.stdout.write(f"[{self.number}] {line}")
            sys.stdout.flush()

    def poll(self) -> int | None:
        """Its exit code, as a shell gives it (128 + signal), or None while it runs."""
        code = self._popen.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)

    def end(self, deadline: float) -> None:
        """Waits until the deadline (of the monotonic clock), then kills; returns when all its lines are out."""
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._pump.join(timeout=5)


def watch(processes: list[Process]) -> int:
    """Waits for all; the first that fails ends the others. Returns the exit code of the command."""
    while True:
        codes = [process.poll() for process in processes]
        failed = next((place for place, code in enumerate(codes) if code not in (None, 0)), None)
        if failed is not None:
            end(processes)
            return report(processes[failed], codes[failed])
        if None not in codes:
            end(processes)
            return 0
        time.sleep(0.1)


def end(processes: list[Process]) -> None:
    """Ends those that still run, after a moment."""
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        process.end(deadline)


def report(process: Process, code: int) -> int:
    """Says which process failed first, and shows its last lines again."""
    why = f"by signal {signal.Signals(code - 128).name}" if code > 128 else f"with exit code {code}"
    print(f"\nProcess {process.number} ended first, {why}. Its last lines:", file=sys.stderr)
    for line in process.last_lines:
        print(f"  {line.rstrip()}", file=sys.stderr)
    return code


def parse() -> argparse.Namespace:
    """The command line; what follows `--` is for the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--devices", type=int, default=1, help="of each process")
    parser.add_argument("--gpus", action="store_true", help="the machine's GPUs in place of fake CPU devices")
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
    """Starts the processes and watches them."""
    arguments = parse()
    early: list[int] = []  # what is told while they are started
    # Caught, too, since a shell's background has SIGINT ignored, and so would they.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: early.append(number))
    command = [sys.executable, "-m", arguments.module, *arguments.flags]
    port = free_port()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    processes = [
        Process(number, command, environment(number, arguments, port)) for number in range(arguments.processes)
    ]

    def pass_on(number: int, _) -> None:
        for process in processes:
            process.send(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    for number in early:
        pass_on(number, None)
    return watch(processes)


if __name__ == "__main__":
    sys.exit(main())
