"""Sets up a run's output: its progress from the first process, and other libraries' warnings."""

import logging
import sys

import jax
from absl import logging as absl_logging


def quieten(verbosity: int) -> None:
    """Hide other libraries' messages below warnings, unless the verbosity is above 0; call it before processes join."""
    if verbosity <= absl_logging.INFO:
        absl_logging.set_verbosity(absl_logging.WARNING)


def show_progress(verbosity: int) -> None:
    """Print avlearn's messages without prefixes from the first process, and only errors from the others."""
    if jax.process_index() > 0 and verbosity <= absl_logging.INFO:
        absl_logging.set_verbosity(absl_logging.ERROR)
    log = logging.getLogger("avlearn")
    log.setLevel(logging.INFO if jax.process_index() == 0 else logging.ERROR)
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.propagate = False


def print_once(text: str) -> None:
    """Print a text on the first process only."""
    if jax.process_index() == 0:
        print(text)
