"""Adam with the papers' weight decay, and learning-rate schedules."""

from collections.abc import Callable

import jax
import optax
from jaxtyping import PyTree

from avlearn.config import one_of

SCHEDULES = ("staircase", "warmup_cosine")
WEIGHT_DECAYS = ("l2", "decoupled")


def staircase(learning_rate: float, *, steps_per_epoch: float, decay_factor: float, decay_epochs: int):
    """Build a schedule that is multiplied by `decay_factor` every `decay_epochs` epochs (OtS 3.3: 0.94, 16)."""
    steps = max(1, round(decay_epochs * steps_per_epoch))
    return optax.exponential_decay(learning_rate, steps, decay_factor, staircase=True)


def warmup_cosine(learning_rate: float, *, warmup_steps: int, steps: int):
    """Build a schedule that rises linearly to `learning_rate`, then falls along a cosine to zero at `steps`.

    Raises:
      ValueError: the warm-up does not end before the last step.
    """
    if warmup_steps >= steps:
        raise ValueError(
            f"a warm-up of {warmup_steps} steps does not end within {steps}; lower --config.train.warmup_steps or "
            "raise --config.train.steps."
        )
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup_steps, steps)


def adam(schedule, *, weight_decay: float, weight_decay_kind: str) -> optax.GradientTransformation:
    """Build Adam with weight decay.

    Args:
      schedule: learning rate as a function of the step.
      weight_decay: 1e-5 in the papers.
      weight_decay_kind: `l2` adds it to the gradient, as the papers' frameworks did; `decoupled` shrinks the weights
        directly (AdamW).

    Raises:
      ValueError: `weight_decay_kind` is neither of these.
    """
    one_of(weight_decay_kind, WEIGHT_DECAYS, "train.weight_decay_kind")
    if weight_decay_kind == "l2":
        return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(schedule))
    return optax.adamw(schedule, weight_decay=weight_decay)


def freeze(optimizer: optax.GradientTransformation, frozen: Callable[[PyTree], PyTree]) -> optax.GradientTransformation:
    """Restrict an optimizer to the parameters that are not frozen; the others neither change nor decay.

    Args:
      optimizer: optimizer of the parameters that are trained.
      frozen: function from the parameters to a tree of the same structure, true where a parameter is frozen.
    """

    def labels(params: PyTree) -> PyTree:
        return jax.tree.map(lambda is_frozen: "frozen" if is_frozen else "trained", frozen(params))

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
