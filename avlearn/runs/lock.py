"""Keeps two runs out of one directory: the holder touches a file in it every few seconds (a lease of filelock's).

The kernel's locks are not used. On NFS 3 the server keeps the lock of a host that died, and on mounts with `nolock`, on
Lustre without `flock` and in mounted buckets each host has locks of its own.
"""

import contextlib
import logging
import os
import pathlib
import shlex
from collections.abc import Iterator

import filelock

LOG = logging.getLogger("avlearn")
FILE = "in_use"
TOUCH_SECONDS = 5
LEASE_SECONDS = 60  # long enough for a host that is busy or swaps, as in devices/processes.py
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: start the same command again


@contextlib.contextmanager
def held(directory: pathlib.Path) -> Iterator[None]:
    """Hold a directory, so that no other process does.

    A holder that was killed on this machine is replaced at once. Otherwise the start waits until the holder touches the
    file, which shows that it is alive, or has not done so for `LEASE_SECONDS`.

    Raises:
      ValueError: another process holds it; the message says which.
    """
    path = directory / FILE
    lease = filelock.SoftFileLease(
        path, lease_duration=LEASE_SECONDS, heartbeat_interval=TOUCH_SECONDS, on_compromise=_end
    )
    try:
        lease.acquire(timeout=0)
    except filelock.Timeout:
        _wait(lease, path)
    try:
        yield
    finally:
        lease.release()


def _wait(lease: filelock.SoftFileLease, path: pathlib.Path) -> None:
    holder, touched = lease.owner, _touched(path)
    LOG.info("Waiting up to %d s to see whether another process uses %s.", LEASE_SECONDS, path.parent)
    try:
        lease.acquire(timeout=2 * LEASE_SECONDS, cancel_check=lambda: _touched(path) not in (touched, None))
    except filelock.Timeout as error:
        if touched is not None and _touched(path) == touched and not path.stat().st_size:
            path.unlink()  # a power cut came before its text was on disk; filelock keeps such a file forever
            lease.acquire(timeout=0)
            return
        holder = lease.owner or holder
        who = f"process {holder.pid} on {holder.hostname}" if holder else "another process"
        raise ValueError(
            f"{path.parent} is in use by {who}. End it or wait for its end, or choose another --workdir. A run that "
            "trains is evaluated by --mode=follow, or with --checkpoint and another --workdir."
        ) from error


def _end(compromise: filelock.LeaseCompromise) -> None:
    """End this process, since another one may write there now."""
    LOG.error(
        "error: this process no longer holds %s (%s). See who does: cat %s",
        pathlib.Path(compromise.lock_file).parent,
        compromise.error or compromise.reason,
        shlex.quote(compromise.lock_file),
    )
    os._exit(EXIT_CODE)


def _touched(path: pathlib.Path) -> int | None:
    """Return when the file was touched, by the server's clock; opening it makes NFS ask the server."""
    with contextlib.suppress(FileNotFoundError), path.open() as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return None
