"""The loss of audio-visual correspondence: does this frame belong to this second of sound? (L3 section 2, OtS 3)."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float


def logistic(
    logit: Float[Array, "*pairs"], corresponds: Bool[Array, "*pairs"], weight: Float[Array, "*pairs"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Logistic loss on log-odds, positives and negatives counting half each.

    Where the log-odds are the difference of two logits, this is the papers' softmax cross-entropy. With as many
    positives as negatives it is the plain mean; with all pairs of a batch (`[batch, batch]`, one positive in each row)
    the positives keep their half. Where only one of the two kinds is present, it is the mean over that kind.

    Args:
      logit: log-odds that a pair corresponds, of any float dtype; computed in float32.
      corresponds: what is true.
      weight: 1 for a pair, 0 for one to leave out (padding, or an unintended pair of one video).

    Returns:
      The loss (nats), and metrics with positives and negatives counting half each too: `accuracy`, and
      `predicted_positive`, the rate of predicted positives (0 or 1 shows a constant classifier). All are 0 where every
      weight is 0.
    """
    share = _share(corresponds, weight.astype(jnp.float32))
    # A left-out pair reaches neither the sum nor its gradient, even where its logit is not finite: 0 * nan is nan.
    logit = jnp.where(share > 0, logit.astype(jnp.float32), 0)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logit, corresponds.astype(jnp.float32))
    predicted = logit > 0
    return jnp.sum(share * cross_entropy), {
        "accuracy": jnp.sum(share * (predicted == corresponds)),
        "predicted_positive": jnp.sum(share * predicted),
    }


def _share(corresponds: Bool[Array, "*pairs"], weight: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    """Each pair's share of the mean: the shares of each kind that is present sum to the same, and all to 1."""
    positives, negatives = jnp.sum(weight * corresponds), jnp.sum(weight * ~corresponds)
    kinds = jnp.maximum(1, (positives > 0).astype(jnp.float32) + (negatives > 0).astype(jnp.float32))
    total = jnp.where(corresponds, positives, negatives)
    return jnp.where(weight > 0, weight / jnp.where(total > 0, total, 1) / kinds, 0)
