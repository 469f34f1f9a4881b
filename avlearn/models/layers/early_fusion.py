"""What the multisensory network does before its streams are one: sound, video, and their fusion.

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

COMPRESSION = 255.0  # of the waveform's logarithm
SOUND_CHANNELS = {"conv1_1": 64, "conv2_1": 128, "conv3_1": 128, "conv4_1": 256, "conv5_1": 128}
CUBE = (3, 3, 3)
ONCE = (1, 1, 1)


class SoundStream(nnx.Module):
    """1D convolutions on the raw waveform.

    Layers: conv1_1 (65 samples, stride 4), then the maximum of 4; conv2_1, conv3_1, conv4_1, residual blocks of 15
    steps, each with stride 4; conv5_1 (3 steps), after the steps are brought to those of the video.
    """

    def __init__(self, config: ConfigDict, *, rngs: nnx.Rngs):
        """Builds the layers; arguments as for `ConvTower`."""
        channels = {name: scaled(count, config) for name, count in SOUND_CHANNELS.items()}
        self.conv1_1 = NormalisedConv(1, channels["conv1_1"], (65,), (4,), config, rngs=rngs)
        before = channels["conv1_1"]
        for name in ("conv2_1", "conv3_1", "conv4_1"):
            setattr(self, name, ResidualBlock(before, channels[name], (15,), (4,), config, rngs=rngs))
            before = channels[name]
        self.conv5_1 = NormalisedConv(before, channels["conv5_1"], (3,), (1,), config, rngs=rngs)

    def __call__(self, waveform: Float[Array, "batch samples"], steps: int) -> Float[Array, "batch steps channels"]:
        """What is heard during each of so many steps of the video."""
        x = nnx.relu(self.conv1_1(compressed(waveform)[..., None]))
        kept = x.shape[1] // 4
        x = functools.reduce(larger, [x[:, start : 4 * kept : 4] for start in range(4)])
        for block in (self.conv2_1, self.conv3_1, self.conv4_1):
            x = block(x)
        return nnx.relu(self.conv5_1(pooled_to(x, steps)))


class VideoStream(nnx.Module):
    """3D convolutions on the frames, up to the fusion.

    Layers: conv1 (5 x 7 x 7, stride 2), pool1 (3 x 3, stride 2, in space); residual blocks of 3 x 3 x 3: conv2_1, and
    conv2_2 with stride 2.
    """

    def __init__(self, config: ConfigDict, *, rngs: nnx.Rngs):
        """Builds the layers; arguments as for `ConvTower`."""
        channels = scaled(64, config)
        self.conv1 = NormalisedConv(3, channels, (5, 7, 7), (2, 2, 2), config, rngs=rngs)
        self.pool1 = MaxPool3x3()
        self.conv2_1 = ResidualBlock(channels, channels, CUBE, ONCE, config, rngs=rngs)
        self.conv2_2 = ResidualBlock(channels, channels, CUBE, (2, 2, 2), config, rngs=rngs)

    def __call__(
        self, frames: Float[Array, "batch frames height width 3"]
    ) -> Float[Array, "batch steps rows cols channels"]:
        """The map that meets the sound: 27 x 28 x 28 x 64 of 105 frames of 224 x 224."""
        x = nnx.relu(self.conv1(frames))
        each = self.pool1(x.reshape(-1, *x.shape[2:]))
        return self.conv2_2(self.conv2_1(each.reshape(*x.shape[:2], *each.shape[1:])))


class Fusion(nnx.Module):
    """What is seen in a cell and what is heard in its step, made one vector.

    Layers: merge1 (512 channels, ReLU) and merge2 (128), both on each cell alone; bn, of the sum of merge2 and a
    shortcut, which is the first 64 channels of what is seen beside the last 64 of what is heard.
    """

    def __init__(self, in_channels: int, config: ConfigDict, *, rngs: nnx.Rngs):
        """Builds the layers; `in_channels` are those of both together, other arguments as for `ConvTower`."""
        self.half, hidden = scaled(64, config), scaled(512, config)
        self.merge1 = NormalisedConv(in_channels, hidden, ONCE, ONCE, config, rngs=rngs)
        self.merge2 = same_conv(hidden, 2 * self.half, ONCE, ONCE, config, use_bias=True, rngs=rngs)
        self.bn = batch_norm(2 * self.half, config.batch_norm_momentum, rngs)

    def __call__(
        self, seen: Float[Array, "batch steps rows cols seen"], heard: Float[Array, "batch steps heard"]
    ) -> Float[Array, "batch steps rows cols channels"]:
        """A vector for each cell of each step."""
        everywhere = jnp.broadcast_to(heard[:, :, None, None], (*seen.shape[:-1], heard.shape[-1]))
        both = jnp.concatenate([seen, everywhere], axis=-1)
        shortcut = jnp.concatenate([seen[..., : self.half], everywhere[..., -self.half :]], axis=-1)
        out = self.merge2(nnx.relu(self.merge1(both)))
        return nnx.relu(self.bn(out + shortcut)).astype(self.merge1.dtype)


def compressed(waveform: Float[Array, "batch samples"]) -> Float[Array, "batch samples"]:
    """The waveform on a logarithmic scale, -1 to 1: `sign(x) ln(1 + 255 |x|) / ln(256)`."""
    return jnp.sign(waveform) * jnp.log1p(COMPRESSION * jnp.abs(waveform)) / jnp.log1p(COMPRESSION)


def pooled_to(x: Float[Array, "batch length channels"], steps: int) -> Float[Array, "batch steps channels"]:
    """The maximum over each of `steps` nearly equal parts of the length.

    Raises:
      ValueError: there are fewer than that.
    """
    # DIFFERS: (Owens and Efros 3) the parts are fixed; the released code draws their bounds (fractional max pooling).
    length = x.shape[1]
    if length < steps:
        raise ValueError(
            f"the sound has {length} steps where it meets {steps} of the video; raise "
            "inputs.waveform_samples, or lower inputs.frames"
        )
    bounds = [length * step // steps for step in range(steps + 1)]
    return jnp.stack([largest(x[:, start:end], first_axis=1) for start, end in itertools.pairwise(bounds)], axis=1)


def scaled(channels: int, config: ConfigDict) -> int:
    """Channels of the released code at the config's width."""
    return max(1, round(channels * config.width))
