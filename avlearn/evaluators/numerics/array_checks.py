"""Names and shapes of the evaluation arrays, and their checks.

One row is one pair of a frame and a second of audio, N rows in all. `avlearn/evaluation/collect.py` collects the
arrays; an `.npz` of another system may provide them under the same names:

  corresponds [N]: whether frame and audio come from one moment of one video
  logit [N]: log-odds that they correspond
  image_item [N]: number of the frame's clip
  pair_draw [N]: number of the draw of a negative pair; -1 for a corresponding pair
  labels [N, classes]: classes of the frame's clip, true or false
  image_embedding, audio_embedding [N, dim]: retrieval vectors
  heat_map [N, rows, columns]: log-odds of each cell of the image
  boxes [N, boxes, 4]: (ymin, xmin, ymax, xmax) as shares of the image, NaN for a missing box
  box_sounding [N, boxes]: whether the object in the box sounds
  box_annotator [N, boxes]: number of the annotator who drew the box
  silent [N]: whether the audio is silence
  source [N]: class of the source that the row's audio and boxes belong to
  image_pool4, audio_pool4 [N, channels]: maximum of each channel of conv4_2, after its ReLU, over all positions
  untrained_...: the same arrays of the network with its initial weights

Sound classification has W rows, windows of C clips; the rows of the linear probe are images:

  audio_features [W, dim]: conv4_2 before its ReLU, max-pooled to 4 x 3 cells (6,144 numbers)
  clip [W]: number of the window's clip, an index into the next three arrays
  labels [C, classes], fold [C]: class and cross-validation fold of each clip
  tested [C]: whether the fold of the clip is a test fold
  image_features [N, dim]: conv4_2 after its ReLU, max-pooled to 4 x 4 cells (8,192 numbers)
"""

from collections.abc import Mapping, Sequence

import numpy as np

_DIMENSIONS = {
    "corresponds": 1,
    "logit": 1,
    "image_item": 1,
    "pair_draw": 1,
    "labels": 2,
    "image_embedding": 2,
    "audio_embedding": 2,
    "heat_map": 3,
    "boxes": 3,
    "box_sounding": 2,
    "box_annotator": 2,
    "image_pool4": 2,
    "audio_pool4": 2,
    "audio_features": 2,
    "image_features": 2,
    "clip": 1,
    "fold": 1,
    "tested": 1,
    "silent": 1,
    "source": 1,
}
_MAY_BE_NAN = ("boxes",)
_MAY_BE_TEXT = ("image_item",)  # clips are compared, not computed with


def arrays(evaluator: str, test: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Return the named arrays of `test`, checked.

    Args:
      evaluator: name of the evaluator, for the messages.
      test: evaluation arrays.
      names: names of the arrays that are needed.

    Raises:
      ValueError: an array is missing, not numeric, empty or not finite, or has the wrong number of dimensions or rows;
        the message names the evaluator, the array and the number of rows.
    """
    missing = [name for name in names if name not in test]
    if missing:
        raise ValueError(f"{evaluator}: missing {missing}; it needs {list(names)} and was given {sorted(test)}")
    found = {name: np.asarray(test[name]) for name in names}
    for name, array in found.items():
        dimensions = _DIMENSIONS[name.removeprefix("untrained_")]
        if array.dtype.kind not in "biuf" and name not in _MAY_BE_TEXT:
            raise ValueError(f"{evaluator}: {name} is {array.dtype} of shape {array.shape}; expected numbers")
        if array.ndim != dimensions:
            raise ValueError(
                f"{evaluator}: {name} has shape {array.shape}; expected {dimensions} dimensions, the first of them rows"
            )
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
    """Return the number of items that an evaluation should cover: `items_expected`, or `rows` if it is None."""
    return rows if items_expected is None else items_expected


def modalities(evaluator: str, given: Sequence[str]) -> None:
    """Check the modes to score.

    Raises:
      ValueError: no mode, a repeated mode, or an unknown one.
    """
    if not given or len(set(given)) < len(given) or not set(given) <= {"image", "audio"}:
        raise ValueError(f"{evaluator}: modalities = {tuple(given)}; image, audio or both")
