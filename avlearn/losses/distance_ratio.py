"""The distance-ratio loss of Learning to Localize Sound Source in Visual Scenes (Senocak et al., CVPR 2018, 3.3)."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from avlearn.losses import contrast

UNRELATED = math.sqrt(2)  # distance between two orthogonal vectors of length 1


def log_odds(distance: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    """Return the log-odds of correspondence for distances between unit vectors, positive if their angle is acute."""
    return UNRELATED - distance.astype(jnp.float32)


# DIFFERS: (Senocak et al. 3.3) all other sounds of the batch are negatives, not one drawn at random.
def loss(
    distance: Float[Array, "images sounds"], video: Int[Array, " images"], weight: Float[Array, " images"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Compute the squared error of the softmax over an image's distances to its own and another sound, against (0, 1).

    With distances d+ and d-, both components of the error are sigmoid(d+ - d-)^2. The loss is the mean over the
    negatives of each clip, then over the clips.

    Args:
      distance: distance of each image's attended vector from every sound, `[image, sound]`.
      video: fingerprints; clips of the same video are not negatives of each other.
      weight: 1 for a clip, 0 for padding.

    Returns:
      The loss, and the metrics of `contrast.metrics`.
    """
    negatives = contrast.negative_pairs(video, weight)
    used = negatives | (jnp.eye(len(video), dtype=bool) & (weight > 0)[:, None])
    distance = jnp.where(used, distance.astype(jnp.float32), 0)  # padding may be nan, and 0 * nan is nan
    error = jax.nn.sigmoid(jnp.diag(distance)[:, None] - distance) ** 2
    per_clip = jnp.where(negatives, error, 0).sum(axis=1) / jnp.maximum(negatives.sum(axis=1), 1)
    return contrast.mean_over_clips(per_clip, weight), contrast.metrics(log_odds(distance), negatives, weight)
