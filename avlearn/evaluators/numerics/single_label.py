"""Rules for clips with several labels, for metrics that take one class per row."""

import numpy as np
from jaxtyping import Bool, Int

from avlearn.evaluators.numerics import array_checks

RULES = ("only", "first", "expanded")


def classes(
    evaluator: str, labels: Bool[np.ndarray, "n classes"], rule: str
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Return row indices, and the class of each.

    Args:
      evaluator: name of the evaluator, for the messages.
      labels: classes of each row.
      rule: `only`: each row must have exactly one class; `first`: the class with the lowest number; `expanded`: a row
        for each class.

    Raises:
      ValueError: an unknown rule, rows without a class, or, with `only`, rows with several classes.
    """
    if rule not in RULES:
        raise ValueError(f"{evaluator}: label_rule = {rule!r}; allowed: {', '.join(RULES)}")
    counts = labels.sum(axis=1)
    if not counts.all():
        raise ValueError(f"{evaluator}: labels has no class {array_checks.in_rows(counts == 0)}")
    if rule == "only" and (counts > 1).any():
        raise ValueError(f"{evaluator}: labels has several classes {array_checks.in_rows(counts > 1)}; one is needed")
    if rule == "expanded":
        rows, classes = np.nonzero(labels)
        return rows, classes
    return np.arange(len(labels)), labels.argmax(axis=1)
