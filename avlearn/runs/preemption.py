"""SIGTERM, which announces that a machine will be taken away: the processes of a run agree on when to end."""

import contextlib
import signal
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from avlearn.devices import placement

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: start it again, with the same command
SIGTERM = "preempted (SIGTERM)"
Item = TypeVar("Item")


class Preempted(BaseException):
    """The machine will be taken away; everything that can be saved is saved.

    Like KeyboardInterrupt it is not an Exception, so that libraries do not catch it.
    """


class Preemption:
    """Listens for SIGTERM. It may reach one process only; all of them end together.

    A single process ends at once, unless it `held` the signal until it asks. Several processes ask at the same points
    of the program, so that the answer, the maximum over them, is the same for all.
    """

    def __init__(self):
        self._received = self._held = False
        self._mesh = self._maximum = None

    def watch(self) -> None:
        """Listen for SIGTERM from now on. Call it after the processes have joined, since joining sets a handler too."""
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_) -> None:
        self._received = True
        if not self._held and not jax.distributed.is_initialized():
            raise Preempted(SIGTERM)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep a single process from ending at once, so that it can save its state first."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def ask(self) -> bool | jax.Array:
        """Ask whether any process has received SIGTERM; `bool` of the answer waits for all processes."""
        if jax.process_count() == 1:
            return self._received
        if self._mesh is None:
            self._mesh = Mesh(np.array(placement.by_process(jax.devices())), (placement.AXIS,))
            self._maximum = jax.jit(jnp.max, out_shardings=placement.replicated(self._mesh))
        mine = np.full(jax.local_device_count(), self._received, np.int32)
        return self._maximum(placement.to_devices(self._mesh, mine))

    def check(self) -> None:
        """Ask, and wait for the answer.

        Raises:
          Preempted: a process has received SIGTERM.
        """
        if bool(self.ask()):
            raise Preempted(SIGTERM)

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, with a check before each."""
        for item in items:
            self.check()
            yield item
