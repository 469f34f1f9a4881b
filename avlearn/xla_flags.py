"""Flags of XLA that are read once, when JAX starts a backend: `import avlearn` sets them."""

import importlib.metadata
import importlib.util
import os

# By default this jaxlib gives convolutions on a CPU to YNNPACK, whose gradients of weights are slow and which puts some
# shapes on one core (docs/performance.md). XLA's own come back with it.
CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
# A version that does not know a flag ends the process: known to have it are these of jaxlib, and none of libtpu, which
# reads the same variable.
JAXLIB = "0.10."


def known() -> bool:
    """Whether what reads the flags here is known to have them."""
    return importlib.metadata.version("jaxlib").startswith(JAXLIB) and not importlib.util.find_spec("libtpu")


def set_flags() -> None:
    """Adds to the environment's `XLA_FLAGS` what it does not say of itself; one that names a file is left alone."""
    given = os.environ.get("XLA_FLAGS", "").strip()
    names_a_file = given and not given.startswith("-")
    if known() and not names_a_file and CONVOLUTIONS.partition("=")[0] not in given:
        os.environ["XLA_FLAGS"] = f"{given} {CONVOLUTIONS}".strip()
