"""What evaluators may be given: the names and shapes of the evaluation arrays, checked in one place.

One row is one pair of a frame and a second of sound, N rows in all; `avlearn/evaluate.py` makes the arrays, and an
`.npz` with the same names from any other system serves as well:

  corresponds [N]: whether frame and sound are of one moment of one video
  logit [N]: log-odds that they correspond
  image_item [N]: number of the frame's clip
  labels [N, classes]: classes of the frame's clip, true or false
  image_embedding, audio_embedding [N, dim]: retrieval vectors
  heat_map [N, rows, columns]: log-odds of each cell of the image
  boxes [N, boxes, 4]: (ymin, xmin, ymax, xmax) as shares of the image, NaN where there is no box
  box_sounding [N, boxes]: whether the object in the box sounds
"""

from collections.abc import Mapping, Sequence

import numpy as np

_DIMENSIONS = {
    "corresponds": 1,
    "logit": 1,
    "image_item": 1,
    "labels": 2,
    "image_embedding": 2,
    "audio_embedding": 2,
    "heat_map": 3,
    "boxes": 3,
    "box_sounding": 2,
}
_MAY_BE_NAN = ("boxes",)


def arrays(evaluator: str, test: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Takes the named arrays out of `test`.

    Args:
      evaluator: name of the evaluator, for the messages.
      test: the evaluation arrays.
      names: the ones that are needed.

    Raises:
      ValueError: one is missing, has another number of dimensions or of rows, is empty or not finite. The message
        names the evaluator, the array and the number of rows.
    """
    missing = [name for name in names if name not in test]
    if missing:
        raise ValueError(f"{evaluator}: missing {missing}; it needs {list(names)} and was given {sorted(test)}")
    found = {name: np.asarray(test[name]) for name in names}
    for name, array in found.items():
        if array.ndim != _DIMENSIONS[name]:
            raise ValueError(f"{evaluator}: {name} has shape {array.shape}; expected {_DIMENSIONS[name]} dimensions")
    rows = {name: len(array) for name, array in found.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"{evaluator}: the arrays have different numbers of rows: {rows}")
    if not min(rows.values()):
        raise ValueError(f"{evaluator}: no items: {', '.join(names)} have 0 rows; is the evaluation split empty?")
    for name, array in found.items():
        _finite(evaluator, name, array)
    return list(found.values())


def _finite(evaluator: str, name: str, array: np.ndarray) -> None:
    if name in _MAY_BE_NAN or not np.issubdtype(array.dtype, np.floating):
        return
    bad = int((~np.isfinite(array)).any(axis=tuple(range(1, array.ndim))).sum())
    if bad:
        raise ValueError(f"{evaluator}: {name} is not finite in {bad} of {len(array)} rows; did the training diverge?")


def expected(rows: int, items_expected: int | None) -> int:
    """How many items an evaluation should have covered: as the caller says, else the rows that it was given."""
    return rows if items_expected is None else items_expected
