"""The process's environment: variables that XLA and TensorFlow read once, and the encoding of its output.

Entry points call these functions; importing avlearn changes nothing.
"""

import importlib.metadata
import importlib.util
import io
import os
import sys

# By default these versions of jaxlib compute convolutions on a CPU with YNNPACK, which is slow at weight gradients and
# uses one core for some shapes (docs/running/performance.md). This flag restores XLA's own convolutions.
CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
# XLA aborts on an unknown flag. These versions of jaxlib know this one; libtpu, which reads the variable too, does not.
JAXLIB = ("0.10.", "0.11.", "0.12.")


def is_flag_supported() -> bool:
    """Return whether every installed library that reads `XLA_FLAGS` knows the flag."""
    return importlib.metadata.version("jaxlib").startswith(JAXLIB) and not importlib.util.find_spec("libtpu")


def set_variables() -> None:
    """Set the variables of TensorFlow and XLA that the user has not set; call it before TensorFlow is imported."""
    # TensorFlow only reads records: silence its log, and make its rounding the same on every machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    set_xla_flags()


def set_xla_flags() -> None:
    """Add the flag for convolutions to `XLA_FLAGS`, unless the variable names it already or names a file of flags."""
    given = os.environ.get("XLA_FLAGS", "").strip()
    names_a_file = given and not given.startswith("-")
    if is_flag_supported() and not names_a_file and CONVOLUTIONS.partition("=")[0] not in given:
        os.environ["XLA_FLAGS"] = f"{given} {CONVOLUTIONS}".strip()


def escape_output() -> None:
    """Print characters that the encoding of the terminal or log lacks as escapes, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def set_thread_count(num_workers: int) -> None:
    """Give XLA's CPU backend the same number of threads on any number of devices; call it before devices are used.

    By default it takes the larger of the numbers of cores and of devices in the process, and the rounding of a sum
    depends on the number of threads. The environment variable `PJRT_NPROC` chooses another number.
    """
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    os.environ.setdefault("PJRT_NPROC", str(max(num_workers, len(cores))))
