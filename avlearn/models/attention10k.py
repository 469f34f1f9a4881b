"""Attention by sound without labels: the baseline Attention10k of LVS (Senocak et al., CVPR 2018, section 3)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.losses import distance_ratio
from avlearn.models.layers.conv_tower import GlobalMaxPool, spectrogram_input
from avlearn.models.layers.embedding import l2_normalise, strongest_cells
from avlearn.models.layers.resnet import ResNet18, imagenet_input
from avlearn.types import Batch, InputSpec, Outputs

loss = distance_ratio.loss

DISTANCE_EPSILON = 1e-6  # under the square root, whose gradient is infinite at 0


def identity(key: jax.Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32) -> Float[Array, "dim dim"]:
    """Initial weights `[dim, dim]`, the unit matrix, with which a sound looks where the picture is like it.

    With random weights in the four layers nothing ties the query to the vectors that are compared, and a training may
    settle on a map that looks away from what sounds: in miniature, one of two seeds did.
    """
    del key
    return jnp.eye(*shape, dtype=dtype)


class Model(nnx.Module):
    """The sound chooses where to look, and what is seen there must lie nearer to it than to other sounds.

    Layers: vision and audio, a ResNet-18 each; audio_pool; sound_fc1 (ReLU) and sound_fc2, from the sound's vector to
    the query; vision_fc1 (ReLU) and vision_fc2, from what was attended to the vector that is compared with the sound's.

    Attributes:
      inputs: what the network eats.
      temperature: of the softmax over cells; 1 in the paper.
    """

    # DIFFERS: (Senocak et al. 3.1) both streams are ResNet-18s from random weights, not trained VGG-16 and SoundNet.
    # DIFFERS: (Senocak et al. 3.1) the four layers start as the identity: see `identity`.
    # DIFFERS: (Senocak et al. 3.3) compared vectors are of length 1: both are learnt, and their lengths could grow.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Builds the network.

        Args:
          config: the model section of the config (width, dtype, batch_norm_momentum, attention_temperature).
          inputs: what the network eats.
          rngs: source of the initial weights; it is not kept.

        Raises:
          ValueError: a value of the config is not one of those allowed.
        """
        if config.attention_temperature <= 0:
            raise ValueError(
                f"model.attention_temperature is {config.attention_temperature}; use a number above 0, 1 in the paper "
                "(--config.model.attention_temperature=...)"
            )
        self.inputs = inputs
        self.temperature = config.attention_temperature
        self.vision = ResNet18(3, config, rngs=rngs)
        self.audio = ResNet18(1, config, rngs=rngs)
        self.audio_pool = GlobalMaxPool()
        dim = self.vision.channels
        for name in ("sound_fc1", "sound_fc2", "vision_fc1", "vision_fc2"):
            setattr(self, name, nnx.Linear(dim, dim, dtype=self.vision.dtype, kernel_init=identity, rngs=rngs))

    def image_features(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch rows cols dim"]:
        """A vector for each cell of each frame (512-D at width 1), in float32."""
        return self.vision(imagenet_input(frames)).astype(jnp.float32)

    def audio_features(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """A vector of length 1 for each sound, in float32."""
        return l2_normalise(self.audio_pool(self.audio(spectrogram_input(log_spectrogram))))

    def map_of_pairs(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs rows cols"]:
        """Cosine of each cell with the sound's query, at least 0; `[b, 1, ...]` and `[1, b, ...]` give all pairs."""
        query = l2_normalise(self.sound_fc2(nnx.relu(self.sound_fc1(audio_features))))
        return nnx.relu(jnp.einsum("...hwd,...d->...hw", l2_normalise(image_features), query))

    def attended(
        self, image_features: Float[Array, "*#pairs rows cols dim"], maps: Float[Array, "*#pairs rows cols"]
    ) -> Float[Array, "*pairs dim"]:
        """What is seen where the map looks, as a vector of length 1: the mean of the cells under the map's softmax."""
        attention = jax.nn.softmax(maps / self.temperature, axis=(-2, -1))
        seen = nnx.relu(jnp.einsum("...hwd,...hw->...d", image_features, attention))
        return l2_normalise(self.vision_fc2(nnx.relu(self.vision_fc1(seen))))

    def distance(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs"]:
        """Distance of what is seen where the sound looks from that sound, 0 to 2; leading axes broadcast."""
        seen = self.attended(image_features, self.map_of_pairs(image_features, audio_features))
        return jnp.sqrt(((seen - audio_features) ** 2).sum(axis=-1) + DISTANCE_EPSILON)

    # DIFFERS: (Senocak et al. 3.3) every sound attends for itself, a negative too: the place would tell the own one.
    def contrast(
        self, image_features: Float[Array, "batch rows cols dim"], audio_features: Float[Array, "batch dim"]
    ) -> Float[Array, "batch batch"]:
        """What the loss compares: the distances of all images from all sounds, `[image, sound]`.

        The paper lets the own sound attend and compares what it saw with both sounds. Where both streams are learnt,
        the place that was attended then tells which sound it was, whatever is in the picture: the loss falls, and
        nothing is found.
        """
        return self.distance(image_features[:, None], audio_features[None, :])

    def compare(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs"]:
        """Log-odds of correspondence: how far the distance is below that of unrelated vectors, the root of 2.

        Nothing in the training sets this threshold apart from others: compare rankings (roc_auc) before accuracies.
        """
        return distance_ratio.log_odds(self.distance(image_features, audio_features))

    # DIFFERS: Senocak et al. retrieve nothing; the unit vectors are the maximum over the cells', and the sound's.
    def embed_image(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Retrieval vectors of frames."""
        return strongest_cells(self.image_features(frames))

    def embed_audio(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """Retrieval vectors of sound."""
        return self.audio_features(log_spectrogram)

    def __call__(self, batch: Batch) -> Outputs:
        """Log-odds as of `compare`, embeddings and maps, in float32.

        The heat map is the logarithm of a cell's attention, over that of even attention: above 0 where the sound looks
        more than anywhere.
        """
        image = self.image_features(batch.frames)
        audio = self.audio_features(batch.log_spectrogram)
        maps = self.map_of_pairs(image, audio)
        cells = maps.shape[-2] * maps.shape[-1]
        return Outputs(
            logit=self.compare(image, audio),
            image_embedding=strongest_cells(image),
            audio_embedding=audio,
            heat_map=jax.nn.log_softmax(maps / self.temperature, axis=(-2, -1)) + jnp.log(float(cells)),
        )
