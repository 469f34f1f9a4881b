"""Handles SIGTERM, which comes before a machine is taken away, and Ctrl-C; all processes of a run stop together."""

import contextlib
import signal
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from avlearn.devices import placement
from avlearn.runs import early_signals

Item = TypeVar("Item")


class Preempted(BaseException):
    """The run was told to end, and everything that can be saved has been saved.

    Like KeyboardInterrupt, it does not derive from Exception, so that no library swallows it.

    Args:
      message: reason, and what was saved.
      exit_code: exit code of the process.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class Preemption:
    """A listener for SIGTERM and Ctrl-C that gives all processes of a run the same answer, so that they stop together.

    A single process stops at once, unless preemption is `deferred`; then it polls. Several processes poll at the same
    points of the program, and the answer is the maximum over them. (`multihost_utils.reached_preemption_sync_point`
    checks for SIGTERM only once a second, so quick steps and short evaluations would miss it, and it needs a
    coordinator even for a single process.)
    """

    def __init__(self):
        self._signal: int | None = None
        self._deferred = False
        self._mesh = self._maximum = None

    def listen(self) -> None:
        """Handle the signals from now on; until then `early_signals` does."""
        early_signals.listen(self._handle)
        early_signals.stop()

    def _handle(self, number: int, _) -> None:
        self._signal = self._signal or number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # the second ends the process at once
        if not self._deferred and not jax.distributed.is_initialized():
            raise self.stopped()

    def stopped(self, saved: str = "") -> Preempted:
        """Return the error that ends the run, with what was saved."""
        reason, exit_code = early_signals.ENDS[self._signal or signal.SIGTERM]  # None: another process was told to end
        return Preempted(f"{reason}: {saved}" if saved else reason, exit_code)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Keep a single process from stopping at once; the caller polls and saves first."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def poll(self) -> bool | jax.Array:
        """Return whether a process was preempted; with several processes, an array, for which `bool` waits."""
        if jax.process_count() == 1:
            return self._signal is not None
        if self._mesh is None:
            self._mesh = Mesh(np.array(placement.sort_by_process(jax.devices())), (placement.AXIS,))
            self._maximum = jax.jit(jnp.max, out_shardings=placement.replicated(self._mesh))
        mine = np.full(jax.local_device_count(), self._signal is not None, np.int32)
        return self._maximum(placement.to_devices(self._mesh, mine))

    def check(self) -> None:
        """Poll, and wait for the answer.

        Raises:
          Preempted: a process was preempted.
        """
        if bool(self.poll()):
            raise self.stopped()

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, with a check before each."""
        for item in items:
            self.check()
            yield item
