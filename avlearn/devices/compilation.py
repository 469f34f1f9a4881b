"""Where compiled programs are kept between runs, and traces of what the devices do in a step."""

import logging
import os
import pathlib
import platform
import zlib

import jax

LOG = logging.getLogger("avlearn")
STEPS_BEFORE_TRACE = 10  # of this start: the first ones compile and fill buffers
STEPS_OF_TRACE = 5


def default_cache() -> pathlib.Path:
    """`~/.cache/avlearn/compiled` (or `$XDG_CACHE_HOME/...`), and in it a directory for each kind of processor.

    A program compiled for a CPU may use instructions that another one does not have, and homes are shared by machines.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    about = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    kind = sorted({line for line in about if line.startswith(("flags", "Features", "model name"))}) or about
    return home / "avlearn" / "compiled" / f"{platform.machine()}-{zlib.crc32(''.join(kind).encode()):08x}"


def keep(directory: str | None) -> None:
    """Keeps compiled programs in a directory: None for the default, empty for none.

    JAX's own setting, `JAX_COMPILATION_CACHE_DIR`, goes before the default.
    """
    if directory is None and jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(default_cache()))
    elif directory is not None:
        jax.config.update("jax_compilation_cache_dir", directory or None)


class Trace:
    """Writes a trace of a few steps, for TensorBoard's profiler or Perfetto; the first process does.

    Args:
      directory: where to; None: no trace.
      first_step: number of steps already done.
      steps: number of the last step.
    """

    def __init__(self, directory: pathlib.Path | None, first_step: int, steps: int):
        wanted = directory is not None and jax.process_index() == 0
        self._directory = directory if wanted else None
        self._first = max(first_step + 1, min(first_step + 1 + STEPS_BEFORE_TRACE, steps + 1 - STEPS_OF_TRACE))
        self._last = min(self._first + STEPS_OF_TRACE - 1, steps)

    def before(self, step: int) -> None:
        """To be called before a step is begun."""
        if self._directory is not None and step == self._first:
            jax.profiler.start_trace(self._directory)

    def after(self, step: int, results) -> None:
        """To be called with what a step returns."""
        if self._directory is not None and step == self._last:
            jax.block_until_ready(results)
            jax.profiler.stop_trace()
            LOG.info("A trace of steps %d to %d is in %s.", self._first, self._last, self._directory)
