"""Environment variables that XLA and TensorFlow read once. Entry points set them; importing avlearn changes nothing."""

import importlib.metadata
import importlib.util
import os

# By default this jaxlib gives convolutions on a CPU to YNNPACK, whose gradients of weights are slow and which puts some
# shapes on one core (docs/running/performance.md). XLA's own come back with it.
CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
# A version that does not know a flag ends the process: known to have it are these of jaxlib, and none of libtpu, which
# reads the same variable.
JAXLIB = ("0.10.", "0.11.", "0.12.")


def known() -> bool:
    """Whether what reads the flags here is known to have them."""
    return importlib.metadata.version("jaxlib").startswith(JAXLIB) and not importlib.util.find_spec("libtpu")


def set_variables() -> None:
    """Sets what TensorFlow and XLA read, and keeps what the user has set; call it before TensorFlow is imported."""
    # TensorFlow only reads records here: it is silent unless something is wrong, and rounds alike on every machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    set_xla_flags()


def set_xla_flags() -> None:
    """Adds a flag to `XLA_FLAGS`, unless the variable names that flag or a file of flags."""
    given = os.environ.get("XLA_FLAGS", "").strip()
    names_a_file = given and not given.startswith("-")
    if known() and not names_a_file and CONVOLUTIONS.partition("=")[0] not in given:
        os.environ["XLA_FLAGS"] = f"{given} {CONVOLUTIONS}".strip()


def keep_threads(num_workers: int) -> None:
    """Gives XLA's CPU backend as many threads on any number of devices; must come before any device is touched.

    By itself it takes as many as there are cores or, where these are more, devices in the process, and it rounds a sum
    by how many threads share it. `PJRT_NPROC` in the environment chooses another number.
    """
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    os.environ.setdefault("PJRT_NPROC", str(max(num_workers, len(ours))))
