"""The parts that AVE-Net, AVE+MF and AVE+OF share: all but vision (Objects that Sound, section 3, figure 2)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.models.layers.conv_tower import flow_input, image_input, spectrogram_input
from avlearn.models.layers.embedding import EmbeddingTower, l2_normalise
from avlearn.types import Batch, InputSpec, Outputs

DISTANCE_EPSILON = 1e-6  # under the square root, whose gradient is infinite at 0


class EmbeddingNetwork(nnx.Module):
    """A network that decides correspondence by the Euclidean distance of two 128-D embeddings, which aligns them.

    Layers: vision, given by the subclass; audio.conv1_1 ... audio.pool4, audio.fc1, audio.fc2; fc3, from the distance
    to the two logits (index 0: does not correspond, 1: corresponds).

    Attributes:
      inputs: the inputs that the network takes.
    """

    def __init__(self, vision: nnx.Module, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          vision: maps scaled frames, and flow if the network takes it, to 128-D vectors.
          config: the model section of the config (width, conv1_stride, dtype, fc3_scale, fc3_threshold, ...).
          inputs: the inputs that the network takes.
          rngs: source of the initial weights; not stored.
        """
        self.inputs = inputs
        self.frame_scaling = config.frame_scaling
        self.vision = vision
        self.audio = EmbeddingTower(1, config, rngs=rngs)
        # The initial sign matters (OtS appendix B): a small distance must mean correspondence.
        weights = config.fc3_scale * jnp.array([1.0, -1.0])
        self.fc3 = nnx.Linear(
            1,
            2,
            kernel_init=lambda *_: weights[None, :],
            bias_init=lambda *_: -weights * config.fc3_threshold,
            rngs=rngs,
        )

    def image_features(
        self, frames: UInt8[Array, "batch *frames height width 3"], *flow: UInt8[Array, "batch height width channels"]
    ) -> Float[Array, "batch 128"]:
        """Return the image embedding, of length 1."""
        return l2_normalise(self.vision(image_input(frames, self.frame_scaling), *map(flow_input, flow)))

    def audio_features(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch 128"]:
        """Return the embedding of each second of sound, of length 1."""
        return l2_normalise(self.audio(spectrogram_input(log_spectrogram)))

    def compare(
        self, image_features: Float[Array, "*#pairs 128"], audio_features: Float[Array, "*#pairs 128"]
    ) -> Float[Array, "*pairs"]:
        """Return log-odds of correspondence; leading axes broadcast: `[b, 1, 128]` and `[1, b, 128]` give all pairs."""
        squared_distance = ((image_features - audio_features) ** 2).sum(axis=-1)
        distance = jnp.sqrt(squared_distance + DISTANCE_EPSILON)
        logits = self.fc3(distance[..., None])
        return logits[..., 1] - logits[..., 0]

    def embed_image(
        self, frames: UInt8[Array, "batch *frames height width 3"], *flow: UInt8[Array, "batch height width channels"]
    ) -> Float[Array, "batch 128"]:
        """Return retrieval vectors of images: the normalised fc2."""
        return self.image_features(frames, *flow)

    def embed_audio(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch 128"]:
        """Return retrieval vectors of sounds: the normalised fc2."""
        return self.audio_features(log_spectrogram)

    def __call__(self, batch: Batch) -> Outputs:
        """Return log-odds and embeddings of a batch of pairs, in float32."""
        image = self.image_features(*batch.image_inputs)
        audio = self.audio_features(batch.log_spectrogram)
        return Outputs(logit=self.compare(image, audio), image_embedding=image, audio_embedding=audio)
