"""The network of Localizing Visual Sounds the Hard Way (LVS, Chen et al., CVPR 2021, section 3)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.losses import tri_map
from avlearn.models.layers.conv_tower import GlobalMaxPool, spectrogram_input
from avlearn.models.layers.embedding import l2_normalise, max_cell_embedding
from avlearn.models.layers.resnet import ResNet18, imagenet_input
from avlearn.types import Batch, InputSpec, Outputs

loss = tri_map.loss
check_loss = tri_map.check


class Model(nnx.Module):
    """A network that compares each image cell with the sound by their cosine, without further layers.

    Layers: vision and audio, a ResNet-18 each (vision.conv1 ... vision.layer4.1.bn2); and audio_pool, the maximum over
    the audio map.

    Attributes:
      inputs: the inputs that the network takes.
    """

    # DIFFERS: (LVS 4) the vision stream starts from random weights, as in the released code, not from ImageNet's.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          config: the model section of the config (width, dtype, batch_norm_momentum).
          inputs: the inputs that the network takes.
          rngs: source of the initial weights; not stored.
        """
        self.inputs = inputs
        self.vision = ResNet18(3, config, rngs=rngs)
        self.audio = ResNet18(1, config, rngs=rngs)
        self.audio_pool = GlobalMaxPool()

    def image_features(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch rows cols dim"]:
        """Return a vector of length 1 for each cell of each frame (512-D at width 1), in float32."""
        return l2_normalise(self.vision(imagenet_input(frames)))

    def audio_features(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """Return a vector of length 1 for each sound, in float32."""
        return l2_normalise(self.audio_pool(self.audio(spectrogram_input(log_spectrogram))))

    def map_of_pairs(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs rows cols"]:
        """Return the cosine of each cell with the sound, 0 to 1; `[b, 1, ...]` and `[1, b, ...]` give all pairs."""
        return jnp.einsum("...hwd,...d->...hw", image_features, audio_features)

    def contrast(
        self, image_features: Float[Array, "batch rows cols dim"], audio_features: Float[Array, "batch dim"]
    ) -> Float[Array, "batch batch rows cols"]:
        """Return the input of the loss: the maps of every image with every sound, `[image, sound, row, col]`."""
        return self.map_of_pairs(image_features[:, None], audio_features[None, :])

    def compare(
        self, image_features: Float[Array, "*#pairs rows cols dim"], audio_features: Float[Array, "*#pairs dim"]
    ) -> Float[Array, "*pairs"]:
        """Return the log-odds of correspondence, `(P - eps_p) / tau`: positive if P, the mean under the mask, is > .65.

        Training does not favour this threshold over others: prefer comparing rankings (roc_auc) to accuracies.
        """
        maps = self.map_of_pairs(image_features, audio_features)
        return tri_map.positive_log_odds(tri_map.positive_response(maps))

    # DIFFERS: LVS does no retrieval; here by the cells' maximum and the audio vector, both of length 1.
    def embed_image(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Return retrieval vectors of frames."""
        return max_cell_embedding(self.image_features(frames))

    def embed_audio(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch dim"]:
        """Return retrieval vectors of sounds."""
        return self.audio_features(log_spectrogram)

    def __call__(self, batch: Batch) -> Outputs:
        """Return log-odds as in `compare`, embeddings, and maps as log-odds of the paper's soft mask, in float32."""
        image = self.image_features(batch.frames)
        audio = self.audio_features(batch.log_spectrogram)
        cosines = self.map_of_pairs(image, audio)
        return Outputs(
            logit=tri_map.positive_log_odds(tri_map.positive_response(cosines)),
            image_embedding=max_cell_embedding(image),
            audio_embedding=audio,
            heat_map=tri_map.positive_log_odds(cosines),
        )
