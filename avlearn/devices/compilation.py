"""The cache of compiled programs, and profiler traces of training steps."""

import logging
import os
import pathlib
import platform
import zlib

import jax

LOG = logging.getLogger("avlearn")
STEPS_BEFORE_TRACE = 10  # the first steps after a start compile and fill buffers
STEPS_OF_TRACE = 5


def default_cache_directory() -> pathlib.Path:
    """Return a directory for this type of CPU in `~/.cache/avlearn/compiled` (or `$XDG_CACHE_HOME/avlearn/compiled`).

    Programs compiled for one CPU may use instructions that another lacks, and machines may share a home directory.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    kind = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}) or lines
    return home / "avlearn" / "compiled" / f"{platform.machine()}-{zlib.crc32(''.join(kind).encode()):08x}"


def set_cache_directory(directory: str | None) -> None:
    """Cache compiled programs in a directory; None: the default, empty: no cache.

    JAX's own setting, `JAX_COMPILATION_CACHE_DIR`, takes precedence over the default.
    """
    if directory is None and jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(default_cache_directory()))
    elif directory is not None:
        jax.config.update("jax_compilation_cache_dir", directory or None)


class Trace:
    """A profiler trace of a few steps, for TensorBoard or Perfetto; only the first process writes it.

    Args:
      directory: directory of the trace; None: no trace.
      first_step: number of steps already done.
      steps: number of the last step.
    """

    def __init__(self, directory: pathlib.Path | None, first_step: int, steps: int):
        wanted = directory is not None and jax.process_index() == 0
        self._directory = directory if wanted else None
        self._first = max(first_step + 1, min(first_step + 1 + STEPS_BEFORE_TRACE, steps + 1 - STEPS_OF_TRACE))
        self._last = min(self._first + STEPS_OF_TRACE - 1, steps)

    def before(self, step: int) -> None:
        """Start the trace if this is its first step; call it before the step begins."""
        if self._directory is not None and step == self._first:
            jax.profiler.start_trace(self._directory)

    def after(self, step: int, results) -> None:
        """Stop the trace if this is its last step; call it with the results of the step."""
        if self._directory is not None and step == self._last:
            jax.block_until_ready(results)
            jax.profiler.stop_trace()
            LOG.info("A trace of steps %d to %d is in %s.", self._first, self._last, self._directory)
