"""SIGTERM: the notice that a machine is about to be taken away, and how the processes agree on when to leave."""

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
TOLD = "told to leave (SIGTERM)"
Item = TypeVar("Item")


class Preempted(BaseException):
    """The machine is about to be taken away; what can be saved is saved.

    Like KeyboardInterrupt no Exception: what a library catches must not swallow it.
    """


class Preemption:
    """Whether a process of the run was told to leave. A machine's notice goes to one process, and all leave together.

    A single process leaves at once, unless the notice is `held` until it asks. Several all ask in the same places, so
    that the answer, the maximum over them, is the same for all.
    """

    def __init__(self):
        self._told = self._held = False
        self._mesh = self._maximum = None

    def watch(self) -> None:
        """Listens for SIGTERM from now on; to be called after the processes have joined, which listens for it too."""
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_) -> None:
        self._told = True
        if not self._held and not jax.distributed.is_initialized():
            raise Preempted(TOLD)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within it there is something to save before leaving."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def ask(self) -> bool | jax.Array:
        """The answer, which `bool` turns into True or False; of several processes, a number still to come."""
        if jax.process_count() == 1:
            return self._told
        if self._mesh is None:
            self._mesh = Mesh(np.array(placement.by_process(jax.devices())), (placement.AXIS,))
            self._maximum = jax.jit(jnp.max, out_shardings=placement.replicated(self._mesh))
        mine = np.full(jax.local_device_count(), self._told, np.int32)
        return self._maximum(placement.to_devices(self._mesh, mine))

    def check(self) -> None:
        """Asks, and waits for the answer.

        Raises:
          Preempted: a process was told to leave.
        """
        if bool(self.ask()):
            raise Preempted(TOLD)

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with a check before each."""
        for item in items:
            self.check()
            yield item
