"""Writes scalars and images for TensorBoard."""

import pathlib
import time
from collections.abc import Mapping

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class TensorboardLog:
    """An event file that is written without a thread, so that a failed write raises an error.

    The library's SummaryWriter writes in a thread; if a full disk ends that thread, the run waits for it forever.

    Args:
      directory: directory of the file.
      first_step: number of steps already done; TensorBoard hides later events in the directory's other files.
    """

    def __init__(self, directory: pathlib.Path, first_step: int):
        directory.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(directory / "events"))
        self._add(first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add scalars of a step."""
        for name, value in scalars.items():
            self._add(step, summary=summary.scalar(name, value))

    def show(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Add images `[height, width, 3]` uint8 of a step."""
        for name, image in images.items():
            self._add(step, summary=summary.image(name, image, dataformats="HWC"))

    def close(self) -> None:
        """Close the file."""
        self._events.close()

    def _add(self, step: int, **content) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
        self._events.flush()
