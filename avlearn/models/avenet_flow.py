"""AVE+OF, the AVE-Net that also sees optical flow (Objects that Sound, section 3.1, figure 8)."""

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

OWN_BLOCKS = (1, 2, 3)  # of each stream
SHARED_BLOCKS = (4,)


class TwoStreamTower(EmbeddingTower):
    """Three conv-conv-pool blocks for the image and three for the flow, joined in channels; then one tower's rest.

    Layers: image.conv1_1 ... image.pool3; flow likewise; conv4_1, conv4_2, pool4, fc1, fc2.
    """

    def __init__(self, flow_channels: int, config: ConfigDict, *, rngs: nnx.Rngs):
        """Builds the layers.

        Args:
          flow_channels: two for each field of flow.
          config: the model section, as for `ConvTower`.
          rngs: source of the initial weights; it is not kept.
        """
        joined = 2 * channels_of_block(OWN_BLOCKS[-1], config)
        super().__init__(joined, config, blocks=SHARED_BLOCKS, rngs=rngs)
        self.image = ConvTower(3, config, blocks=OWN_BLOCKS, rngs=rngs)
        self.flow = ConvTower(flow_channels, config, blocks=OWN_BLOCKS, rngs=rngs)

    def __call__(
        self, image: Float[Array, "batch height width 3"], flow: Float[Array, "batch height width flow_channels"]
    ) -> Float[Array, "batch 128"]:
        """The output of fc2, not normalised, in float32."""
        return super().__call__(jnp.concatenate([self.image(image), self.flow(flow)], axis=-1))


class Model(EmbeddingNetwork):
    """AVE-Net with another vision subnetwork, `TwoStreamTower`, on a frame and the flow about it."""

    # DIFFERS: (OtS 3.1) the paper does not say how flow is scaled; here 20 pixels are 1, and its mean is not removed.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Builds the network; arguments as for `EmbeddingNetwork`.

        Raises:
          ValueError: `inputs` has no optical flow.
        """
        if inputs.flow_fields < 1:
            raise ValueError(
                f"avenet_flow takes optical flow, and inputs.flow_fields is {inputs.flow_fields}; use 1 or more, 10 in "
                "the paper (--config.inputs.flow_fields=10)"
            )
        super().__init__(TwoStreamTower(2 * inputs.flow_fields, config, rngs=rngs), config, inputs, rngs=rngs)
