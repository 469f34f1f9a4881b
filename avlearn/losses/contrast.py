"""Negative pairs, means and metrics for losses that contrast every clip of a worker's batch with all others."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from avlearn.losses import avc


def negative_pairs(video: Int[Array, " clips"], weight: Float[Array, " clips"]) -> Bool[Array, "clips clips"]:
    """Return which pairs `[image, sound]` are negatives: clips of weight above 0 from different videos."""
    clip = weight > 0
    return (video[:, None] != video[None, :]) & clip[:, None] & clip[None, :]


def mean_over_clips(values: Float[Array, " clips"], weight: Float[Array, " clips"]) -> Float[Array, ""]:
    """Return the weighted mean over the clips of weight above 0; 0 if none has."""
    weight = weight.astype(jnp.float32)
    return jnp.sum(jnp.where(weight > 0, weight * values, 0)) / jnp.maximum(weight.sum(), 1)


def metrics(
    log_odds: Float[Array, "clips clips"], negatives: Bool[Array, "clips clips"], weight: Float[Array, " clips"]
) -> dict[str, Float[Array, ""]]:
    """Measure how well the log-odds of correspondence separate each image's own sound from the others.

    Args:
      log_odds: log-odds of every image with every sound, `[image, sound]`.
      negatives: which pairs are negatives.
      weight: 1 for a clip, 0 for padding.

    Returns:
      `accuracy` and `predicted_positive` of the binary decision whether sound and image correspond, with positives and
      negatives weighted one half each; `own_sound_first`, the share of images that rank their own sound first.
    """
    own = jnp.eye(len(weight), dtype=bool)
    pair_weight = ((own & (weight > 0)[:, None]) | negatives).astype(jnp.float32)
    _, decision = avc.logistic(log_odds, own, pair_weight)
    first = jnp.diag(log_odds) > jnp.where(negatives, log_odds, -jnp.inf).max(axis=1)
    return {**decision, "own_sound_first": mean_over_clips(first.astype(jnp.float32), weight)}
