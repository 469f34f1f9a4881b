"""Ends a process on SIGTERM or Ctrl-C while it has nothing to save: as modules are imported and hosts wait for others.

A handler in Python runs between two instructions of Python, and `jax.distributed.initialize` waits in C++ for minutes.
The signal therefore wakes a thread, through the file descriptor that Python's own handler writes to.
"""

import contextlib
import os
import signal
import threading

# Signal to the reason in the log and the exit code. 75 is EX_TEMPFAIL of sysexits.h: start the same command again.
ENDS = {signal.SIGTERM: ("preempted (SIGTERM)", 75), signal.SIGINT: ("interrupted (Ctrl-C)", 130)}


def end_at_once() -> None:
    """End the process at once on these signals, until `listen` gives them another handler."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    listen(lambda *_: None)
    threading.Thread(target=_end, args=(reader,), daemon=True).start()


def listen(handler) -> None:
    """Handle these signals, except those that whoever started the process has told it to ignore."""
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def stop() -> None:
    """Leave the signals to the handlers of `listen` from now on."""
    writer = signal.set_wakeup_fd(-1)
    if writer != -1:
        os.close(writer)


def _end(reader: int) -> None:
    while number := os.read(reader, 1):  # empty once the writer is closed
        if number[0] in ENDS:
            reason, exit_code = ENDS[number[0]]
            with contextlib.suppress(OSError):  # the output may be closed
                os.write(1, f"Stopping: {reason}. The same command resumes.\n".encode())
            os._exit(exit_code)
    os.close(reader)
