"""VGG16, configuration D, up to its last hidden layer (Simonyan and Zisserman, ICLR 2015, table 1).

Its ImageNet features are a baseline of Objects that Sound (OtS table 1: nDCG@30 .600 im-im). It takes images only, has
no loss and cannot be trained here. Its weights come from torchvision or Keras (`avlearn import`).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.models.layers.conv_tower import (
    HE_NORMAL,
    IMAGENET_MEAN,
    IMAGENET_STANDARD_DEVIATION,
    MaxPool2x2,
    check_config,
)
from avlearn.models.layers.embedding import l2_normalise
from avlearn.types import Batch, InputSpec, Outputs

# Block to its channels and its number of convolutions.
CONVOLUTIONS = {1: (64, 2), 2: (128, 2), 3: (256, 3), 4: (512, 3), 5: (512, 3)}
FC_DIM = 4096  # outputs of fc6 and fc7, before the width factor
HALVINGS = 5


class Model(nnx.Module):
    """Thirteen 3 x 3 convolutions in five blocks, then fc6 and fc7; a frame's features are fc7 after its ReLU.

    Layers: conv1_1, conv1_2, pool1 ... conv5_3, pool5, fc6, fc7. They are torchvision's features.0, features.2 ...
    features.28, classifier.0, classifier.3, and Keras's block1_conv1 ... block5_conv3, fc1, fc2. The last layer (1000
    classes) is left out, and so is dropout, which does nothing outside training. fc6 flattens its map as rows x columns
    x channels, as Keras does; torchvision puts channels first.

    conv1_1 takes R, G, B as in torchvision: minus a mean colour, divided by ImageNet's standard deviation. The mean
    colour is stored with the weights, because the sources use different ones. Zero padding represents it, so weights
    trained with another mean are exact at the borders too.

    Attributes:
      inputs: the inputs that the network takes; it ignores the sound.
      mean_colour: R, G, B from 0 to 255.
    """

    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          config: the model section of the config (width, dtype).
          inputs: the inputs that the network takes; `frame_pixels` sets fc6's size (224 for published weights).
          rngs: source of the initial weights; not stored.

        Raises:
          ValueError: a config value is not allowed, or the frames are too small.
        """
        check_config(config)
        self.inputs = inputs
        self.dtype = jnp.dtype(config.dtype)
        cells = (inputs.frame_pixels // 2**HALVINGS) ** 2
        if cells == 0:
            raise ValueError(
                f"frames of {inputs.frame_pixels} pixels are too small for VGG16, which halves them {HALVINGS} times; "
                f"use at least {2**HALVINGS} (--config.inputs.frame_pixels=224)"
            )
        self.mean_colour = nnx.BatchStat(255 * jnp.array(IMAGENET_MEAN))
        layer = {"dtype": self.dtype, "kernel_init": HE_NORMAL, "rngs": rngs}
        before = 3
        for block, (paper_channels, count) in CONVOLUTIONS.items():
            channels = max(1, round(paper_channels * config.width))
            for number in range(1, count + 1):
                setattr(self, f"conv{block}_{number}", nnx.Conv(before, channels, (3, 3), padding=1, **layer))
                before = channels
            setattr(self, f"pool{block}", MaxPool2x2())
        hidden = max(1, round(FC_DIM * config.width))
        self.fc6 = nnx.Linear(cells * before, hidden, **layer)
        self.fc7 = nnx.Linear(hidden, hidden, **layer)

    def image_features(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Return the last hidden layer after its ReLU (4096-D at width 1), in float32.

        Raises:
          ValueError: the frames do not have the size that fc6 was built for.
        """
        side = self.inputs.frame_pixels
        if frames.shape[1:3] != (side, side):
            raise ValueError(
                f"VGG16 takes frames of {side} x {side} pixels but was given {frames.shape[1]} x {frames.shape[2]}; "
                "leave config.evaluation.frame_pixels at 0"
            )
        colour = self.mean_colour[...].reshape(1, 1, 1, 3)
        deviation = 255 * jnp.array(IMAGENET_STANDARD_DEVIATION).reshape(1, 1, 1, 3)
        x = ((frames.astype(jnp.float32) - colour) / deviation).astype(self.dtype)
        for block, (_, count) in CONVOLUTIONS.items():
            for number in range(1, count + 1):
                x = nnx.relu(getattr(self, f"conv{block}_{number}")(x))
            x = getattr(self, f"pool{block}")(x)
        x = nnx.relu(self.fc6(x.reshape(len(x), -1)))
        return nnx.relu(self.fc7(x)).astype(jnp.float32)

    def embed_image(self, frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Return retrieval vectors of frames: the features, scaled to length 1 as L3-Net's are."""
        return l2_normalise(self.image_features(frames))

    def __call__(self, batch: Batch) -> Outputs:
        """Return the image embeddings of a batch; its sounds are not used."""
        return Outputs(image_embedding=self.embed_image(batch.frames))
