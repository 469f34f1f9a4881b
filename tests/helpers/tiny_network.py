"""Networks and batches small enough to step on a CPU in milliseconds."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from avlearn.models import avenet
from avlearn.types import Batch, InputSpec
from configs import avenet as avenet_config

INPUTS = InputSpec(frame_pixels=32, columns=200, pool=8)


def model_config():
    """Return the model section for AVE-Net, which has all keys of the other networks that tests build with it."""
    config = avenet_config.get_config().model
    config.width = 1 / 16
    return config


def avenet_model(seed: int = 0) -> nnx.Module:
    """Return an AVE-Net in training mode."""
    model = avenet.Model(model_config(), INPUTS, rngs=nnx.Rngs(seed))
    model.train()
    return model


def random_batch(workers: int, pairs: int, seed: int = 0) -> Batch:
    """Return a batch `[workers, pairs, ...]` of noise, half of whose pairs correspond."""
    rng = np.random.default_rng(seed)
    leading = (workers, pairs)
    batch = Batch(
        frames=rng.integers(0, 256, (*leading, *INPUTS.frame_shape), dtype=np.uint8),
        log_spectrogram=rng.normal(size=(*leading, *INPUTS.spectrogram_shape)).astype(np.float32),
        corresponds=np.tile(np.arange(pairs) % 2 == 0, (workers, 1)),
        video=np.arange(workers * pairs, dtype=np.int32).reshape(leading),
        weight=np.ones(leading, np.float32),
    )
    return jax.tree.map(jnp.asarray, batch)


def assert_same_bits(actual, expected) -> None:
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_trees_close(actual, expected, **tolerance) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)
