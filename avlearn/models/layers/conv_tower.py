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

CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512}  # channels of each block's two convolutions, before the width factor
DTYPES = ("float32", "bfloat16")
CONV1_STRIDES = (1, 2)  # Look, Listen and Learn; Objects that Sound
LAST_LAYER = f"{max(CHANNELS)}_2"
CONV1_PADDINGS = ("after", "both")
# Mean and standard deviation of ImageNet's pixels, R, G, B from 0 to 1, as torchvision's weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
FRAME_SCALINGS = ("symmetric", "imagenet")
BATCH_NORM_EPSILON = 1e-5
HE_NORMAL = nnx.initializers.he_normal()


class MaxPool2x2(nnx.Module):
    """Maximum over 2 x 2 cells, stride 2, no padding: the remainder of an odd map is dropped (257 -> 128 in L3).

    Attributes:
      frames: how many frames are pooled together.
    """

    def __init__(self, frames: int = 1):
        """Set how many frames are pooled together."""
        self.frames = frames

    def __call__(
        self, x: Float[Array, "batch *frames height width channels"]
    ) -> Float[Array, "batch *times rows cols channels"]:
        """Halve the map."""
        _, *times, height, width, _ = x.shape
        rows, cols = height // 2, width // 2
        # Slices, because on a CPU the gradient of a window reduction is a slow scatter.
        x = x[..., : 2 * rows, : 2 * cols, :]
        x = larger(x[..., ::2, :, :], x[..., 1::2, :, :])
        x = larger(x[..., ::2, :], x[..., 1::2, :])
        if self.frames == 1:
            return x
        kept = times[0] // self.frames * self.frames
        return functools.reduce(larger, [x[:, start : kept : self.frames] for start in range(self.frames)])


class GlobalMaxPool(nnx.Module):
    """Maximum over the whole map: the papers' pool4, whose window is the map (14 x 14, 16 x 12, ...)."""

    def __call__(self, x: Float[Array, "batch *cells channels"]) -> Float[Array, "batch channels"]:
        """Reduce each map to one vector."""
        return largest(x, first_axis=1, axes=x.ndim - 2)


class ConvTower(nnx.Module):
    """Four blocks of two 3 x 3 convolutions, each with batch normalisation and ReLU; 2 x 2 max pooling between blocks.

    `blocks` selects a part of the tower: the first blocks with their pooling, or the last block.

    Layers are the attributes conv1_1, bn1_1, conv1_2, bn1_2, pool1 ... conv4_2, bn4_2. Convolutions have no bias, since
    the normalisation would subtract it again (a bias in imported weights is folded exactly into the running mean,
    `mean - bias`). Batch statistics are computed over the batch of the call. Parameters, statistics and the
    normalisation are float32; convolutions compute in `config.dtype`.

    Attributes:
      blocks: the blocks present.
      channels: channels of the output map (512 at width 1).
      dtype: dtype of the convolutions.
    """

    def __init__(
        self, in_channels: int, config: ConfigDict, *, blocks: tuple[int, ...] = tuple(CHANNELS), rngs: nnx.Rngs
    ):
        """Build the layers.

        Args:
          in_channels: channels of the input: 3 for a frame, 1 for a log-spectrogram.
          config: the model section: `width`, `conv1_stride`, `batch_norm_momentum`, `dtype`.
          blocks: consecutive numbers from 1 to 4.
          rngs: source of the initial weights (He normal); not stored.

        Raises:
          ValueError: a config value is not allowed.
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
        """Build one convolution; subclasses override it."""
        return conv3x3(in_channels, out_channels, stride, config, rngs)

    def pooling(self, block: int) -> nnx.Module:
        """Build the pooling after a block; subclasses override it."""
        return MaxPool2x2()

    def __call__(self, x: Num[Array, "batch *size channels"]) -> Float[Array, "batch *cells {self.channels}"]:
        """Return conv4_2's map after its ReLU: 14 x 14 x 512 for a frame, 16 x 12 x 512 for a second of sound.

        The centre of cell (row, col) is at ((row + .5) / rows, (col + .5) / cols) of the input; with stride 2 in
        conv1_1 the centre of its receptive field is half a pixel further down and to the right.

        Raises:
          ValueError: see `before_last_relu`.
        """
        return nnx.relu(self.before_last_relu(x))

    def before_last_relu(self, x: Num[Array, "batch *size channels"]) -> Float[Array, "batch *cells {self.channels}"]:
        """Return conv4_2's normalised map before its ReLU (L3 3.4 classifies sounds with it).

        A part of the tower without conv4_2 returns its output after ReLU and pooling.

        Raises:
          ValueError: the input is too small to leave a cell after pool3.
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
            if name == LAST_LAYER:
                break
            x = nnx.relu(x)
            if name.endswith("_2") and hasattr(self, f"pool{name[0]}"):
                x = getattr(self, f"pool{name[0]}")(x)
        return x


class PooledTower(ConvTower):
    """The tower followed by pool4, which gives one vector for each input."""

    def __init__(
        self, in_channels: int, config: ConfigDict, *, blocks: tuple[int, ...] = tuple(CHANNELS), rngs: nnx.Rngs
    ):
        """Build the layers; arguments as for `ConvTower`."""
        super().__init__(in_channels, config, blocks=blocks, rngs=rngs)
        self.pool4 = GlobalMaxPool()

    def __call__(self, x: Num[Array, "batch *size channels"]) -> Float[Array, "batch {self.channels}"]:
        """Return the pool4 features (512-D at width 1)."""
        return self.pool4(super().__call__(x))


def channels_of_block(block: int, config: ConfigDict) -> int:
    """Return the channels of a block at the config's width."""
    return max(1, round(CHANNELS[block] * config.width))


def image_input(
    frames: UInt8[Array, "batch *frames height width 3"], scaling: str = "symmetric"
) -> Float[Array, "batch *frames height width 3"]:
    """Scale frames to the inputs of the vision subnetwork.

    Args:
      frames: RGB, 0 to 255.
      scaling: `symmetric` scales them to -1 to 1; `imagenet`, as in torchvision, subtracts the mean of ImageNet's
        pixels and divides by their standard deviation.
    """
    frames = frames.astype(jnp.float32)
    if scaling == "symmetric":
        return frames / 127.5 - 1
    channels_last = (1,) * (frames.ndim - 1) + (3,)
    mean = jnp.array(IMAGENET_MEAN).reshape(channels_last)
    standard_deviation = jnp.array(IMAGENET_STANDARD_DEVIATION).reshape(channels_last)
    return (frames / 255 - mean) / standard_deviation


def flow_input(flow: UInt8[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
    """Scale optical flow to -1 to 1: 20 pixels of the stored frame to the right or down are 1, to the left or up -1."""
    return flow.astype(jnp.float32) / 127.5 - 1


def spectrogram_input(log_spectrogram: Float[Array, "batch columns bins"]) -> Float[Array, "batch bins columns 1"]:
    """Turn log-spectrograms into one-channel images, frequency x time as in the papers' figures."""
    return log_spectrogram.swapaxes(1, 2)[..., None]


def centred_he_normal(centre_share: float) -> nnx.initializers.Initializer:
    """Return an He normal initializer for 3 x 3 (x 3) kernels with this share of the variance at each 3 x 3's centre.

    1/9 treats all cells alike. A larger share concentrates each cell's effective receptive field around the cell;
    otherwise a short training run may learn maps whose peaks are next to the objects.
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
    """Build a 3 x 3 convolution, 3 x 3 x 3 with `in_time`, without bias; the stride applies to every axis."""
    # With stride 2, only padding after the last row and column reproduces the sizes that OtS prints: 224 to 112, 257 to
    # 128, 200 to 100. Padding on both sides would turn 257 into 129; `both` is PyTorch's padding=1, for weights that
    # were trained with it.
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
    """Build batch normalisation, in float32 whatever the dtype of the convolutions.

    bfloat16 would round running means and scales to 8 bits.
    """
    return nnx.BatchNorm(
        channels, momentum=momentum, epsilon=BATCH_NORM_EPSILON, dtype=jnp.float32, scale_init=scale_init, rngs=rngs
    )


def check_config(config: ConfigDict) -> None:
    """Check the values of the model section.

    Raises:
      ValueError: names the key, its value and the allowed values.
    """
    one_of(config.dtype, DTYPES, "model.dtype")
    one_of(config.conv1_stride, CONV1_STRIDES, "model.conv1_stride")
    one_of(config.conv1_padding, CONV1_PADDINGS, "model.conv1_padding")
    one_of(config.frame_scaling, FRAME_SCALINGS, "model.frame_scaling")
    if config.width <= 0:
        raise ValueError(f"model.width is {config.width}; use a number above 0, 1 in the papers (--config.model.width)")
    if not 0 <= config.batch_norm_momentum < 1:
        raise ValueError(
            f"model.batch_norm_momentum is {config.batch_norm_momentum}; use a number that is at least 0 and below 1 "
            "(--config.model.batch_norm_momentum=...)"
        )
