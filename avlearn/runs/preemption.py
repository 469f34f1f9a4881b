"""Handles preemption, a SIGTERM before a machine is taken away; all processes of a run agree on when to stop."""

import contextlib
import signal
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from avlearn.devices import placement

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: start the same command again
REASON = "preempted (SIGTERM)"
Item = TypeVar("Item")


class Preempted(BaseException):
    """The run was preempted, and everything that can be saved has been saved.

    Like KeyboardInterrupt, it does not derive from Exception, so that no library swallows it.
    """


class Preemption:
    """A listener for SIGTERM that gives all processes of a run the same answer, so that they stop together.

    A single process stops at once, unless preemption is `deferred`; then it polls. Several processes poll at the same
    points of the program, and the answer is the maximum over them. (`multihost_utils.reached_preemption_sync_point`
    checks for SIGTERM only once a second, so quick steps and short evaluations would miss it, and it needs a
    coordinator even for a single process.)
    """

    def __init__(self):
        self._preempted = self._deferred = False
        self._mesh = self._maximum = None

    def listen(self) -> None:
        """Handle SIGTERM from now on; call it after the processes have joined, because JAX then handles it too."""
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, *_) -> None:
        self._preempted = True
        if not self._deferred and not jax.distributed.is_initialized():
            raise Preempted(REASON)

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
            return self._preempted
        if self._mesh is None:
            self._mesh = Mesh(np.array(placement.sort_by_process(jax.devices())), (placement.AXIS,))
            self._maximum = jax.jit(jnp.max, out_shardings=placement.replicated(self._mesh))
        mine = np.full(jax.local_device_count(), self._preempted, np.int32)
        return self._maximum(placement.to_devices(self._mesh, mine))

    def check(self) -> None:
        """Poll, and wait for the answer.

        Raises:
          Preempted: a process was preempted.
        """
        if bool(self.poll()):
            raise Preempted(REASON)

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, with a check before each."""
        for item in items:
            self.check()
            yield item
