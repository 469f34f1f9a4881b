"""Audio-visual correspondence in JAX and Flax."""
