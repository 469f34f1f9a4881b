"""The residual block of the multisensory network, of the same form for sound (one axis) and for video (three)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num
from ml_collections import ConfigDict

from avlearn.models.layers.conv_tower import HE_NORMAL, batch_norm
from avlearn.models.layers.convolve_video import convolve_video


class NormalisedConv(nnx.Module):
    """A convolution without bias and its batch normalisation; padded so that only the stride makes the map smaller.

    Attributes:
      dtype: of the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: tuple[int, ...],
        strides: tuple[int, ...],
        config: ConfigDict,
        *,
        rngs: nnx.Rngs,
    ):
        """Builds the layers; a side of n becomes n / stride, rounded up."""
        self.dtype = jnp.dtype(config.dtype)
        self.conv = same_conv(in_channels, channels, kernel, strides, config, use_bias=False, rngs=rngs)
        self.bn = batch_norm(channels, config.batch_norm_momentum, rngs)

    def __call__(self, x: Num[Array, "batch *size in_channels"]) -> Float[Array, "batch *cells channels"]:
        """The normalised map, before any ReLU."""
        return self.bn(self.conv(x)).astype(self.dtype)


class ResidualBlock(nnx.Module):
    """Two convolutions beside a shortcut, and one normalisation of their sum.

    Layers: first (convolution and normalisation, ReLU), second (convolution alone), bn (of the sum, ReLU); and shortcut
    where the channels change, a convolution of one cell with its normalisation. Where the stride alone changes the
    shape, the shortcut takes every so many cells.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: tuple[int, ...],
        strides: tuple[int, ...],
        config: ConfigDict,
        *,
        rngs: nnx.Rngs,
    ):
        """Builds the layers.

        Args:
          in_channels: channels of the input.
          channels: channels of the output.
          kernel: sides of both convolutions' kernels.
          strides: of the first convolution and of the shortcut.
          config: the model section: `dtype`, `batch_norm_momentum`.
          rngs: source of the initial weights (He normal); it is not kept.
        """
        self.strides = strides
        once, one_cell = (1,) * len(kernel), (1,) * len(kernel)
        self.first = NormalisedConv(in_channels, channels, kernel, strides, config, rngs=rngs)
        self.second = same_conv(channels, channels, kernel, once, config, use_bias=True, rngs=rngs)
        if in_channels != channels:
            self.shortcut = NormalisedConv(in_channels, channels, one_cell, strides, config, rngs=rngs)
        self.bn = batch_norm(channels, config.batch_norm_momentum, rngs)

    def __call__(self, x: Num[Array, "batch *size in_channels"]) -> Float[Array, "batch *cells channels"]:
        """The sum of both ways after its normalisation and ReLU."""
        out = self.second(nnx.relu(self.first(x)))
        if hasattr(self, "shortcut"):
            x = self.shortcut(x)
        else:
            x = x[(slice(None), *(slice(None, None, stride) for stride in self.strides))]
        return nnx.relu(self.bn(out + x)).astype(self.first.dtype)


def same_conv(
    in_channels: int,
    channels: int,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    config: ConfigDict,
    *,
    use_bias: bool,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution over as many axes as the kernel has sides; a side of n becomes n / stride, rounded up."""
    return nnx.Conv(
        in_channels,
        channels,
        kernel_size=kernel,
        strides=strides,
        padding="SAME",
        use_bias=use_bias,
        dtype=jnp.dtype(config.dtype),
        kernel_init=HE_NORMAL,
        conv_general_dilated=convolve_video if len(kernel) == 3 else jax.lax.conv_general_dilated,
        rngs=rngs,
    )
