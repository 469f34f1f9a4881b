"""AVOL-Net, the audio-visual object localization network (Objects that Sound, section 4, figure 4)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num, UInt8
from ml_collections import ConfigDict

from avlearn.config import one_of
from avlearn.losses import avc
from avlearn.models.layers.conv_tower import HE_NORMAL, ConvTower, image_input, spectrogram_input
from avlearn.models.layers.embedding import EMBEDDING_DIM, EmbeddingTower, l2_normalise, max_cell_embedding
from avlearn.models.layers.maximum import largest
from avlearn.types import Batch, InputSpec, Outputs

loss = avc.logistic

ACTIVATIONS = {"relu": nnx.relu, "none": lambda x: x}  # activations of conv5


class VisionTower(ConvTower):
    """Conv tower with the 1 x 1 convolutions conv5 (with ReLU) and conv6 instead of pool4, fc1 and fc2."""

    def __init__(self, config: ConfigDict, *, rngs: nnx.Rngs):
        """Build the layers; arguments as for `ConvTower`.

        Raises:
          ValueError: a config value is not allowed.
        """
        one_of(config.conv5_activation, ACTIVATIONS, "model.conv5_activation")
        super().__init__(3, config, rngs=rngs)
        self.conv5_activation = config.conv5_activation
        self.conv5 = nnx.Conv(self.channels, EMBEDDING_DIM, (1, 1), dtype=self.dtype, kernel_init=HE_NORMAL, rngs=rngs)
        self.conv6 = nnx.Conv(
            EMBEDDING_DIM, EMBEDDING_DIM, (1, 1), dtype=self.dtype, kernel_init=_small_init(), rngs=rngs
        )

    def __call__(self, x: Num[Array, "batch height width channels"]) -> Float[Array, "batch rows cols 128"]:
        """Return a 128-D vector for each cell of the 14 x 14 map, not normalised, in float32."""
        activation = ACTIVATIONS[self.conv5_activation]
        return self.conv6(activation(self.conv5(super().__call__(x)))).astype(jnp.float32)


class Model(nnx.Module):
    """A network that decides correspondence by the image cell whose vector agrees best with the sound's.

    Layers: vision.conv1_1 ... vision.conv4_2, vision.conv5, vision.conv6; audio.conv1_1 ... audio.pool4, audio.fc1,
    audio.fc2; conv7, one factor and one bias on the scalar products. The maximum over cells is taken before the paper's
    sigmoid: the sigmoid is monotone, so the result is the same.

    Attributes:
      inputs: the inputs that the network takes.
    """

    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          config: the model section of the config (width, conv1_stride, dtype, conv7_scale, conv7_bias, ...).
          inputs: the inputs that the network takes.
          rngs: source of the initial weights; not stored.
        """
        self.inputs = inputs
        self.frame_scaling = config.frame_scaling
        self.vision = VisionTower(config, rngs=rngs)
        self.audio = EmbeddingTower(1, config, fc2_init=_small_init(), rngs=rngs)
        self.conv7 = nnx.Conv(
            1,
            1,
            (1, 1),
            kernel_init=nnx.initializers.constant(config.conv7_scale),
            bias_init=nnx.initializers.constant(config.conv7_bias),
            rngs=rngs,
        )

    def image_features(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch rows cols 128"]:
        """Return a vector for each cell of each frame."""
        return self.vision(image_input(frames, self.frame_scaling))

    def audio_features(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch 128"]:
        """Return a vector for each second of sound."""
        return self.audio(spectrogram_input(log_spectrogram))

    def map_of_pairs(
        self, image_features: Float[Array, "*#pairs rows cols 128"], audio_features: Float[Array, "*#pairs 128"]
    ) -> Float[Array, "*pairs rows cols"]:
        """Return each cell's log-odds of showing the sound's source; `[b, 1, ...]` and `[1, b, ...]` give all pairs."""
        scalar_product = jnp.einsum("...hwd,...d->...hw", image_features, audio_features)
        return self.conv7(scalar_product[..., None])[..., 0]

    def compare(
        self, image_features: Float[Array, "*#pairs rows cols 128"], audio_features: Float[Array, "*#pairs 128"]
    ) -> Float[Array, "*pairs"]:
        """Return the log-odds of correspondence, the maximum over cells; axes broadcast as for `map_of_pairs`."""
        return max_over_cells(self.map_of_pairs(image_features, audio_features))

    # DIFFERS: OtS does no retrieval with AVOL-Net; here by conv6's maximum over cells and by fc2, both of length 1.
    def embed_image(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch 128"]:
        """Return retrieval vectors of frames."""
        return max_cell_embedding(self.image_features(frames))

    def embed_audio(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch 128"]:
        """Return retrieval vectors of sounds."""
        return l2_normalise(self.audio_features(log_spectrogram))

    def __call__(self, batch: Batch) -> Outputs:
        """Return log-odds, embeddings and heat maps of a batch of pairs, in float32."""
        image = self.image_features(batch.frames)
        audio = self.audio_features(batch.log_spectrogram)
        heat_map = self.map_of_pairs(image, audio)
        return Outputs(
            logit=max_over_cells(heat_map),
            image_embedding=max_cell_embedding(image),
            audio_embedding=l2_normalise(audio),
            heat_map=heat_map,
        )


def max_over_cells(heat_map: Float[Array, "*pairs rows cols"]) -> Float[Array, "*pairs"]:
    """Return the maximum of each heat map over its cells (OtS 4)."""
    return largest(heat_map, first_axis=heat_map.ndim - 2, axes=2)


def _small_init() -> nnx.initializers.Initializer:
    # The two vectors are not normalised: with He initialisation their scalar product, and so the loss, would be in the
    # tens at first. With this scale in the last layers it is near 1, whatever the length of the vectors.
    return nnx.initializers.variance_scaling(EMBEDDING_DIM**-0.5, "fan_in", "normal")
