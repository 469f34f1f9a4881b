"""What storage does to checkpoints: files that are gone, cut short or wrong, and disks that are full."""

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterator, Mapping

import google_crc32c
import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jaxtyping import PyTree

LOG = logging.getLogger("avlearn")
SEAL = "checksum"

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Damaged(Exception):
    """A checkpoint that cannot be read, or whose arrays are not those that were written."""


def checksums(tree: PyTree) -> dict[str, int]:
    """CRC-32C of each array's bytes, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): google_crc32c.value(np.asarray(leaf).tobytes())
        for path, leaf in leaves
    }


def sealed(description: Mapping) -> dict:
    """The same with a checksum of itself, to be stored as JSON."""
    return {**description, SEAL: _crc32c_of_json(description)}


def check_seal(stored: Mapping) -> None:
    """Compares what was read with its own checksum; from before there were checksums it has none.

    Raises:
      Damaged: it is not what was written.
    """
    description = {key: value for key, value in stored.items() if key != SEAL}
    if SEAL in stored and stored[SEAL] != _crc32c_of_json(description):
        raise Damaged("the checksum of its description is wrong")


def _crc32c_of_json(description: Mapping) -> int:
    return google_crc32c.value(json.dumps(description, sort_keys=True).encode())


def set_unreadable_metrics_aside(directory: epath.Path) -> None:
    """Renames a checkpoint's `metrics` that are no JSON, so that it counts as one that was not validated."""
    if jax.process_index() == 0 and directory.exists():
        for path in directory.glob("*/metrics/metrics"):
            try:
                json.loads(path.read_text())
            except ValueError:
                path.parent.rename(path.parent.parent / "metrics.damaged")
                LOG.warning("The validation loss of the checkpoint %s cannot be read.", path.parent.parent)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("metrics read")


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is that no space is left, or no more may be used (quota, `ulimit -f`)."""
    while error is not None:
        # TensorStore's errors have the text of the system's only.
        if getattr(error, "errno", None) in NO_SPACE or any(os.strerror(number) in str(error) for number in NO_SPACE):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def damage_explained() -> Iterator[None]:
    """Within it, what Orbax and TensorStore make of files that are gone, cut short or wrong becomes `Damaged`."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, PermissionError, MemoryError):
        raise  # of the device or of this user, not of the files
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        raise Damaged(reason.splitlines()[0][:300]) from error
