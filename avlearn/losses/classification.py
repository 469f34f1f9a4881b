"""Classification of frames and of sounds, each on its own, and what direct combination makes of both (L3 3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from avlearn.losses import contrast

ROUNDING = 1e-6  # how near to 1 a probability is told from 1 in float32


def agreement_log_odds(
    image: Float[Array, "*#pairs classes"], audio: Float[Array, "*#pairs classes"]
) -> Float[Array, "*pairs"]:
    """Log-odds of the scalar product of two class distributions (direct combination).

    The product is the probability that a class drawn from the one is that drawn from the other. Its log-odds rise with
    it, so that a threshold on either is one on both.

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
    """Cross-entropy against the uniform distribution over a clip's classes, and top-1 accuracy: means over the clips.

    One class: the usual softmax cross-entropy. Several: each is to get an equal share of the probability, as in
    training on hashtags (Mahajan et al., ECCV 2018, 2.2). A prediction is right where it is any of them. Clips without
    a class are left out of both.
    """
    labels = labels.astype(jnp.float32)
    count = labels.sum(axis=-1)
    weight = weight * (count > 0)
    target = labels / jnp.maximum(count, 1)[:, None]
    of_clip = -jnp.where(target > 0, target * log_probabilities.astype(jnp.float32), 0).sum(axis=-1)
    right = jnp.take_along_axis(labels, log_probabilities.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    return contrast.mean_of_clips(of_clip, weight), contrast.mean_of_clips(right, weight)


def loss(
    image: Float[Array, "clips classes"],
    audio: Float[Array, "clips classes"],
    labels: Bool[Array, "clips classes"],
    video: Int[Array, " clips"],
    weight: Float[Array, " clips"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Sum of both modes' cross-entropies.

    The two networks share no parameter, so that the gradient of the sum trains each as if it were alone.

    Args:
      image: log-probabilities of the classes, from the frame of each clip.
      audio: log-probabilities of the classes, from the audio of each clip.
      labels: classes of each clip.
      video: fingerprints; clips of one video are not negatives of each other.
      weight: 1 for a clip, 0 for padding.

    Returns:
      The loss (nats), and metrics: `image_class_accuracy`, `audio_class_accuracy` (top-1), and those of
      `contrast.metrics` for direct combination on all pairs of the batch, at log-odds of 0.
    """
    image_loss, image_accuracy = cross_entropy(image, labels, weight)
    audio_loss, audio_accuracy = cross_entropy(audio, labels, weight)
    log_odds = agreement_log_odds(image[:, None], audio[None, :])
    metrics = contrast.metrics(log_odds, contrast.other_clips(video, weight), weight)
    metrics |= {"image_class_accuracy": image_accuracy, "audio_class_accuracy": audio_accuracy}
    return image_loss + audio_loss, metrics
