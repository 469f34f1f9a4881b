"""AVE+MF, the AVE-Net that sees a second of video, 25 frames (Objects that Sound, section 3.1)."""

from flax import nnx
from ml_collections import ConfigDict

from avlearn.losses import avc
from avlearn.models.layers.conv_tower import MaxPool2x2, conv3x3
from avlearn.models.layers.embedding import EmbeddingTower
from avlearn.models.layers.embedding_network import EmbeddingNetwork
from avlearn.types import InputSpec

loss = avc.logistic

LEAST_FRAMES = 3  # fewer would leave none after pool3
BLOCK_POOLED_IN_TIME = 3


class VideoTower(EmbeddingTower):
    """AVE-Net's vision subnetwork with its 2D convolutions turned into 3D.

    OtS says that they are, and no more. The rest follows I3D (Carreira and Zisserman, CVPR 2017), which inflates a 2D
    network in this way:

    * a 3 x 3 kernel becomes 3 x 3 x 3, with one frame of zeros before the first and one after the last;
    * a stride is inflated too: conv1_1, of stride 2, halves the frames as well, 25 -> 13;
    * the first two poolings leave time alone, the third halves it, 13 -> 6 (a remainder is dropped);
    * pool4's window is the whole map, all frames of it: one vector for each second, as for one frame.

    Layers are those of `EmbeddingTower`.
    """

    # DIFFERS: (OtS 3.1) temporal sizes, strides and poolings are not in the paper; they are I3D's.
    def convolution(
        self, in_channels: int, out_channels: int, stride: int, config: ConfigDict, rngs: nnx.Rngs
    ) -> nnx.Module:
        """A convolution of 3 x 3 x 3."""
        return conv3x3(in_channels, out_channels, stride, config, rngs, in_time=True)

    def pooling(self, block: int) -> nnx.Module:
        """The maximum over 2 x 2 cells, over two frames too after the third block."""
        return MaxPool2x2(frames=2 if block == BLOCK_POOLED_IN_TIME else 1)


class Model(EmbeddingNetwork):
    """AVE-Net with another vision subnetwork, `VideoTower`, on consecutive frames about the moment of the sound."""

    # DIFFERS: (OtS 3.1) weights are drawn at random, as AVE-Net's; I3D inflates those of a trained 2D network.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Builds the network; arguments as for `EmbeddingNetwork`.

        Raises:
          ValueError: `inputs` has too few frames.
        """
        if inputs.frames < LEAST_FRAMES:
            raise ValueError(
                f"avenet_multiframe takes a second of video, and inputs.frames is {inputs.frames}; use {LEAST_FRAMES} "
                "or more, 25 in the paper (--config.inputs.frames=25)"
            )
        super().__init__(VideoTower(3, config, rngs=rngs), config, inputs, rngs=rngs)
