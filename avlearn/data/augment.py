"""Augmentation of frames and audio (flip, colour, volume), and scaling of the log-spectrogram.

Training augments on the devices (`augment_batch`), where it costs next to nothing; in the input pipeline it would take
a third as long as decoding the frames.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

from avlearn.types import Array as AnyArray
from avlearn.types import Batch, InputSpec

LUMA = (0.299, 0.587, 0.114)  # weights of R, G, B in grey (ITU-R BT.601, as in JPEG)
DB_PER_LN = 10 / math.log(10)
# A compromise between two real clips (means -60 and -67 dB, deviations 22 and 12) and the synthetic data (-32 dB, 22).
DB_MEAN = -45.0
DB_STANDARD_DEVIATION = 20.0
DB_RANGE = 80.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of each pair, `[batch]` or `[workers, batch_per_worker]`.

    Attributes:
      flip: whether frames and flow are flipped left to right.
      brightness: added to each channel, as a fraction of the full range.
      saturation: factor on each pixel's distance from the grey of the same luma.
      volume: factor on the amplitude.
    """

    flip: Bool[AnyArray, "*batch"]
    brightness: Float[AnyArray, "*batch"]
    saturation: Float[AnyArray, "*batch"]
    volume: Float[AnyArray, "*batch"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RawBatch:
    """A training batch cut from records, not yet augmented; `Batch` describes the other fields.

    Attributes:
      frames, flow: decoded images.
      log_spectrogram: natural log of power, not scaled, as stored.
      waveform: int16, full scale 32767, as stored.
      augmentation: changes that `augment_batch` makes.
    """

    frames: UInt8[AnyArray, "... height width 3"]
    log_spectrogram: Float[AnyArray, "*batch columns bins"]
    corresponds: Bool[AnyArray, "*batch"]
    video: Int[AnyArray, "*batch"]
    weight: Float[AnyArray, "*batch"]
    augmentation: Augmentation
    flow: UInt8[AnyArray, "*batch height width flow_channels"] | None = None
    waveform: Int[AnyArray, "*batch samples"] | None = None
    labels: Bool[AnyArray, "*batch classes"] | None = None


def raw_batch_shapes(inputs: InputSpec, leading: tuple[int, ...]) -> RawBatch:
    """Return the shapes and types that `avlearn.data.pipeline.training_batches` yields for a network.

    Args:
      inputs: inputs of the network.
      leading: leading axes: `(workers, batch_per_worker)` or `(pairs,)`.
    """

    def field(dtype: DTypeLike, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*leading, *shape), dtype)

    return RawBatch(
        frames=field(jnp.uint8, *inputs.frame_shape),
        # Stored as float16; pooling computes in float32.
        log_spectrogram=field(jnp.float16 if inputs.pool == 1 else jnp.float32, *inputs.spectrogram_shape),
        corresponds=field(jnp.bool_),
        video=field(jnp.int32),
        weight=field(jnp.float32),
        augmentation=Augmentation(field(jnp.bool_), *(field(jnp.float32) for _ in range(3))),
        flow=field(jnp.uint8, *inputs.flow_shape) if inputs.flow_fields else None,
        waveform=field(jnp.int16, inputs.waveform_samples) if inputs.waveform_samples else None,
        labels=field(jnp.bool_, inputs.classes) if inputs.classes else None,
    )


def augment_batch(raw: RawBatch, *, scaling: str) -> Batch:
    """Augment a raw batch and scale its audio; `scaling` is a name in `SCALINGS`."""
    changes = raw.augmentation
    flow, waveform = raw.flow, raw.waveform
    return Batch(
        frames=jitter(raw.frames, changes.flip, changes.brightness, changes.saturation),
        log_spectrogram=SCALINGS[scaling](change_volume(raw.log_spectrogram, changes.volume)),
        corresponds=raw.corresponds,
        video=raw.video,
        weight=raw.weight,
        flow=None if flow is None else flip_flow(flow, changes.flip),
        waveform=None if waveform is None else full_scale(waveform) * _broadcast(changes.volume, waveform),
        labels=raw.labels,
    )


def jitter(
    frames: UInt8[Array, "*batch height width 3"],
    flip: Bool[Array, "..."],
    brightness: Float[Array, "..."],
    saturation: Float[Array, "..."],
) -> UInt8[Array, "*batch height width 3"]:
    """Flip frames left to right and change their colours (Look, Listen and Learn, section 2.2).

    Args:
      frames: RGB; all frames of a pair get the same change.
      flip, brightness, saturation: one value per pair, see `Augmentation`.
    """
    flipped = jnp.where(_broadcast(flip, frames), frames[..., ::-1, :], frames)
    # Channel by channel: arithmetic with a last axis of 3 is ten times as slow on a CPU.
    colours = [flipped[..., channel].astype(jnp.float32) for channel in range(3)]
    grey = sum((weight * colour for weight, colour in zip(LUMA, colours, strict=True)), start=jnp.zeros(()))
    factor = _broadcast(saturation, grey)
    shared = (1 - factor) * grey + 255 * _broadcast(brightness, grey)
    changed = jnp.stack([factor * colour + shared for colour in colours], axis=-1)
    return jnp.clip(jnp.round(changed), 0, 255).astype(jnp.uint8)


def flip_flow(
    flow: UInt8[Array, "*batch height width channels"], flip: Bool[Array, "*batch"]
) -> UInt8[Array, "*batch height width channels"]:
    """Flip optical flow left to right where `flip` is True.

    Horizontal motion (every other channel) changes its sign: in the encoding of
    `avlearn.media.optical_flow.to_images`, value v becomes 255 - v.
    """
    mirrored = flow[..., ::-1, :]
    is_horizontal = jnp.broadcast_to(jnp.arange(flow.shape[-1]) % 2 == 0, flow.shape)
    return jnp.where(_broadcast(flip, flow), jnp.where(is_horizontal, 255 - mirrored, mirrored), flow)


def change_volume(
    ln_power: Float[Array, "*batch columns bins"], factor: Float[Array, "*batch"]
) -> Float[Array, "*batch columns bins"]:
    """Multiply the amplitude of each cut by its factor, which multiplies the power by its square; return float32."""
    return ln_power.astype(jnp.float32) + 2 * _broadcast(jnp.log(factor), ln_power)


def _broadcast(values: Array, like: Array) -> Array:
    """Add trailing axes of size 1 to `values`, so that they broadcast against `like`."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


# The functions below take NumPy and JAX arrays.


def full_scale(samples):
    """Convert stored int16 samples to float32, full scale 1."""
    return samples.astype(np.float32) / np.float32(np.iinfo(np.int16).max)


def ln_12(ln_power):
    """Divide the natural log of power by 12 (Localizing Visual Sounds the Hard Way, and others)."""
    return ln_power / 12


def ln_5(ln_power):
    """Divide the natural log of power by 5 (a large replication of Look, Listen and Learn)."""
    return ln_power / 5


def db_standardised(ln_power):
    """Convert to decibels of full scale and standardise with a fixed mean and deviation."""
    return (ln_power * DB_PER_LN - DB_MEAN) / DB_STANDARD_DEVIATION


def db_80(ln_power):
    """Convert to decibels below the peak of each cut, clipped at 80, and scale to [-1, 1]; volume has no effect."""
    peak = ln_power.max(axis=(-2, -1), keepdims=True)
    below = ((ln_power - peak) * DB_PER_LN).clip(min=-DB_RANGE)
    return 1 + 2 * below / DB_RANGE


SCALINGS = {"ln_12": ln_12, "ln_5": ln_5, "db_standardised": db_standardised, "db_80": db_80}


def scale_audio(stored: Mapping[str, np.ndarray], scaling: str) -> dict[str, Float32[np.ndarray, "..."]]:
    """Scale stored audio for evaluation: without augmentation, in NumPy.

    Args:
      stored: log_spectrogram and optionally waveform, as stored.
      scaling: a name in `SCALINGS`.

    Returns:
      log_spectrogram and, if given, waveform, float32.
    """
    audio = {"log_spectrogram": SCALINGS[scaling](np.asarray(stored["log_spectrogram"], np.float32))}
    return audio | ({"waveform": full_scale(stored["waveform"])} if "waveform" in stored else {})
