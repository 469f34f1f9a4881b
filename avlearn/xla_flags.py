"""Flags of XLA that are read once, when JAX starts a backend: `import avlearn` sets them."""

import importlib.metadata
import os

# By default this jaxlib gives convolutions on a CPU to YNNPACK, whose gradients of weights are slow and which puts some
# shapes on one core (docs/performance.md). XLA's own come back with it.
CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
JAXLIB = "0.10."  # a version that does not know a flag ends the process


def set_flags() -> None:
    """Adds to the environment's `XLA_FLAGS` what it does not say of itself."""
    given = os.environ.get("XLA_FLAGS", "")
    name = CONVOLUTIONS.partition("=")[0]
    if importlib.metadata.version("jaxlib").startswith(JAXLIB) and name not in given:
        os.environ["XLA_FLAGS"] = f"{given} {CONVOLUTIONS}".strip()
