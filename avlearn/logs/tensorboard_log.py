"""A run's numbers and pictures for TensorBoard."""

import pathlib
import time
from collections.abc import Mapping

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class TensorboardLog:
    """An event file, written as its events come: what cannot be written is an error there and then.

    The library's SummaryWriter leaves that to a thread. Where a full disk ends it, the run waits for it for ever.

    Args:
      directory: where the file is made.
      first_step: number of steps already done; what other files there have of later ones is not shown.
    """

    def __init__(self, directory: pathlib.Path, first_step: int):
        directory.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(directory / "events"))
        self._add(first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds numbers of a step."""
        for name, value in scalars.items():
            self._add(step, summary=summary.scalar(name, value))

    def show(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Adds pictures `[height, width, 3]` uint8 of a step."""
        for name, picture in pictures.items():
            self._add(step, summary=summary.image(name, picture, dataformats="HWC"))

    def close(self) -> None:
        """Lets go of the file."""
        self._events.close()

    def _add(self, step: int, **content) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
        self._events.flush()
