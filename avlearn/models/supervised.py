"""The supervised baseline of Look, Listen and Learn (section 3.2): both trunks are trained on labels.

*Direct combination* is this network: frame and sound correspond if both get the same class. *Supervised pretraining* is
L3-Net on the frozen trunks of this network (configs/supervised_pretraining.py).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.losses import classification
from avlearn.models.layers.conv_tower import image_input, spectrogram_input
from avlearn.models.layers.embedding import EmbeddingTower, l2_normalise
from avlearn.types import Batch, InputSpec, Outputs

loss = classification.loss


class Model(nnx.Module):
    """Two independent classifiers: L3-Net's streams, each with layers of 512 x 128 and 128 x classes.

    Layers: vision.conv1_1 ... vision.pool4, named as in L3-Net, then vision.fc1 (ReLU) and vision.fc2; audio likewise.

    Attributes:
      inputs: the inputs that the network takes; labels have `inputs.classes` classes.
    """

    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          config: the model section of the config (width, conv1_stride, dtype, ...).
          inputs: the inputs that the network takes.
          rngs: source of the initial weights; not stored.

        Raises:
          ValueError: `inputs.classes` is below 2.
        """
        if inputs.classes < 2:
            raise ValueError(
                f"inputs.classes is {inputs.classes}; a network trained on labels needs the number of classes "
                "of its dataset, 2 or more (--config.inputs.classes=...)"
            )
        self.inputs = inputs
        self.frame_scaling = config.frame_scaling
        self.vision = EmbeddingTower(3, config, outputs=inputs.classes, rngs=rngs)
        self.audio = EmbeddingTower(1, config, outputs=inputs.classes, rngs=rngs)

    def image_features(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch classes"]:
        """Return class log-probabilities of frames."""
        return jax.nn.log_softmax(self.vision(image_input(frames, self.frame_scaling)))

    def audio_features(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch classes"]:
        """Return class log-probabilities of sounds."""
        return jax.nn.log_softmax(self.audio(spectrogram_input(log_spectrogram)))

    def compare(
        self, image_features: Float[Array, "*#pairs classes"], audio_features: Float[Array, "*#pairs classes"]
    ) -> Float[Array, "*pairs"]:
        """Return the log-odds of the scalar product of the two softmax outputs; leading axes broadcast.

        The paper tunes a threshold on the product: --config.evaluation.avc_accuracy.threshold=validation.
        """
        return classification.agreement_log_odds(image_features, audio_features)

    # DIFFERS: (Look, Listen and Learn 3.2) does no retrieval; here by the softmax outputs, scaled to length 1.
    def embed_image(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch classes"]:
        """Return retrieval vectors of frames."""
        return l2_normalise(jnp.exp(self.image_features(frames)))

    def embed_audio(self, log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch classes"]:
        """Return retrieval vectors of sounds."""
        return l2_normalise(jnp.exp(self.audio_features(log_spectrogram)))

    def __call__(self, batch: Batch) -> Outputs:
        """Return log-odds and embeddings of a batch of pairs, in float32."""
        image = self.image_features(batch.frames)
        audio = self.audio_features(batch.log_spectrogram)
        return Outputs(
            logit=self.compare(image, audio),
            image_embedding=l2_normalise(jnp.exp(image)),
            audio_embedding=l2_normalise(jnp.exp(audio)),
        )
