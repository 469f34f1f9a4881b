"""ResNet-18 whose last stage keeps its resolution, for both streams of Localizing Visual Sounds the Hard Way (LVS 3.1).

Layers have torchvision's names, so its weights map one to one: `layer2.0.downsample.1` is
`tower.layer2.0.downsample.1`.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num, UInt8
from ml_collections import ConfigDict

from avlearn.models.layers.conv_tower import batch_norm, check_config, image_input
from avlearn.models.layers.convolution import convolve
from avlearn.models.layers.maximum import larger

CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512}  # by stage, before the width factor
BLOCKS = 2  # in each stage of ResNet-18
# As in LVS's released code the last stage has stride 1 and no dilation: 14 x 14 cells for 224 pixels.
STRIDES = {1: 1, 2: 2, 3: 2, 4: 1}
KAIMING_FAN_OUT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class MaxPool3x3(nnx.Module):
    """Maximum over 3 x 3 cells with stride 2 and one cell of padding on each side: 112 -> 56, 129 -> 65."""

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows cols channels"]:
        """Halve the map, rounded up."""
        # Slices, because on a CPU the gradient of a window reduction is a slow scatter.
        for axis in (1, 2):
            length = x.shape[axis]
            padding = [(0, 0)] * 4
            padding[axis] = (1, 1)
            padded = jnp.pad(x, padding, constant_values=-jnp.inf)
            last = 2 * ((length - 1) // 2) + 1
            thirds = [jax.lax.slice_in_dim(padded, start, start + last, stride=2, axis=axis) for start in range(3)]
            x = functools.reduce(larger, thirds)
        return x


class Numbered(nnx.Module):
    """Layers that run in sequence, named 0, 1, ... as in torchvision."""

    def __init__(self, *layers: nnx.Module):
        """Store the layers, given in execution order."""
        self.length = len(layers)
        for number, layer in enumerate(layers):
            setattr(self, str(number), layer)

    def __call__(self, x: Num[Array, "batch height width channels"]) -> Num[Array, "batch rows cols out_channels"]:
        """Return the output of the last layer."""
        for number in range(self.length):
            x = getattr(self, str(number))(x)
        return x


class BasicBlock(nnx.Module):
    """Two 3 x 3 convolutions with a shortcut: conv1, bn1, conv2, bn2, and downsample.0, .1 if the shape changes.

    Attributes:
      dtype: dtype of the convolutions.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, config: ConfigDict, *, rngs: nnx.Rngs):
        """Build the layers.

        Args:
          in_channels: channels of the input.
          channels: channels of the output.
          stride: stride of conv1 and of the shortcut.
          config: the model section.
          rngs: source of the initial weights; not stored.
        """
        self.dtype = jnp.dtype(config.dtype)
        self.conv1 = _conv(in_channels, channels, 3, stride, config, rngs)
        self.bn1 = _batch_norm(channels, config, rngs)
        self.conv2 = _conv(channels, channels, 3, 1, config, rngs)
        self.bn2 = _batch_norm(channels, config, rngs)
        if stride != 1 or in_channels != channels:
            shortcut = _conv(in_channels, channels, 1, stride, config, rngs)
            self.downsample = Numbered(shortcut, _batch_norm(channels, config, rngs))

    def __call__(self, x: Num[Array, "batch height width in_channels"]) -> Float[Array, "batch rows cols channels"]:
        """Return the sum of convolutions and shortcut after its ReLU."""
        out = nnx.relu(self.bn1(self.conv1(x))).astype(self.dtype)
        out = self.bn2(self.conv2(out))
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return nnx.relu(out + shortcut.astype(out.dtype)).astype(self.dtype)


class ResNet18(nnx.Module):
    """ResNet-18 up to its last map, with output stride 16: conv1, bn1, maxpool, layer1 ... layer4; no fc.

    Convolutions have no bias and Kaiming fan-out initial weights; the normalisations' scales are drawn from N(1, .02),
    as in LVS's released code, which does not load ImageNet weights. Batch statistics are computed over the batch of the
    call. Parameters, statistics and the normalisation are float32; convolutions compute in `config.dtype`.

    Attributes:
      channels: channels of the output map (512 at width 1).
      dtype: dtype of the convolutions.
    """

    def __init__(self, in_channels: int, config: ConfigDict, *, rngs: nnx.Rngs):
        """Build the layers.

        Args:
          in_channels: channels of the input: 3 for a frame, 1 for a log-spectrogram.
          config: the model section: `width`, `batch_norm_momentum`, `dtype`.
          rngs: source of the initial weights; not stored.

        Raises:
          ValueError: a config value is not allowed.
        """
        check_config(config)
        self.dtype = jnp.dtype(config.dtype)
        width = {stage: max(1, round(channels * config.width)) for stage, channels in CHANNELS.items()}
        self.conv1 = _conv(in_channels, width[1], 7, 2, config, rngs)
        self.bn1 = _batch_norm(width[1], config, rngs)
        self.maxpool = MaxPool3x3()
        before = width[1]
        for stage, self.channels in width.items():
            blocks = []
            for number in range(BLOCKS):
                stride = STRIDES[stage] if number == 0 else 1
                blocks.append(BasicBlock(before, self.channels, stride, config, rngs=rngs))
                before = self.channels
            setattr(self, f"layer{stage}", Numbered(*blocks))

    def __call__(self, x: Num[Array, "batch height width channels"]) -> Float[Array, "batch rows cols {self.channels}"]:
        """Return the map after the last ReLU: 14 x 14 x 512 for a frame, 17 x 13 x 512 for 257 x 200 cells of sound.

        Values are never negative. Every halving rounds up and keeps the first row: the receptive field of cell
        (row, col) is centred on pixel (16 row, 16 col), counted from 0, which is 7.5 pixels above and to the left of
        the centre of the image region that the cell represents.
        """
        x = nnx.relu(self.bn1(self.conv1(x))).astype(self.dtype)
        x = self.maxpool(x)
        for stage in CHANNELS:
            x = getattr(self, f"layer{stage}")(x)
        return x


def imagenet_input(frames: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
    """Scale frames as for torchvision's networks: minus ImageNet's mean, divided by its standard deviation."""
    return image_input(frames, "imagenet")


def _conv(in_channels: int, out_channels: int, size: int, stride: int, config: ConfigDict, rngs: nnx.Rngs) -> nnx.Conv:
    either_side = (size // 2, size // 2)
    return nnx.Conv(
        in_channels,
        out_channels,
        kernel_size=(size, size),
        strides=(stride, stride),
        padding=(either_side, either_side),
        use_bias=False,
        dtype=jnp.dtype(config.dtype),
        kernel_init=KAIMING_FAN_OUT,
        conv_general_dilated=convolve,
        rngs=rngs,
    )


def _batch_norm(channels: int, config: ConfigDict, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return batch_norm(channels, config.batch_norm_momentum, rngs, scale_init=_near_one)


def _near_one(key, shape, dtype=jnp.float32):
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)
