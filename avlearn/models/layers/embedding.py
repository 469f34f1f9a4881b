"""The 128-D embedding of pool4: fc1 and fc2 of Objects that Sound (OtS figures 2 and 4)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num
from ml_collections import ConfigDict

from avlearn.models.layers.conv_tower import CHANNELS, HE_NORMAL, PooledTower

EMBEDDING_DIM = 128  # not scaled by the width factor


class EmbeddingTower(PooledTower):
    """Conv tower, pool4, fc1 with ReLU, and fc2: both subnetworks of AVE-Net and the audio subnetwork of AVOL-Net.

    With one output for each class it is a subnetwork of L3's supervised baseline.
    """

    def __init__(
        self,
        in_channels: int,
        config: ConfigDict,
        *,
        blocks: tuple[int, ...] = tuple(CHANNELS),
        outputs: int = EMBEDDING_DIM,
        fc2_init: jax.nn.initializers.Initializer = HE_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Build the layers; arguments as for `ConvTower`, and the size and initial weights of fc2."""
        super().__init__(in_channels, config, blocks=blocks, rngs=rngs)
        self.fc1 = nnx.Linear(self.channels, EMBEDDING_DIM, dtype=self.dtype, kernel_init=HE_NORMAL, rngs=rngs)
        self.fc2 = nnx.Linear(EMBEDDING_DIM, outputs, dtype=self.dtype, kernel_init=fc2_init, rngs=rngs)

    def __call__(self, x: Num[Array, "batch *size channels"]) -> Float[Array, "batch {self.fc2.out_features}"]:
        """Return the output of fc2, not normalised, in float32."""
        return self.fc2(nnx.relu(self.fc1(super().__call__(x)))).astype(jnp.float32)


def l2_normalise(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Scale vectors to length 1, in float32; the gradient is finite at the zero vector too."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt((x**2).sum(axis=-1, keepdims=True) + 1e-12)


def max_cell_embedding(cells: Float[Array, "batch rows cols dim"]) -> Float[Array, "batch dim"]:
    """Return a retrieval vector of length 1 for each image: the maximum over its cells' vectors."""
    return l2_normalise(cells.max(axis=(1, 2)))
