"""The loss of audio-visual correspondence: does this frame belong to this second of sound (L3 section 2, OtS 3)?"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float


def logistic(
    logit: Float[Array, "*pairs"], corresponds: Bool[Array, "*pairs"], weight: Float[Array, "*pairs"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Compute the logistic loss on log-odds, weighting positives and negatives one half each.

    If the log-odds are the difference of two logits, this is the papers' softmax cross-entropy. With equal numbers of
    positives and negatives it is the plain mean; with all pairs of a batch (`[batch, batch]`, one positive in each row)
    the positives still weigh one half. If one of the two kinds is absent, it is the mean over the other.

    Args:
      logit: log-odds that a pair corresponds, of any float dtype; computed in float32.
      corresponds: whether each pair corresponds.
      weight: 1 for a pair, 0 to leave it out (padding, or an unintended pair of one video).

    Returns:
      The loss (nats), and metrics with the same weighting: `accuracy`, and `predicted_positive`, the rate of predicted
      positives (0 or 1 reveals a constant classifier). All are 0 if every weight is 0.
    """
    share = _share(corresponds, weight.astype(jnp.float32))
    # A pair of weight 0 must not reach the sum or its gradient even if its logit is not finite: 0 * nan is nan.
    logit = jnp.where(share > 0, logit.astype(jnp.float32), 0)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logit, corresponds.astype(jnp.float32))
    predicted = logit > 0
    return jnp.sum(share * cross_entropy), {
        "accuracy": jnp.sum(share * (predicted == corresponds)),
        "predicted_positive": jnp.sum(share * predicted),
    }


def _share(corresponds: Bool[Array, "*pairs"], weight: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    """Return each pair's share of the mean: if both kinds are present, each sums to one half; all shares sum to 1."""
    positives, negatives = jnp.sum(weight * corresponds), jnp.sum(weight * ~corresponds)
    kinds = jnp.maximum(1, (positives > 0).astype(jnp.float32) + (negatives > 0).astype(jnp.float32))
    total = jnp.where(corresponds, positives, negatives)
    return jnp.where(weight > 0, weight / jnp.where(total > 0, total, 1) / kinds, 0)
