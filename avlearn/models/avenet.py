"""AVE-Net, the audio-visual embedding network (Objects that Sound, section 3, figure 2)."""

from flax import nnx
from ml_collections import ConfigDict

from avlearn.losses import avc
from avlearn.models.layers.embedding import EmbeddingTower
from avlearn.models.layers.embedding_network import EmbeddingNetwork
from avlearn.types import InputSpec

loss = avc.logistic


class Model(EmbeddingNetwork):
    """Two towers compared by embedding distance. Layers: vision.conv1_1 ... vision.fc2, audio likewise, fc3."""

    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network; arguments as for `EmbeddingNetwork`."""
        super().__init__(EmbeddingTower(3, config, rngs=rngs), config, inputs, rngs=rngs)
