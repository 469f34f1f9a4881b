"""The tri-map loss of Localizing Visual Sounds the Hard Way (LVS, section 3.2), as printed and as released.

Everything is computed from the cosines `S[image, sound, row, col]` of every cell of every image of a worker's batch
with every sound of it; image i and sound i are of one clip. Cells above .65 are taken for the object that sounds, cells
below .4 for its background, and what lies between is left alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from avlearn.config import one_of
from avlearn.losses import contrast

POSITIVE_THRESHOLD = 0.65  # eps_p
NEGATIVE_THRESHOLD = 0.4  # eps_n
TAU = 0.03  # softness of both thresholds
TEMPERATURE = 0.07  # of the released cross-entropy
OBJECTIVES = ("paper", "released")
REGIONS = ("positives_only", "complement", "tri_map")

Maps = Float[Array, "images sounds rows cols"]
Metrics = dict[str, Float[Array, ""]]


def positive_log_odds(cosines: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Log-odds of the soft mask of the object that sounds, `(S - eps_p) / tau`, in float32."""
    return (cosines.astype(jnp.float32) - POSITIVE_THRESHOLD) / TAU


def positive_response(cosines: Float[Array, "*pairs rows cols"]) -> Float[Array, "*pairs"]:
    """P of the paper: the mean cosine under the soft mask of the object that sounds."""
    return _mean_under(positive_log_odds(cosines), cosines)


def background_response(cosines: Float[Array, "*pairs rows cols"], regions: str) -> Float[Array, "*pairs"]:
    """The hard negative: the mean cosine under the soft mask of the background.

    Args:
      cosines: maps of images with their own sound.
      regions: `tri_map`, cells below eps_n; `complement`, all that is not positive.
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
    """Loss over a worker's batch, the mean over its clips.

    Args:
      maps: cosines of all images with all sounds, of any float dtype; computed in float32.
      video: fingerprints; clips of one video are not negatives of each other.
      weight: 1 for a clip, 0 for padding.
      objective: `paper` or `released`, see `paper_objective` and `released_objective`.
      regions: which cells of a clip's own map are negatives (LVS table 4): `positives_only`, none; `complement`, all
        that are not positive; `tri_map`, those below eps_n.
      temperature: of the released objective; not used by the paper's.

    Returns:
      The loss, and the metrics of `contrast.metrics` for the log-odds of P, with `positive_response`, the mean of P.

    Raises:
      ValueError: unknown objective or regions, or a temperature that is not above 0.
    """
    check(objective, regions, temperature)
    other = contrast.other_clips(video, weight)
    # Padding reaches neither the sums nor their gradient, even where it is not finite: 0 * nan is nan.
    clip = weight > 0
    maps = jnp.where((clip[:, None] & clip[None, :])[..., None, None], maps.astype(jnp.float32), 0)
    own_maps = jnp.einsum("iihw->ihw", maps)
    positive = positive_response(maps)
    hard = None if regions == "positives_only" else background_response(own_maps, regions)
    if objective == "paper":
        of_clip = paper_objective(jnp.diag(positive), maps.mean(axis=(2, 3)), hard, other)
    else:
        of_clip = released_objective(positive, hard, other, temperature)
    metrics = contrast.metrics(positive_log_odds(positive), other, weight)
    response = contrast.mean_of_clips(jnp.diag(positive), weight)
    return contrast.mean_of_clips(of_clip, weight), {**metrics, "positive_response": response}


def paper_objective(
    positive: Float[Array, " clips"],
    mean_of_map: Float[Array, "clips clips"],
    hard: Float[Array, " clips"] | None,
    other: Bool[Array, "clips clips"],
) -> Float[Array, " clips"]:
    """`-log(e^P / (e^P + e^N))` of each clip, as softplus(N - P), which cannot overflow (LVS equations 4 to 6).

    N is the hard negative and, summed over the other images, the plain mean of their maps with the clip's sound.

    Args:
      positive: P.
      mean_of_map: plain means of the maps, `[image, sound]`.
      hard: hard negatives; None: without.
      other: which pairs `[image, sound]` are negatives.
    """
    negative = jnp.where(other, mean_of_map, 0).sum(axis=0)
    if hard is not None:
        negative = negative + hard
    return jax.nn.softplus(negative - positive)


def released_objective(
    positive: Float[Array, "clips clips"],
    hard: Float[Array, " clips"] | None,
    other: Bool[Array, "clips clips"],
    temperature: float,
) -> Float[Array, " clips"]:
    """Cross-entropy of each image over its P, the P of its maps with other sounds, and the hard negative.

    Args:
      positive: P of every image with every sound: the negatives too are means under their own soft masks.
      hard: hard negatives; None: without.
      other: which pairs `[image, sound]` are negatives. The released code lets the own sound in with its sign turned
        and 99 times as large, which counts for nothing only as long as P is not negative; here it is left out.
      temperature: divides all of them (.07).
    """
    own = jnp.diag(positive)
    logits = [own[:, None], jnp.where(other, positive, -jnp.inf)]
    if hard is not None:
        logits.append(hard[:, None])
    logits = jnp.concatenate(logits, axis=1) / temperature
    return jax.nn.logsumexp(logits, axis=1) - logits[:, 0]


def _mean_under(
    log_odds: Float[Array, "*pairs rows cols"], cosines: Float[Array, "*pairs rows cols"]
) -> Float[Array, "*pairs"]:
    """Mean of each map under the mask sigmoid(log_odds).

    The weights come from a softmax of the mask's logarithm: where the mask is empty, its own sum may be so small that
    the quotient has no gradient.
    """
    # Not jax.nn.softmax: XLA makes its gradient's quotient a product in some programs and not in others.
    share = jnp.exp(jax.nn.log_softmax(jax.nn.log_sigmoid(log_odds), axis=(-2, -1)))
    return (share * cosines.astype(jnp.float32)).sum(axis=(-2, -1))


def check(objective: str = "released", regions: str = "tri_map", temperature: float = TEMPERATURE) -> None:
    """Check the settings of the loss.

    Raises:
      ValueError: names the key, its value and what is allowed.
    """
    one_of(objective, OBJECTIVES, "loss.objective")
    one_of(regions, REGIONS, "loss.regions")
    if not temperature > 0:
        raise ValueError(f"loss.temperature is {temperature}; --config.loss.temperature is above 0.")
