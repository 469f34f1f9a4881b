"""The distance-ratio loss of Learning to Localize Sound Source in Visual Scenes (Senocak et al., CVPR 2018, 3.3)."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from avlearn.losses import contrast

UNRELATED = math.sqrt(2)  # distance of two vectors of length 1 at a right angle


def log_odds(distance: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    """Log-odds of correspondence from the distance of two vectors of length 1: positive where their angle is acute."""
    return UNRELATED - distance.astype(jnp.float32)


# DIFFERS: (Senocak et al. 3.3) every other sound of the batch is a negative, not one drawn at random.
def loss(
    distance: Float[Array, "images sounds"], video: Int[Array, " images"], weight: Float[Array, " images"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Squared error of the softmax over the distances to the own and to another sound, against (0, 1).

    With d+ and d- this is sigmoid(d+ - d-)^2 in both places of the softmax; the mean over the negatives of a clip, then
    over the clips.

    Args:
      distance: of what is seen in every image from every sound, `[image, sound]`.
      video: fingerprints; clips of one video are not negatives of each other.
      weight: 1 for a clip, 0 for padding.

    Returns:
      The loss, and the metrics of `contrast.metrics`.
    """
    other = contrast.other_clips(video, weight)
    used = other | (jnp.eye(len(video), dtype=bool) & (weight > 0)[:, None])
    distance = jnp.where(used, distance.astype(jnp.float32), 0)  # padding may be anything: 0 * nan is nan
    error = jax.nn.sigmoid(jnp.diag(distance)[:, None] - distance) ** 2
    of_clip = jnp.where(other, error, 0).sum(axis=1) / jnp.maximum(other.sum(axis=1), 1)
    return contrast.mean_of_clips(of_clip, weight), contrast.metrics(log_odds(distance), other, weight)
