"""The tri-map loss of Localizing Visual Sounds the Hard Way (LVS, section 3.2), as printed and as released.

The loss takes the cosine `S[image, sound, row, col]` between every cell of every image in a worker's batch and every
sound; image i and sound i belong to one clip. Cells above .65 count as the sounding object and cells below .4 as
background; cells in between are ignored.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from avlearn.config import one_of
from avlearn.losses import contrast

POSITIVE_THRESHOLD = 0.65  # eps_p
NEGATIVE_THRESHOLD = 0.4  # eps_n
TAU = 0.03  # softness of both thresholds
TEMPERATURE = 0.07  # of the released objective's cross-entropy
OBJECTIVES = ("paper", "released")
REGIONS = ("positives_only", "complement", "tri_map")

Maps = Float[Array, "images sounds rows cols"]
Metrics = dict[str, Float[Array, ""]]


def positive_log_odds(cosines: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the log-odds of the sounding object's soft mask, `(S - eps_p) / tau`, in float32."""
    return (cosines.astype(jnp.float32) - POSITIVE_THRESHOLD) / TAU


def positive_response(cosines: Float[Array, "*pairs rows cols"]) -> Float[Array, "*pairs"]:
    """Return the paper's P, the mean cosine under the sounding object's soft mask."""
    return _mean_under(positive_log_odds(cosines), cosines)


def background_response(cosines: Float[Array, "*pairs rows cols"], regions: str) -> Float[Array, "*pairs"]:
    """Return the hard negative, the mean cosine under the background's soft mask.

    Args:
      cosines: maps of images with their own sound.
      regions: `tri_map`, cells below eps_n; `complement`, all cells that are not positive.
    """
    background = -positive_log_odds(cosines)
    if regions == "tri_map":
        background = (NEGATIVE_THRESHOLD - cosines.astype(jnp.float32)) / TAU
    return _mean_under(background, cosines)


def loss(
    maps: Maps,
    video: Int[Array, " images"],
    weight: Float[Array, " images"],
    *,
    objective: str = "released",
    regions: str = "tri_map",
    temperature: float = TEMPERATURE,
) -> tuple[Float[Array, ""], Metrics]:
    """Compute the loss of a worker's batch, the mean over its clips.

    Args:
      maps: cosines of all images with all sounds, of any float dtype; computed in float32.
      video: fingerprints; clips of the same video are not negatives of each other.
      weight: 1 for a clip, 0 for padding.
      objective: `paper` or `released`, see `paper_objective` and `released_objective`.
      regions: which cells of a clip's own map are negatives (LVS table 4): `positives_only`, none; `complement`, all
        cells that are not positive; `tri_map`, cells below eps_n.
      temperature: temperature of the released objective; the paper's ignores it.

    Returns:
      The loss, and `contrast.metrics` of the log-odds of P, with `positive_response`, the mean of P.

    Raises:
      ValueError: `objective` or `regions` is unknown, or `temperature` is not above 0.
    """
    check(objective, regions, temperature)
    negatives = contrast.negative_pairs(video, weight)
    # Padding must not reach the sums or their gradient even if it is not finite: 0 * nan is nan.
    clip = weight > 0
    maps = jnp.where((clip[:, None] & clip[None, :])[..., None, None], maps.astype(jnp.float32), 0)
    own_maps = jnp.einsum("iihw->ihw", maps)
    positive = positive_response(maps)
    hard = None if regions == "positives_only" else background_response(own_maps, regions)
    if objective == "paper":
        per_clip = paper_objective(jnp.diag(positive), maps.mean(axis=(2, 3)), hard, negatives)
    else:
        per_clip = released_objective(positive, hard, negatives, temperature)
    metrics = contrast.metrics(positive_log_odds(positive), negatives, weight)
    response = contrast.mean_over_clips(jnp.diag(positive), weight)
    return contrast.mean_over_clips(per_clip, weight), {**metrics, "positive_response": response}


def paper_objective(
    positive: Float[Array, " clips"],
    map_mean: Float[Array, "clips clips"],
    hard: Float[Array, " clips"] | None,
    negatives: Bool[Array, "clips clips"],
) -> Float[Array, " clips"]:
    """Return `-log(e^P / (e^P + e^N))` of each clip, as softplus(N - P), which cannot overflow (LVS equations 4 to 6).

    N is the hard negative plus the sum over the other images of the plain mean of their maps with the clip's sound.

    Args:
      positive: P.
      map_mean: plain means of the maps, `[image, sound]`.
      hard: hard negatives, or None to leave them out.
      negatives: which pairs `[image, sound]` are negatives.
    """
    negative = jnp.where(negatives, map_mean, 0).sum(axis=0)
    if hard is not None:
        negative = negative + hard
    return jax.nn.softplus(negative - positive)


def released_objective(
    positive: Float[Array, "clips clips"],
    hard: Float[Array, " clips"] | None,
    negatives: Bool[Array, "clips clips"],
    temperature: float,
) -> Float[Array, " clips"]:
    """Return each image's cross-entropy over its P, the P of its maps with other sounds, and the hard negative.

    Args:
      positive: P of every image with every sound; the P of a negative pair is also a mean under its own soft mask.
      hard: hard negatives, or None to leave them out.
      negatives: which pairs `[image, sound]` are negatives. The released code includes each image's own P, multiplied
        by -99, which has no effect as long as P is not negative; here it is left out.
      temperature: divides all logits (.07).
    """
    own = jnp.diag(positive)
    logits = [own[:, None], jnp.where(negatives, positive, -jnp.inf)]
    if hard is not None:
        logits.append(hard[:, None])
    logits = jnp.concatenate(logits, axis=1) / temperature
    return jax.nn.logsumexp(logits, axis=1) - logits[:, 0]


def _mean_under(
    log_odds: Float[Array, "*pairs rows cols"], cosines: Float[Array, "*pairs rows cols"]
) -> Float[Array, "*pairs"]:
    """Return the mean of each map under the mask sigmoid(log_odds).

    The weights are a softmax of the mask's logarithm, because the sum of a nearly empty mask can be too small to divide
    by it and get a gradient.
    """
    # Not jax.nn.softmax: in some programs, but not in others, XLA turns the quotient in its gradient into a product.
    share = jnp.exp(jax.nn.log_softmax(jax.nn.log_sigmoid(log_odds), axis=(-2, -1)))
    return (share * cosines.astype(jnp.float32)).sum(axis=(-2, -1))


def check(objective: str = "released", regions: str = "tri_map", temperature: float = TEMPERATURE) -> None:
    """Check the settings of the loss.

    Raises:
      ValueError: names the key, its value and the allowed values.
    """
    one_of(objective, OBJECTIVES, "loss.objective")
    one_of(regions, REGIONS, "loss.regions")
    if not temperature > 0:
        raise ValueError(f"loss.temperature is {temperature}; use a number above 0 (--config.loss.temperature=...).")
