"""AVE+MF, an AVE-Net that takes a second of video, 25 frames (Objects that Sound, section 3.1)."""

from flax import nnx
from ml_collections import ConfigDict

from avlearn.losses import avc
from avlearn.models.layers.conv_tower import MaxPool2x2, conv3x3
from avlearn.models.layers.embedding import EmbeddingTower
from avlearn.models.layers.embedding_network import EmbeddingNetwork
from avlearn.types import InputSpec

loss = avc.logistic

MIN_FRAMES = 3  # fewer leave none after pool3
BLOCK_POOLED_IN_TIME = 3


class VideoTower(EmbeddingTower):
    """AVE-Net's vision subnetwork with 3D convolutions in place of 2D.

    OtS gives no details. They follow I3D (Carreira and Zisserman, CVPR 2017), which inflates a 2D network:

    * a 3 x 3 kernel becomes 3 x 3 x 3, with one frame of zero padding at either end;
    * strides are inflated too: conv1_1, of stride 2, also halves the number of frames, 25 -> 13;
    * the first two poolings leave time unchanged, the third halves it, 13 -> 6 (a remainder is dropped);
    * pool4's window is the whole map over all frames, so a second of video gives one vector.

    Layers are named as in `EmbeddingTower`.
    """

    # DIFFERS: (OtS 3.1) the paper gives no temporal sizes, strides or poolings; these are I3D's.
    def convolution(
        self, in_channels: int, out_channels: int, stride: int, config: ConfigDict, rngs: nnx.Rngs
    ) -> nnx.Module:
        """Build a 3 x 3 x 3 convolution."""
        return conv3x3(in_channels, out_channels, stride, config, rngs, in_time=True)

    def pooling(self, block: int) -> nnx.Module:
        """Build max pooling over 2 x 2 cells, and over two frames after the third block."""
        return MaxPool2x2(frames=2 if block == BLOCK_POOLED_IN_TIME else 1)


class Model(EmbeddingNetwork):
    """AVE-Net with `VideoTower` as vision subnetwork, on consecutive frames centred on the sound."""

    # DIFFERS: (OtS 3.1) initial weights are random, like AVE-Net's; I3D inflates those of a trained 2D network.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network; arguments as for `EmbeddingNetwork`.

        Raises:
          ValueError: `inputs` has too few frames.
        """
        if inputs.frames < MIN_FRAMES:
            raise ValueError(
                f"avenet_multiframe takes a second of video, but inputs.frames is {inputs.frames}; use {MIN_FRAMES} "
                "or more, 25 in the paper (--config.inputs.frames=25)"
            )
        super().__init__(VideoTower(3, config, rngs=rngs), config, inputs, rngs=rngs)
