"""Keeps two runs out of one directory: a file in it names the holder, who touches the file every few seconds.

The kernel's locks are not used. On NFS 3 the server keeps the lock of a host that died, and on mounts with `nolock`, on
Lustre without `flock` and in mounted buckets each host has locks of its own. The file works wherever a name can be
created exclusively. It outlives a holder that is killed, but does not keep the next start waiting: on the same machine
the process table tells at once whether the holder is alive; on another one the start watches the file until it is
touched, or takes it over after `DEAD_SECONDS`.
"""

import contextlib
import datetime
import json
import logging
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator

LOG = logging.getLogger("avlearn")
FILE = "in_use.json"
BEAT_SECONDS = 10
DEAD_SECONDS = 60  # long enough for a host that is busy or swaps, as in devices/processes.py


@contextlib.contextmanager
def held(directory: pathlib.Path) -> Iterator[None]:
    """Hold a directory, so that no other process does.

    Raises:
      ValueError: another process holds it; the message says which, and since when.
    """
    path, own = directory / FILE, _own_entry()
    while not _created(path, own):
        _remove_if_dead(path)
    released = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, own, released), daemon=True)
    beating.start()
    try:
        yield
    finally:
        released.set()
        beating.join()
        if _read(path) == own:
            path.unlink(missing_ok=True)


def _own_entry() -> str:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    entry = {"host": socket.gethostname(), "process": os.getpid(), "since": now, "machine": _machine()}
    return json.dumps({**entry, "started": _started(os.getpid()), "id": uuid.uuid4().hex})


def _created(path: pathlib.Path, own: str) -> bool:
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(file, own.encode())
        os.fsync(file)
    except OSError:  # such as a full disk
        path.unlink()
        raise
    finally:
        os.close(file)
    return True


def _remove_if_dead(path: pathlib.Path) -> None:
    """Remove the file of a holder that is gone; return also if another start is about to take it over.

    Raises:
      ValueError: the holder is alive.
    """
    there = _read(path)
    try:
        holder = json.loads(there or "")
    except ValueError:  # removed meanwhile, or about to be written
        holder = {}
    unknown = {"process": "?", "host": "an unknown host", "since": "?"}
    who = "process {process} on {host}, since {since}".format_map(unknown | holder)
    if there is not None and _is_alive(path, there, holder):
        raise ValueError(
            f"{path.parent} is in use by {who}. End it or wait for its end, or choose another --workdir. A run that "
            "trains is evaluated by --mode=follow, or with --checkpoint and another --workdir."
        )
    if there is None or _read(path) != there:
        return
    LOG.warning("%s was left by %s, which no longer runs.", path, who)
    aside = path.with_name(f"{FILE}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):  # another start was quicker
        path.rename(aside)
        if _read(aside) == there:
            aside.unlink()
        else:  # the file of that start
            aside.rename(path)


def _is_alive(path: pathlib.Path, there: str, holder: dict) -> bool:
    if holder.get("machine") == _machine() and holder.get("started"):
        return holder["started"] == _started(holder["process"])
    LOG.info("Waiting up to %d s to see whether another machine uses %s.", DEAD_SECONDS, path.parent)
    touched, deadline = _touched(path), time.monotonic() + DEAD_SECONDS
    while time.monotonic() < deadline and _read(path) == there:
        if _touched(path) != touched:
            return True
        time.sleep(DEAD_SECONDS / 60)
    return False


def _beat(path: pathlib.Path, own: str, released: threading.Event) -> None:
    """Touch the file until it is released; end the process if another one has taken the directory over."""
    while not released.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):  # such as a server that does not answer now
            if (there := _read(path)) not in (own, None, ""):
                LOG.error("error: %s was taken over, since this process did not answer: %s", path.parent, there)
                os._exit(1)
            os.utime(path)


def _read(path: pathlib.Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _touched(path: pathlib.Path) -> int | None:
    """Return when the file was touched, by the server's clock; opening it makes NFS ask the server."""
    with contextlib.suppress(FileNotFoundError), path.open() as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return None


def _machine() -> str:
    """Return the identity of the process table: the machine's boot and the container."""
    with contextlib.suppress(OSError):
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {pathlib.Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _started(process: int) -> str | None:
    """Return when a process started, in ticks since the boot; None if it has ended, or on a system without /proc."""
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    return None
