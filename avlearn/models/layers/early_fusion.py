"""The sound and video streams of the multisensory network and their fusion.

Owens and Efros, Audio-Visual Scene Analysis ..., ECCV 2018, section 3, figure 2; sizes are those of the released code.
"""

import functools
import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from avlearn.models.layers.conv_tower import batch_norm
from avlearn.models.layers.maximum import larger, largest
from avlearn.models.layers.residual import NormalisedConv, ResidualBlock, same_conv
from avlearn.models.layers.resnet import MaxPool3x3

COMPRESSION = 255.0  # parameter of the waveform's logarithmic (mu-law) scale
SOUND_CHANNELS = {"conv1_1": 64, "conv2_1": 128, "conv3_1": 128, "conv4_1": 256, "conv5_1": 128}
CUBE = (3, 3, 3)
ONES = (1, 1, 1)


class SoundStream(nnx.Module):
    """1D convolutions on the raw waveform.

    Layers: conv1_1 (65 samples, stride 4), then max pooling over 4; conv2_1, conv3_1, conv4_1, residual blocks with
    kernels of 15 steps and stride 4; conv5_1 (3 steps), after pooling to the steps of the video.
    """

    def __init__(self, config: ConfigDict, *, rngs: nnx.Rngs):
        """Build the layers; arguments as for `ConvTower`."""
        channels = {name: scale_channels(count, config) for name, count in SOUND_CHANNELS.items()}
        self.conv1_1 = NormalisedConv(1, channels["conv1_1"], (65,), (4,), config, rngs=rngs)
        block = functools.partial(ResidualBlock, kernel=(15,), strides=(4,), config=config, rngs=rngs)
        self.conv2_1 = block(channels["conv1_1"], channels["conv2_1"])
        self.conv3_1 = block(channels["conv2_1"], channels["conv3_1"])
        self.conv4_1 = block(channels["conv3_1"], channels["conv4_1"])
        self.conv5_1 = NormalisedConv(channels["conv4_1"], channels["conv5_1"], (3,), (1,), config, rngs=rngs)

    def __call__(self, waveform: Float[Array, "batch samples"], steps: int) -> Float[Array, "batch steps channels"]:
        """Return the audio features of each of the video's `steps`."""
        x = nnx.relu(self.conv1_1(compress(waveform)[..., None]))
        kept = x.shape[1] // 4
        x = functools.reduce(larger, [x[:, start : 4 * kept : 4] for start in range(4)])
        for block in (self.conv2_1, self.conv3_1, self.conv4_1):
            x = block(x)
        return nnx.relu(self.conv5_1(pool_to_steps(x, steps)))


class VideoStream(nnx.Module):
    """3D convolutions on the frames, up to the fusion.

    Layers: conv1 (5 x 7 x 7, stride 2), pool1 (3 x 3, stride 2, in space), and the 3 x 3 x 3 residual blocks conv2_1
    and conv2_2, the latter with stride 2.
    """

    def __init__(self, config: ConfigDict, *, rngs: nnx.Rngs):
        """Build the layers; arguments as for `ConvTower`."""
        channels = scale_channels(64, config)
        self.conv1 = NormalisedConv(3, channels, (5, 7, 7), (2, 2, 2), config, rngs=rngs)
        self.pool1 = MaxPool3x3()
        self.conv2_1 = ResidualBlock(channels, channels, CUBE, ONES, config, rngs=rngs)
        self.conv2_2 = ResidualBlock(channels, channels, CUBE, (2, 2, 2), config, rngs=rngs)

    def __call__(
        self, frames: Float[Array, "batch frames height width 3"]
    ) -> Float[Array, "batch steps rows cols channels"]:
        """Return the map that is fused with the sound: 27 x 28 x 28 x 64 for 105 frames of 224 x 224."""
        x = nnx.relu(self.conv1(frames))
        each = self.pool1(x.reshape(-1, *x.shape[2:]))
        return self.conv2_2(self.conv2_1(each.reshape(*x.shape[:2], *each.shape[1:])))


class Fusion(nnx.Module):
    """Fusion of each cell's image features with the audio features of its step.

    Layers: merge1 (512 channels, ReLU) and merge2 (128), 1 x 1 x 1 convolutions; bn, on the sum of merge2 and a
    shortcut, the first 64 image channels concatenated with the last 64 audio channels.
    """

    def __init__(self, in_channels: int, config: ConfigDict, *, rngs: nnx.Rngs):
        """Build the layers; `in_channels` counts both streams, other arguments as for `ConvTower`."""
        self.half, hidden = scale_channels(64, config), scale_channels(512, config)
        self.merge1 = NormalisedConv(in_channels, hidden, ONES, ONES, config, rngs=rngs)
        self.merge2 = same_conv(hidden, 2 * self.half, ONES, ONES, config, use_bias=True, rngs=rngs)
        self.bn = batch_norm(2 * self.half, config.batch_norm_momentum, rngs)

    def __call__(
        self, image: Float[Array, "batch steps rows cols image"], audio: Float[Array, "batch steps audio"]
    ) -> Float[Array, "batch steps rows cols channels"]:
        """Return a vector for each cell of each step."""
        everywhere = jnp.broadcast_to(audio[:, :, None, None], (*image.shape[:-1], audio.shape[-1]))
        both = jnp.concatenate([image, everywhere], axis=-1)
        shortcut = jnp.concatenate([image[..., : self.half], everywhere[..., -self.half :]], axis=-1)
        out = self.merge2(nnx.relu(self.merge1(both)))
        return nnx.relu(self.bn(out + shortcut)).astype(self.merge1.dtype)


def compress(waveform: Float[Array, "batch samples"]) -> Float[Array, "batch samples"]:
    """Put a waveform on a logarithmic scale, -1 to 1: `sign(x) ln(1 + 255 |x|) / ln(256)`."""
    return jnp.sign(waveform) * jnp.log1p(COMPRESSION * jnp.abs(waveform)) / jnp.log1p(COMPRESSION)


def pool_to_steps(x: Float[Array, "batch length channels"], steps: int) -> Float[Array, "batch steps channels"]:
    """Return the maximum over each of `steps` nearly equal segments.

    Raises:
      ValueError: `length` is below `steps`.
    """
    # DIFFERS: (Owens and Efros 3) segments are fixed; the released code draws random bounds (fractional max pooling).
    length = x.shape[1]
    if length < steps:
        raise ValueError(
            f"the sound has {length} steps at the fusion and the video {steps}; raise inputs.waveform_samples or lower "
            "inputs.frames"
        )
    bounds = [length * step // steps for step in range(steps + 1)]
    return jnp.stack([largest(x[:, start:end], first_axis=1) for start, end in itertools.pairwise(bounds)], axis=1)


def scale_channels(channels: int, config: ConfigDict) -> int:
    """Scale the released code's channels by the config's width."""
    return max(1, round(channels * config.width))
