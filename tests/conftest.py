"""Set-up of every test: eight fake CPU devices, no silent broadcasting, shapes checked at run time."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("avlearn", "beartype.beartype")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
