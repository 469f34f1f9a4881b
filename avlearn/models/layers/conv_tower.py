"""The eight-convolution tower that the vision and audio subnetworks of the papers share (L3 figure 2, OtS figure 2)."""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num, UInt8
from ml_collections import ConfigDict

from avlearn.config import one_of
from avlearn.models.layers.convolution import convolve
from avlearn.models.layers.convolve_video import convolve_video
from avlearn.models.layers.maximum import larger, largest

CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512}  # of the two convolutions of each block, before the width factor
DTYPES = ("float32", "bfloat16")
LAST = f"{max(CHANNELS)}_2"
CONV1_STRIDES = (1, 2)  # Look, Listen and Learn; Objects that Sound
CONV1_PADDINGS = ("after", "both")
# Mean and standard deviation of ImageNet's pixels, R, G, B from 0 to 1: what torchvision's weights were trained on.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
FRAME_SCALINGS = ("symmetric", "imagenet")
BATCH_NORM_EPSILON = 1e-5
HE_NORMAL = nnx.initializers.he_normal()


class MaxPool2x2(nnx.Module):
    """Maximum over 2 x 2 cells, stride 2, no padding: the remainder of an odd map is dropped (257 -> 128 in L3).

    Attributes:
      frames: over so many frames too, where there are several.
    """

    def __init__(self, frames: int = 1):
        """Sets how many frames are pooled."""
        self.frames = frames

    def __call__(
        self, x: Float[Array, "batch *frames height width channels"]
    ) -> Float[Array, "batch *times rows cols channels"]:
        """Halves the map."""
        _, *times, height, width, _ = x.shape
        rows, cols = height // 2, width // 2
        # By slices: on a CPU the gradient of a window reduction is a scatter, and slow.
        x = x[..., : 2 * rows, : 2 * cols, :]
        x = larger(x[..., ::2, :, :], x[..., 1::2, :, :])
        x = larger(x[..., ::2, :], x[..., 1::2, :])
        if self.frames == 1:
            return x
        kept = times[0] // self.frames * self.frames
        return functools.reduce(larger, [x[:, start : kept : self.frames] for start in range(self.frames)])


class GlobalMaxPool(nnx.Module):
    """Maximum over the whole map: pool4 of the papers, whose window is the map (14 x 14, 16 x 12, ...)."""

    def __call__(self, x: Float[Array, "batch *cells channels"]) -> Float[Array, "batch channels"]:
        """One vector for each map."""
        return largest(x, first_axis=1, axes=x.ndim - 2)


class ConvTower(nnx.Module):
    """Four blocks of two 3 x 3 convolutions, each with batch normalisation and ReLU; 2 x 2 max pooling between blocks.

    Or a part of it: the first blocks with their pooling, or the last one.

    Layers are the attributes conv1_1, bn1_1, conv1_2, bn1_2, pool1 ... conv4_2, bn4_2. Convolutions have no bias: the
    normalisation that follows subtracts it again, in training and in evaluation (a bias of foreign weights is folded
    exactly into the running mean, `mean - bias`). Batch statistics are those of the batch of the call. Parameters,
    statistics and the normalisation are float32; convolutions compute in `config.dtype`.

    Attributes:
      blocks: the blocks that there are.
      channels: channels of the map that comes out (512 at width 1).
      dtype: of the convolutions.
    """

    def __init__(
        self, in_channels: int, config: ConfigDict, *, blocks: tuple[int, ...] = tuple(CHANNELS), rngs: nnx.Rngs
    ):
        """Builds the layers.

        Args:
          in_channels: channels of the input: 3 for a frame, 1 for a log-spectrogram.
          config: the model section: `width`, `conv1_stride`, `batch_norm_momentum`, `dtype`.
          blocks: consecutive ones of 1 to 4.
          rngs: source of the initial weights (He normal); it is not kept.

        Raises:
          ValueError: a value of the config is not one of those allowed.
        """
        check_config(config)
        self.blocks = blocks
        self.conv1_stride = config.conv1_stride
        self.dtype = jnp.dtype(config.dtype)
        for block in blocks:
            self.channels = channels_of_block(block, config)
            for name in (f"{block}_1", f"{block}_2"):
                stride = config.conv1_stride if name == "1_1" else 1
                setattr(self, f"conv{name}", self.convolution(in_channels, self.channels, stride, config, rngs))
                setattr(self, f"bn{name}", batch_norm(self.channels, config.batch_norm_momentum, rngs))
                in_channels = self.channels
            if block != max(CHANNELS):
                setattr(self, f"pool{block}", self.pooling(block))

    def convolution(
        self, in_channels: int, out_channels: int, stride: int, config: ConfigDict, rngs: nnx.Rngs
    ) -> nnx.Module:
        """A convolution of the tower; another kind of tower has another."""
        return conv3x3(in_channels, out_channels, stride, config, rngs)

    def pooling(self, block: int) -> nnx.Module:
        """What follows a block; another kind of tower has another."""
        return MaxPool2x2()

    def __call__(self, x: Num[Array, "batch *size channels"]) -> Float[Array, "batch *cells {self.channels}"]:
        """The map after conv4_2 and its ReLU: 14 x 14 x 512 for a frame, 16 x 12 x 512 for a second of sound.

        The centre of cell (row, col) is at ((row + .5) / rows, (col + .5) / cols) of the input; the centre of its
        receptive field lies half a pixel further down and right where conv1_1 has stride 2.

        Raises:
          ValueError: see `before_last_relu`.
        """
        return nnx.relu(self.before_last_relu(x))

    def before_last_relu(self, x: Num[Array, "batch *size channels"]) -> Float[Array, "batch *cells {self.channels}"]:
        """The map after conv4_2 and its normalisation, before its ReLU (L3 3.4 classifies sounds by it).

        Of a part of the tower without conv4_2 it is what comes out, after ReLU and pooling.

        Raises:
          ValueError: the input is so small that nothing is left of it after pool3.
        """
        height, width = x.shape[-3:-1]
        smallest = 8 * self.conv1_stride
        if 1 in self.blocks and min(height, width) < smallest:
            raise ValueError(
                f"an input of {height} x {width} is too small for the conv tower: each side must be at least "
                f"{smallest}. Raise inputs.frame_pixels or inputs.columns, or lower inputs.pool."
            )
        names = [f"{block}_{number}" for block in self.blocks for number in (1, 2)]
        for name in names:
            x = getattr(self, f"bn{name}")(getattr(self, f"conv{name}")(x)).astype(self.dtype)
            if name == LAST:
                break
            x = nnx.relu(x)
            if name.endswith("_2") and hasattr(self, f"pool{name[0]}"):
                x = getattr(self, f"pool{name[0]}")(x)
        return x


class PooledTower(ConvTower):
    """The tower with pool4: one vector for each input."""

    def __init__(
        self, in_channels: int, config: ConfigDict, *, blocks: tuple[int, ...] = tuple(CHANNELS), rngs: nnx.Rngs
    ):
        """Builds the layers; arguments as for `ConvTower`."""
        super().__init__(in_channels, config, blocks=blocks, rngs=rngs)
        self.pool4 = GlobalMaxPool()

    def __call__(self, x: Num[Array, "batch *size channels"]) -> Float[Array, "batch {self.channels}"]:
        """The pool4 features (512-D at width 1)."""
        return self.pool4(super().__call__(x))


def channels_of_block(block: int, config: ConfigDict) -> int:
    """Channels of a block of the tower at the config's width."""
    return max(1, round(CHANNELS[block] * config.width))


def image_input(
    frames: UInt8[Array, "batch *frames height width 3"], scaling: str = "symmetric"
) -> Float[Array, "batch *frames height width 3"]:
    """Frames as the vision subnetwork takes them.

    Args:
      frames: RGB, 0 to 255.
      scaling: `symmetric` brings them to -1 to 1; `imagenet` is torchvision's: less the mean of ImageNet's pixels, over
        their standard deviation.
    """
    frames = frames.astype(jnp.float32)
    if scaling == "symmetric":
        return frames / 127.5 - 1
    of_channels = (1,) * (frames.ndim - 1) + (3,)
    mean = jnp.array(IMAGENET_MEAN).reshape(of_channels)
    standard_deviation = jnp.array(IMAGENET_STANDARD_DEVIATION).reshape(of_channels)
    return (frames / 255 - mean) / standard_deviation


def flow_input(flow: UInt8[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
    """Optical flow as a network takes it: 20 pixels of the stored frame to the right or down are 1, to the left -1."""
    return flow.astype(jnp.float32) / 127.5 - 1


def spectrogram_input(log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch bins columns 1"]:
    """A log-spectrogram as the audio subnetwork takes it: a one-channel image, frequency x time as the papers print."""
    return log_spectrogram.swapaxes(1, 2)[..., None]


def centred_he_normal(centre_share: float) -> nnx.initializers.Initializer:
    """He normal weights for 3 x 3 (or 3 x 3 x 3) kernels, with this share of the variance in the centre of each 3 x 3.

    1/9: all cells alike.

    A large share keeps what a cell sees near the cell, so that a short training does not learn maps whose peaks stand
    beside the objects.
    """
    around = (1 - centre_share) / 8
    variance = 9 * np.array([[around, around, around], [around, centre_share, around], [around, around, around]])

    def initialise(key, shape, dtype=jnp.float32):
        factor = np.sqrt(variance).reshape((1,) * (len(shape) - 4) + (3, 3, 1, 1))
        return HE_NORMAL(key, shape, dtype) * jnp.asarray(factor, dtype)

    return initialise


def conv3x3(
    in_channels: int, out_channels: int, stride: int, config: ConfigDict, rngs: nnx.Rngs, *, in_time: bool = False
) -> nnx.Conv:
    """A convolution of 3 x 3 cells, or with `in_time` of 3 x 3 x 3, without bias; the stride is that of every axis."""
    # Only this padding gives the sizes that OtS prints: with stride 2, one row and one column after the last and none
    # before the first halve 224 to 112, 257 to 128 and 200 to 100. One on either side would make 129 of 257.
    # `both` is what PyTorch's padding=1 does, for weights that were trained so.
    padding = (0, 1) if stride == 2 and config.conv1_padding == "after" else (1, 1)
    axes = 3 if in_time else 2
    return nnx.Conv(
        in_channels,
        out_channels,
        kernel_size=(3,) * axes,
        strides=(stride,) * axes,
        padding=((1, 1),) * (axes - 2) + (padding, padding),
        use_bias=False,
        dtype=jnp.dtype(config.dtype),
        kernel_init=centred_he_normal(config.kernel_centre_share),
        conv_general_dilated=convolve_video if in_time else convolve,
        rngs=rngs,
    )


def batch_norm(
    channels: int,
    momentum: float,
    rngs: nnx.Rngs,
    *,
    scale_init: nnx.initializers.Initializer = nnx.initializers.ones,
) -> nnx.BatchNorm:
    """Batch normalisation in float32 whatever the convolutions compute in.

    bfloat16 would round running means and scales to 8 bits.
    """
    return nnx.BatchNorm(
        channels, momentum=momentum, epsilon=BATCH_NORM_EPSILON, dtype=jnp.float32, scale_init=scale_init, rngs=rngs
    )


def check_config(config: ConfigDict) -> None:
    """Refuses values of the model section that no network can be built with.

    Raises:
      ValueError: names the key, its value and what is allowed.
    """
    one_of(config.dtype, DTYPES, "model.dtype")
    one_of(config.conv1_stride, CONV1_STRIDES, "model.conv1_stride")
    one_of(config.conv1_padding, CONV1_PADDINGS, "model.conv1_padding")
    one_of(config.frame_scaling, FRAME_SCALINGS, "model.frame_scaling")
    if config.width <= 0:
        raise ValueError(f"model.width is {config.width}; use a number above 0, 1 in the papers (--config.model.width)")
    if not 0 <= config.batch_norm_momentum < 1:
        raise ValueError(
            f"model.batch_norm_momentum is {config.batch_norm_momentum}; use a number from 0 to below 1 "
            "(--config.model.batch_norm_momentum=...)"
        )
