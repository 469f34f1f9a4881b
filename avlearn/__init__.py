"""Audio-visual correspondence in JAX and Flax."""

from avlearn import xla_flags

xla_flags.set_flags()
