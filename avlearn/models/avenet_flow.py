"""AVE+OF, an AVE-Net that also takes optical flow (Objects that Sound, section 3.1, figure 8)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from avlearn.losses import avc
from avlearn.models.layers.conv_tower import ConvTower, channels_of_block
from avlearn.models.layers.embedding import EmbeddingTower
from avlearn.models.layers.embedding_network import EmbeddingNetwork
from avlearn.types import InputSpec

loss = avc.logistic

STREAM_BLOCKS = (1, 2, 3)  # separate for image and flow
SHARED_BLOCKS = (4,)


class TwoStreamTower(EmbeddingTower):
    """Three conv-conv-pool blocks each for image and flow, concatenated in channels, then the rest of one tower.

    Layers: image.conv1_1 ... image.pool3; flow likewise; conv4_1, conv4_2, pool4, fc1, fc2.
    """

    def __init__(self, flow_channels: int, config: ConfigDict, *, rngs: nnx.Rngs):
        """Build the layers.

        Args:
          flow_channels: two for each flow field.
          config: the model section, as for `ConvTower`.
          rngs: source of the initial weights; not stored.
        """
        joined = 2 * channels_of_block(STREAM_BLOCKS[-1], config)
        super().__init__(joined, config, blocks=SHARED_BLOCKS, rngs=rngs)
        self.image = ConvTower(3, config, blocks=STREAM_BLOCKS, rngs=rngs)
        self.flow = ConvTower(flow_channels, config, blocks=STREAM_BLOCKS, rngs=rngs)

    def __call__(
        self, image: Float[Array, "batch height width 3"], flow: Float[Array, "batch height width flow_channels"]
    ) -> Float[Array, "batch 128"]:
        """Return the output of fc2, not normalised, in float32."""
        return super().__call__(jnp.concatenate([self.image(image), self.flow(flow)], axis=-1))


class Model(EmbeddingNetwork):
    """AVE-Net with `TwoStreamTower` as vision subnetwork, on a frame and the optical flow around it."""

    # DIFFERS: (OtS 3.1) the paper does not give the flow's scale; here 20 pixels are 1 and the mean is not subtracted.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network; arguments as for `EmbeddingNetwork`.

        Raises:
          ValueError: `inputs` has no optical flow.
        """
        if inputs.flow_fields < 1:
            raise ValueError(
                f"avenet_flow takes optical flow, but inputs.flow_fields is {inputs.flow_fields}; use 1 or more, 10 in "
                "the paper (--config.inputs.flow_fields=10)"
            )
        super().__init__(TwoStreamTower(2 * inputs.flow_fields, config, rngs=rngs), config, inputs, rngs=rngs)
