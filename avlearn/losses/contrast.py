"""What losses share that set every clip of a worker's batch against all others: who they are, means and metrics."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from avlearn.losses import avc


def other_clips(video: Int[Array, " clips"], weight: Float[Array, " clips"]) -> Bool[Array, "clips clips"]:
    """Which pairs `[image, sound]` are negatives: real clips (weight above 0) of two videos."""
    clip = weight > 0
    return (video[:, None] != video[None, :]) & clip[:, None] & clip[None, :]


def mean_of_clips(values: Float[Array, " clips"], weight: Float[Array, " clips"]) -> Float[Array, ""]:
    """Mean over the clips of weight above 0; 0 where there are none."""
    weight = weight.astype(jnp.float32)
    return jnp.sum(jnp.where(weight > 0, weight * values, 0)) / jnp.maximum(weight.sum(), 1)


def metrics(
    log_odds: Float[Array, "clips clips"], other: Bool[Array, "clips clips"], weight: Float[Array, " clips"]
) -> dict[str, Float[Array, ""]]:
    """How well log-odds of correspondence tell the own sounds from the others.

    Args:
      log_odds: of every image with every sound, `[image, sound]`.
      other: which pairs are negatives.
      weight: 1 for a clip, 0 for padding.

    Returns:
      `accuracy` and `predicted_positive` of the two-way decision whether sound and image correspond, positives and
      negatives counting half each; `own_sound_first`, share of images to which their own sound corresponds best.
    """
    own = jnp.eye(len(weight), dtype=bool)
    of_pair = ((own & (weight > 0)[:, None]) | other).astype(jnp.float32)
    _, decision = avc.logistic(log_odds, own, of_pair)
    first = jnp.diag(log_odds) > jnp.where(other, log_odds, -jnp.inf).max(axis=1)
    return {**decision, "own_sound_first": mean_of_clips(first.astype(jnp.float32), weight)}
