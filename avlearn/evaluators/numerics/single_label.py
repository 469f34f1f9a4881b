"""Rules for clips with several labels, for metrics that take one class per row."""

import numpy as np
from jaxtyping import Bool, Int, Num

RULES = ("only", "first", "expanded")


def classes(
    evaluator: str, labels: Bool[np.ndarray, "n classes"] | Num[np.ndarray, "n classes"], rule: str
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Return row indices, and the class of each.

    Args:
      evaluator: name of the evaluator, for the messages.
      labels: classes of each row, true or false.
      rule: `only`: each row must have exactly one class; `first`: the class with the lowest number; `expanded`: a row
        for each class.

    Raises:
      ValueError: an unknown rule, labels that are not true or false, rows without a class, or, with `only`, rows with
        several classes.
    """
    if rule not in RULES:
        raise ValueError(f"{evaluator}: label_rule = {rule!r}; allowed: {', '.join(RULES)}")
    counts = marked(evaluator, labels).sum(axis=1)
    if not counts.all():
        raise ValueError(f"{evaluator}: labels has no class in {int((counts == 0).sum())} of {len(labels)} rows")
    several = int((counts > 1).sum())
    if rule == "only" and several:
        raise ValueError(f"{evaluator}: labels has several classes in {several} of {len(labels)} rows; one is needed")
    if rule == "expanded":
        rows, classes = np.nonzero(labels)
        return rows, classes
    return np.arange(len(labels)), labels.argmax(axis=1)


def marked(
    evaluator: str, labels: Bool[np.ndarray, "n classes"] | Num[np.ndarray, "n classes"]
) -> Bool[np.ndarray, "n classes"]:
    """Return labels as booleans.

    Raises:
      ValueError: a value is neither 0 nor 1.
    """
    odd = int((~np.isin(labels, (0, 1))).any(axis=1).sum())
    if odd:
        raise ValueError(
            f"{evaluator}: labels is neither 0 nor 1 in {odd} of {len(labels)} rows; it has a column for each class, "
            "true for the classes of the row"
        )
    return labels.astype(bool)
