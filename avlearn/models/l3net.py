"""L3-Net (Look, Listen and Learn, section 2, figure 2); conv1_stride 2 gives the variant of Objects that Sound."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.losses import avc
from avlearn.models.layers.conv_tower import HE_NORMAL, PooledTower, image_input, spectrogram_input
from avlearn.models.layers.embedding import l2_normalise
from avlearn.types import Batch, InputSpec, Outputs

loss = avc.logistic

FUSION_DIM = 128  # outputs of fc1


class FusionLinear(nnx.Linear):
    """A linear layer on the concatenation of two vectors that never forms the concatenation.

    Each part of the kernel is multiplied by its own vector and the products are added. All pairs of b images and b
    sounds then cost b products with each part instead of b x b products with the whole kernel.
    """

    def __call__(
        self, first: Float[Array, "*#pairs first_dim"], second: Float[Array, "*#pairs second_dim"]
    ) -> Float[Array, "*pairs {self.out_features}"]:
        """Return the layer's output for `concatenate([first, second], -1)`; leading axes broadcast."""
        assert self.bias is not None
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        first, second = first.astype(self.dtype), second.astype(self.dtype)
        split = first.shape[-1]
        sum_of_products = first @ kernel[:split] + second @ kernel[split:]
        return sum_of_products + jnp.broadcast_to(bias, sum_of_products.shape)


class Model(nnx.Module):
    """Two fully connected layers on the concatenated pool4 features of both streams decide correspondence.

    Layers: vision.conv1_1 ... vision.pool4; audio likewise; fc1 (1024 -> 128, ReLU) and fc2 (to two logits; index 0:
    does not correspond, 1: corresponds).

    Attributes:
      inputs: the inputs that the network takes.
    """

    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          config: the model section of the config (width, conv1_stride, dtype, ...).
          inputs: the inputs that the network takes.
          rngs: source of the initial weights; not stored.
        """
        self.inputs = inputs
        self.frame_scaling = config.frame_scaling
        self.vision = PooledTower(3, config, rngs=rngs)
        self.audio = PooledTower(1, config, rngs=rngs)
        concatenated = self.vision.channels + self.audio.channels
        self.fc1 = FusionLinear(concatenated, FUSION_DIM, dtype=self.vision.dtype, kernel_init=HE_NORMAL, rngs=rngs)
        # With He initialisation the log-odds would start several units from zero, the same for every pair.
        self.fc2 = nnx.Linear(FUSION_DIM, 2, dtype=jnp.float32, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)

    def image_features(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Return the vision stream's pool4 (512-D at width 1)."""
        return self.vision(image_input(frames, self.frame_scaling))

    def audio_features(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """Return the audio stream's pool4 (512-D at width 1)."""
        return self.audio(spectrogram_input(log_spectrogram))

    def compare(
        self, image_features: Float[Array, "*#pairs dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs"]:
        """Return log-odds of correspondence; leading axes broadcast: `[b, 1, dim]` and `[1, b, dim]` give all pairs."""
        logits = self.fc2(nnx.relu(self.fc1(image_features, audio_features)))
        return logits[..., 1] - logits[..., 0]

    def embed_image(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Return retrieval vectors of frames: pool4, of length 1, not aligned with those of sounds (OtS 3.2)."""
        return l2_normalise(self.image_features(frames))

    def embed_audio(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """Return retrieval vectors of sounds: pool4, of length 1."""
        return l2_normalise(self.audio_features(log_spectrogram))

    def __call__(self, batch: Batch) -> Outputs:
        """Return log-odds and embeddings of a batch of pairs, in float32."""
        image = self.image_features(batch.frames)
        audio = self.audio_features(batch.log_spectrogram)
        return Outputs(
            logit=self.compare(image, audio),
            image_embedding=l2_normalise(image),
            audio_embedding=l2_normalise(audio),
        )
