"""What is changed of frames and sounds on their way to a network: side, colour, volume, and the sound's scaling.

Training's changes are made on the devices (`augmented`): there they cost next to nothing, on the input pipeline's cores
a third of decoding the frames.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

from avlearn.types import Array as AnyArray
from avlearn.types import Batch, InputSpec

LUMA = (0.299, 0.587, 0.114)  # of R, G, B in grey (ITU-R BT.601, as in JPEG)
DB_PER_LN = 10 / math.log(10)
# Between real clips (two of them: -60 and -67 dB, deviations 22 and 12) and the synthetic world (-32 dB, 22).
DB_MEAN = -45.0
DB_STANDARD_DEVIATION = 20.0
DB_RANGE = 80.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Changes:
    """What training changes of each pair, `[batch]` or `[workers, batch_per_worker]`.

    Attributes:
      flip: whether what is seen is flipped left to right.
      brightness: added to each channel, as a share of the full range.
      saturation: factor on each pixel's distance from its grey of the same luma.
      volume: factor on the amplitude.
    """

    flip: Bool[AnyArray, "*batch"]
    brightness: Float[AnyArray, "*batch"]
    saturation: Float[AnyArray, "*batch"]
    volume: Float[AnyArray, "*batch"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cuts:
    """A batch of training as it was cut from records; fields that are not named here are those of `Batch`.

    Attributes:
      frames, flow: as decoded.
      log_spectrogram: as stored: natural log of power, not scaled.
      waveform: as stored.
      changes: still to be made.
    """

    frames: UInt8[AnyArray, "... height width 3"]
    log_spectrogram: Float[AnyArray, "*batch columns bins"]
    corresponds: Bool[AnyArray, "*batch"]
    video: Int[AnyArray, "*batch"]
    weight: Float[AnyArray, "*batch"]
    changes: Changes
    flow: UInt8[AnyArray, "*batch height width flow_channels"] | None = None
    waveform: Int[AnyArray, "*batch samples"] | None = None
    labels: Bool[AnyArray, "*batch classes"] | None = None


def empty_cuts(inputs: InputSpec, leading: tuple[int, ...]) -> Cuts:
    """Shapes and types of what `avlearn.data.pipeline.training_batches` yields for a network.

    Args:
      inputs: what the network eats.
      leading: `(workers, batch_per_worker)`, or the pairs alone.
    """

    def field(dtype: type, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*leading, *shape), dtype)

    return Cuts(
        frames=field(jnp.uint8, *inputs.frame_shape),
        # As it is stored; pooling computes.
        log_spectrogram=field(jnp.float16 if inputs.pool == 1 else jnp.float32, *inputs.spectrogram_shape),
        corresponds=field(jnp.bool_),
        video=field(jnp.int32),
        weight=field(jnp.float32),
        changes=Changes(field(jnp.bool_), *(field(jnp.float32) for _ in range(3))),
        flow=field(jnp.uint8, *inputs.flow_shape) if inputs.flow_fields else None,
        waveform=field(jnp.int16, inputs.waveform_samples) if inputs.waveform_samples else None,
        labels=field(jnp.bool_, inputs.classes) if inputs.classes else None,
    )


def augmented(cuts: Cuts, *, scaling: str) -> Batch:
    """The batch that networks take, of one as it was cut; `scaling` is a name in `SCALINGS`."""
    changes = cuts.changes
    flow, waveform = cuts.flow, cuts.waveform
    return Batch(
        frames=jitter(cuts.frames, changes.flip, changes.brightness, changes.saturation),
        log_spectrogram=SCALINGS[scaling](change_volume(cuts.log_spectrogram, changes.volume)),
        corresponds=cuts.corresponds,
        video=cuts.video,
        weight=cuts.weight,
        flow=None if flow is None else flip_flow(flow, changes.flip),
        waveform=None if waveform is None else full_scale(waveform) * _over(changes.volume, waveform),
        labels=cuts.labels,
    )


def jitter(
    frames: UInt8[Array, "*batch height width 3"],
    flip: Bool[Array, "..."],
    brightness: Float[Array, "..."],
    saturation: Float[Array, "..."],
) -> UInt8[Array, "*batch height width 3"]:
    """Flips frames left to right and changes their colours (Look, Listen and Learn, section 2.2).

    Args:
      frames: RGB; a pair's are changed alike.
      flip: whether to flip each pair's frame, as in `Changes`.
      brightness: offset of each pair, as in `Changes`.
      saturation: factor of each pair, as in `Changes`.
    """
    turned = jnp.where(_over(flip, frames), frames[..., ::-1, :], frames)
    # Channel by channel: three as a last axis of all arithmetic is ten times as slow on a CPU.
    colours = [turned[..., channel].astype(jnp.float32) for channel in range(3)]
    grey = sum(weight * colour for weight, colour in zip(LUMA, colours, strict=True))
    factor = _over(saturation, grey)
    shared = (1 - factor) * grey + 255 * _over(brightness, grey)
    changed = jnp.stack([factor * colour + shared for colour in colours], axis=-1)
    return jnp.clip(jnp.round(changed), 0, 255).astype(jnp.uint8)


def flip_flow(
    flow: UInt8[Array, "*batch height width channels"], flip: Bool[Array, "*batch"]
) -> UInt8[Array, "*batch height width channels"]:
    """Flips optical flow left to right where `flip` says so.

    What moved to the right moves to the left then: every other channel, the motion across, changes its sign, which the
    code of `avlearn.media.optical_flow.to_images` makes 255 less its value.
    """
    mirrored = flow[..., ::-1, :]
    across = jnp.broadcast_to(jnp.arange(flow.shape[-1]) % 2 == 0, flow.shape)
    return jnp.where(_over(flip, flow), jnp.where(across, 255 - mirrored, mirrored), flow)


def change_volume(
    ln_power: Float[Array, "*batch columns bins"], factor: Float[Array, "*batch"]
) -> Float[Array, "*batch columns bins"]:
    """Multiplies the amplitude of each second by its factor, power by the square; float32."""
    return ln_power.astype(jnp.float32) + 2 * _over(jnp.log(factor), ln_power)


def _over(values: Array, like: Array) -> Array:
    """Values of pairs, of as many axes as `like`: one for all that belongs to each."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


# These take arrays of NumPy as of JAX.


def full_scale(samples):
    """Stored int16 samples as float32, full scale 1."""
    return samples.astype(np.float32) / np.float32(np.iinfo(np.int16).max)


def ln_12(ln_power):
    """Natural log of power / 12 (Localizing Visual Sounds the Hard Way, and others)."""
    return ln_power / 12


def ln_5(ln_power):
    """Natural log of power / 5 (a large replication of Look, Listen and Learn)."""
    return ln_power / 5


def db_standardised(ln_power):
    """Decibels of full scale, less a mean, over a standard deviation, both fixed."""
    return (ln_power * DB_PER_LN - DB_MEAN) / DB_STANDARD_DEVIATION


def db_80(ln_power):
    """Decibels below the peak of each second, clipped at 80 and brought to [-1, 1]: the volume has no influence."""
    peak = ln_power.max(axis=(-2, -1), keepdims=True)
    below = ((ln_power - peak) * DB_PER_LN).clip(min=-DB_RANGE)
    return 1 + 2 * below / DB_RANGE


SCALINGS = {"ln_12": ln_12, "ln_5": ln_5, "db_standardised": db_standardised, "db_80": db_80}


def as_heard(stored: Mapping[str, np.ndarray], scaling: str) -> dict[str, Float32[np.ndarray, "..."]]:
    """Of a batch as it is stored, the sounds as networks take them in evaluation: not changed, in NumPy.

    Args:
      stored: its log_spectrogram and, where it has one, its waveform are used.
      scaling: a name in `SCALINGS`.

    Returns:
      These, float32.
    """
    sounds = {"log_spectrogram": SCALINGS[scaling](np.asarray(stored["log_spectrogram"], np.float32))}
    return sounds | ({"waveform": full_scale(stored["waveform"])} if "waveform" in stored else {})
