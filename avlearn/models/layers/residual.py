"""The residual block of the multisensory network, for sound (one axis) and for video (three axes)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num
from ml_collections import ConfigDict

from avlearn.models.layers.conv_tower import HE_NORMAL, batch_norm
from avlearn.models.layers.convolve_video import convolve_video


class NormalisedConv(nnx.Module):
    """A convolution without bias, padded so that only the stride shrinks the map, and its batch normalisation.

    Attributes:
      dtype: dtype of the convolution.
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
        """Build the layers; a side of n becomes n / stride, rounded up."""
        self.dtype = jnp.dtype(config.dtype)
        self.conv = same_conv(in_channels, channels, kernel, strides, config, use_bias=False, rngs=rngs)
        self.bn = batch_norm(channels, config.batch_norm_momentum, rngs)

    def __call__(self, x: Num[Array, "batch *size in_channels"]) -> Float[Array, "batch *cells channels"]:
        """Return the normalised map, before any ReLU."""
        return self.bn(self.conv(x)).astype(self.dtype)


class ResidualBlock(nnx.Module):
    """Two convolutions with a shortcut, and one normalisation of the sum.

    Layers: first (convolution, normalisation, ReLU), second (convolution), bn (on the sum, followed by ReLU); and
    shortcut, a normalised 1 x 1 convolution, if the number of channels changes. If only the stride changes the shape,
    the shortcut subsamples the input.
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
        """Build the layers.

        Args:
          in_channels: channels of the input.
          channels: channels of the output.
          kernel: kernel size of both convolutions.
          strides: strides of the first convolution and of the shortcut.
          config: the model section: `dtype`, `batch_norm_momentum`.
          rngs: source of the initial weights (He normal); not stored.
        """
        self.strides = strides
        ones = (1,) * len(kernel)
        self.first = NormalisedConv(in_channels, channels, kernel, strides, config, rngs=rngs)
        self.second = same_conv(channels, channels, kernel, ones, config, use_bias=True, rngs=rngs)
        if in_channels != channels:
            self.shortcut = NormalisedConv(in_channels, channels, ones, strides, config, rngs=rngs)
        self.bn = batch_norm(channels, config.batch_norm_momentum, rngs)

    def __call__(self, x: Num[Array, "batch *size in_channels"]) -> Float[Array, "batch *cells channels"]:
        """Return the normalised sum of convolutions and shortcut after its ReLU."""
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
    """Build a convolution over the kernel's number of axes; a side of n becomes n / stride, rounded up."""
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
