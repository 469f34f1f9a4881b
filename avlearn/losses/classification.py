"""The loss of classifying frames and audio separately, and the direct combination of both (L3 3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from avlearn.losses import contrast

ROUNDING = 1e-6  # probabilities are capped this far below 1, a few rounding errors of float32


def agreement_log_odds(
    image: Float[Array, "*#pairs classes"], audio: Float[Array, "*#pairs classes"]
) -> Float[Array, "*pairs"]:
    """Return the log-odds of the scalar product of two class distributions (direct combination).

    The product is the probability that two classes drawn from the distributions are equal. Its log-odds increase with
    it, so a threshold on one is a threshold on the other.

    Args:
      image: log-probabilities of the classes, from the frames.
      audio: log-probabilities of the classes, from the audio.
    """
    log_product = jax.nn.logsumexp(image + audio, axis=-1)
    return log_product - jnp.log1p(-jnp.minimum(jnp.exp(log_product), 1 - ROUNDING))


def cross_entropy(
    log_probabilities: Float[Array, "clips classes"],
    labels: Bool[Array, "clips classes"],
    weight: Float[Array, " clips"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Compute cross-entropy against the uniform distribution over a clip's classes, and top-1 accuracy.

    With one class this is the usual softmax cross-entropy. With several, each class should get an equal share of the
    probability, as in training on hashtags (Mahajan et al., ECCV 2018, 2.2), and predicting any of them is correct.
    Clips without a class are left out. Both results are means over the clips.
    """
    labels = labels.astype(jnp.float32)
    count = labels.sum(axis=-1)
    weight = weight * (count > 0)
    target = labels / jnp.maximum(count, 1)[:, None]
    per_clip = -jnp.where(target > 0, target * log_probabilities.astype(jnp.float32), 0).sum(axis=-1)
    correct = jnp.take_along_axis(labels, log_probabilities.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    return contrast.mean_over_clips(per_clip, weight), contrast.mean_over_clips(correct, weight)


def loss(
    image: Float[Array, "clips classes"],
    audio: Float[Array, "clips classes"],
    labels: Bool[Array, "clips classes"],
    video: Int[Array, " clips"],
    weight: Float[Array, " clips"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Compute the sum of both streams' cross-entropies.

    The streams share no parameters, so the gradient of the sum trains each one independently.

    Args:
      image: log-probabilities of the classes, from the frame of each clip.
      audio: log-probabilities of the classes, from the audio of each clip.
      labels: classes of each clip.
      video: fingerprints; clips of the same video are not negatives of each other.
      weight: 1 for a clip, 0 for padding.

    Returns:
      The loss (nats), and metrics: `image_class_accuracy`, `audio_class_accuracy` (top-1), and `contrast.metrics` of
      direct combination on all pairs of the batch, with a threshold of 0 on the log-odds.
    """
    image_loss, image_accuracy = cross_entropy(image, labels, weight)
    audio_loss, audio_accuracy = cross_entropy(audio, labels, weight)
    log_odds = agreement_log_odds(image[:, None], audio[None, :])
    metrics = contrast.metrics(log_odds, contrast.negative_pairs(video, weight), weight)
    metrics |= {"image_class_accuracy": image_accuracy, "audio_class_accuracy": audio_accuracy}
    return image_loss + audio_loss, metrics
