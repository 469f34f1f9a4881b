"""Detects storage faults: checkpoint files that are missing, truncated or wrong, and full disks."""

import contextlib
import errno
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping

import google_crc32c
import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jaxtyping import PyTree

LOG = logging.getLogger("avlearn")
SEAL = "checksum"

PARSING = (ValueError, KeyError, FileNotFoundError)
STATUS = re.compile("([A-Z_]+): ")
OF_FILES = ("NOT_FOUND", "OUT_OF_RANGE", "DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Damaged(Exception):
    """A checkpoint cannot be read, or its arrays differ from those that were written."""


def checksums(tree: PyTree) -> dict[str, int]:
    """Compute the CRC-32C of each array's bytes; return them by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): google_crc32c.value(np.asarray(leaf).tobytes())
        for path, leaf in leaves
    }


def sealed(description: Mapping) -> dict:
    """Return a description with a checksum of itself, to be stored as JSON."""
    return {**description, SEAL: _crc32c_of_json(description)}


def check_seal(stored: Mapping) -> None:
    """Compare a description with its own checksum, which early versions did not store.

    Raises:
      Damaged: they do not match.
    """
    description = {key: value for key, value in stored.items() if key != SEAL}
    if SEAL in stored and stored[SEAL] != _crc32c_of_json(description):
        raise Damaged("the checksum of its description is wrong")


def _crc32c_of_json(description: Mapping) -> int:
    return google_crc32c.value(json.dumps(description, sort_keys=True).encode())


def read_metrics(path: epath.Path) -> dict[str, float] | None:
    """Read the metrics of a checkpoint; None if it was saved without them.

    Raises:
      Damaged: they are not a JSON object with a validation loss.
    """
    try:
        metrics = json.loads(path.read_text())
        float(metrics["validation/loss"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise Damaged(str(error)) from error
    return metrics


def set_unreadable_metrics_aside(directory: epath.Path) -> None:
    """Rename metrics that cannot be read, so that their checkpoints count as not validated."""
    if jax.process_index() == 0 and directory.exists():
        for path in directory.glob("*/metrics/metrics"):
            try:
                read_metrics(path)
            except Damaged:
                path.parent.rename(path.parent.parent / "metrics.damaged")
                LOG.warning("The validation loss of the checkpoint %s cannot be read.", path.parent.parent)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("metrics read")


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether an error or its cause is a full disk, an exceeded quota or a file size limit (`ulimit -f`)."""
    while error is not None:
        # TensorStore's errors contain only the text of the system error.
        if getattr(error, "errno", None) in NO_SPACE or any(os.strerror(number) in str(error) for number in NO_SPACE):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def damage_explained() -> Iterator[None]:
    """Turn the errors of Orbax and TensorStore about missing, truncated or wrong files into `Damaged`.

    Other errors are raised as they are: of the device, of memory, of permissions, of a server that does not answer.
    """
    try:
        yield
    except Exception as error:
        # Orbax wraps some of TensorStore's errors, which begin with the name of a status, in a bare Exception.
        status = STATUS.match(str(error.__cause__ if type(error) is Exception else error))
        parsing = isinstance(error, PARSING) or type(error) is Exception
        if not parsing or (status and status[1] not in OF_FILES):
            raise
        reason = str(error).strip() or type(error).__name__
        raise Damaged(reason.splitlines()[0][:300]) from error
