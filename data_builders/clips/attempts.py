"""Remembers which file a process was reading when it died, and kills a process that reads a file for too long."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator

from etils import epath

from avlearn.media.decode import UnreadableClip
from data_builders.clips.segments import Located

ATTEMPTS = 3  # number of attempts at a file that kills its process


class Attempts:
    """Attempts at files of a shard during which the process died; a file stores them, since it survives the process.

    Args:
      path: path of that file.
    """

    def __init__(self, path: str):
        self._path = path
        self._lock = threading.Lock()  # a file may be finished at the moment its time is up
        try:
            self._begun = json.loads(epath.Path(path).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            self._begun = {}

    @property
    def timed_out(self) -> int:
        """Number of files that took too long."""
        return sum(entry["timed_out_seconds"] > 0 for entry in self._begun.values())

    @contextlib.contextmanager
    def reading(self, located: Located, time_limit_seconds: float) -> Iterator[None]:
        """Guard the reading of a file; kill the process if it takes longer than the limit.

        Raises:
          UnreadableClip: `timed_out`: the file has taken this long before; `crashed`: the process died too often.
        """
        path, key = located.file.path, f"{located.segment.clip_id}: {located.file.path}"
        entry = self._begun.setdefault(key, {"times": 0, "timed_out_seconds": 0})
        if entry["timed_out_seconds"] >= time_limit_seconds:
            raise UnreadableClip(path, "timed_out", f"not read in {entry['timed_out_seconds']:g} s")
        if entry["times"] >= ATTEMPTS:
            raise UnreadableClip(path, "crashed", f"its process died {ATTEMPTS} times")
        entry["times"] += 1
        self._write()
        # Use a thread, since libav cannot be interrupted; it releases Python's lock while it works.
        timer = threading.Timer(time_limit_seconds, self._end_process, (key, time_limit_seconds))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            with self._lock:
                timer.cancel()
                del self._begun[key]

    def reset(self) -> None:
        """Forget how often processes died, since those of an earlier build may have died for another reason."""
        self._begun = {key: {**entry, "times": 0} for key, entry in self._begun.items() if entry["timed_out_seconds"]}
        if self._begun:
            self._write()
        else:
            self.delete()

    def delete(self) -> None:
        """Delete the file, now that the shard is finished."""
        epath.Path(self._path).unlink(missing_ok=True)

    def _end_process(self, key, seconds):
        with self._lock:
            if key not in self._begun:
                return
            try:
                self._begun[key].update(times=0, timed_out_seconds=seconds)
                self._write()
            finally:
                os._exit(1)  # no clean-up: it would wait for the call that hangs

    def _write(self):
        write_atomically(self._path, json.dumps(self._begun))


def write_atomically(path: str, text: str) -> None:
    """Write a file so that it exists either completely or not at all."""
    partial = f"{path}.{os.getpid()}.{threading.get_ident()}.partial"
    epath.Path(partial).write_text(text)
    os.replace(partial, path)
