"""Attention10k, the unsupervised attention network that LVS compares with (Senocak et al., CVPR 2018, section 3)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.losses import distance_ratio
from avlearn.models.layers.conv_tower import GlobalMaxPool, spectrogram_input
from avlearn.models.layers.embedding import l2_normalise, max_cell_embedding
from avlearn.models.layers.resnet import ResNet18, imagenet_input
from avlearn.types import Batch, InputSpec, Outputs

loss = distance_ratio.loss

DISTANCE_EPSILON = 1e-6  # under the square root, whose gradient is infinite at 0


def identity(key: jax.Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32) -> Float[Array, "dim dim"]:
    """Return the identity matrix, `[dim, dim]`, as initial weights of the four fully connected layers.

    A sound then starts by attending to the image cells that resemble it. With random weights the attention query is
    unrelated to the vectors that the loss compares, and training may settle on maps that avoid the sounding object; in
    miniature, one of two seeds did.
    """
    del key
    return jnp.eye(*shape, dtype=dtype)


class Model(nnx.Module):
    """A network in which the sound attends to the image and must match the attended vector better than other sounds do.

    Layers: vision and audio, a ResNet-18 each; audio_pool; sound_fc1 (ReLU) and sound_fc2, from the audio vector to the
    attention query; vision_fc1 (ReLU) and vision_fc2, from the attended vector to the one compared with the audio.

    Attributes:
      inputs: the inputs that the network takes.
      temperature: temperature of the softmax over cells; 1 in the paper.
    """

    # DIFFERS: (Senocak et al. 3.1) both streams are ResNet-18s from random weights, not trained VGG-16 and SoundNet.
    # DIFFERS: (Senocak et al. 3.1) the four fully connected layers start as the identity: see `identity`.
    # DIFFERS: (Senocak et al. 3.3) compared vectors have length 1: both are learnt, so their lengths could grow.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          config: the model section of the config (width, dtype, batch_norm_momentum, attention_temperature).
          inputs: the inputs that the network takes.
          rngs: source of the initial weights; not stored.

        Raises:
          ValueError: a config value is not allowed.
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
        linear = functools.partial(nnx.Linear, dim, dim, dtype=self.vision.dtype, kernel_init=identity, rngs=rngs)
        self.sound_fc1, self.sound_fc2, self.vision_fc1, self.vision_fc2 = linear(), linear(), linear(), linear()

    def image_features(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch rows cols dim"]:
        """Return a vector for each cell of each frame (512-D at width 1), in float32."""
        return self.vision(imagenet_input(frames)).astype(jnp.float32)

    def audio_features(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """Return a vector of length 1 for each sound, in float32."""
        return l2_normalise(self.audio_pool(self.audio(spectrogram_input(log_spectrogram))))

    def map_of_pairs(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs rows cols"]:
        """Return each cell's cosine with the query, at least 0; `[b, 1, ...]` and `[1, b, ...]` give all pairs."""
        query = l2_normalise(self.sound_fc2(nnx.relu(self.sound_fc1(audio_features))))
        return nnx.relu(jnp.einsum("...hwd,...d->...hw", l2_normalise(image_features), query))

    def attended(
        self, image_features: Float[Array, "*#pairs rows cols dim"], maps: Float[Array, "*#pairs rows cols"]
    ) -> Float[Array, "*pairs dim"]:
        """Return the attended vector, of length 1: two layers on the cells' mean, weighted by the map's softmax."""
        attention = jax.nn.softmax(maps / self.temperature, axis=(-2, -1))
        mean = nnx.relu(jnp.einsum("...hwd,...hw->...d", image_features, attention))
        return l2_normalise(self.vision_fc2(nnx.relu(self.vision_fc1(mean))))

    def distance(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs"]:
        """Return the distance between the sound and the vector it attends to, 0 to 2; leading axes broadcast."""
        attended = self.attended(image_features, self.map_of_pairs(image_features, audio_features))
        return jnp.sqrt(((attended - audio_features) ** 2).sum(axis=-1) + DISTANCE_EPSILON)

    # DIFFERS: (Senocak et al. 3.3) negative sounds use their own attention maps; the true sound's map would reveal it.
    def contrast(
        self, image_features: Float[Array, "batch rows cols dim"], audio_features: Float[Array, "batch dim"]
    ) -> Float[Array, "batch batch"]:
        """Return the input of the loss: the distances of all images from all sounds, `[image, sound]`.

        In the paper only the true sound attends, and the attended vector is compared with both sounds. If both streams
        are learnt, the attended position then reveals the sound, whatever the image shows: the loss falls although the
        network localizes nothing.
        """
        return self.distance(image_features[:, None], audio_features[None, :])

    def compare(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs"]:
        """Return the log-odds of correspondence: sqrt(2), the distance of unrelated vectors, minus the distance.

        Training does not favour this threshold over others: prefer comparing rankings (roc_auc) to accuracies.
        """
        return distance_ratio.log_odds(self.distance(image_features, audio_features))

    # DIFFERS: Senocak et al. do no retrieval; here by the cells' maximum and the audio vector, both of length 1.
    def embed_image(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Return retrieval vectors of frames."""
        return max_cell_embedding(self.image_features(frames))

    def embed_audio(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """Return retrieval vectors of sounds."""
        return self.audio_features(log_spectrogram)

    def __call__(self, batch: Batch) -> Outputs:
        """Return log-odds as in `compare`, embeddings and heat maps of a batch of pairs, in float32.

        The heat map is the logarithm of each cell's attention relative to uniform attention: above 0 where the sound
        attends more than on average.
        """
        image = self.image_features(batch.frames)
        audio = self.audio_features(batch.log_spectrogram)
        maps = self.map_of_pairs(image, audio)
        cells = maps.shape[-2] * maps.shape[-1]
        return Outputs(
            logit=self.compare(image, audio),
            image_embedding=max_cell_embedding(image),
            audio_embedding=audio,
            heat_map=jax.nn.log_softmax(maps / self.temperature, axis=(-2, -1)) + jnp.log(float(cells)),
        )
