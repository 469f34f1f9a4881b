"""What each evaluation array holds, and the check that given arrays do.

`ARRAYS` is the list; docs/metrics/scoring.md shows it as a table. `avlearn/evaluation/collect.py` collects the arrays;
an `.npz` of another system may provide them under the same names.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Shaped

FLOAT, INTEGER, TRUTH, NAME = "float", "integer", "true or false", "integer or text"
# Accepted kinds of NumPy types, and the same in words.
TYPES = {
    FLOAT: ("f", "float16, float32 or float64"),
    INTEGER: ("iu", "integers"),
    TRUTH: ("biu", "bool, or the integers 0 and 1"),
    NAME: ("iuU", "integers or text"),
}
# Of a float: sums of squares stay finite in float32, and in float64 it differs from its neighbour by 1/8.
LARGEST = 1e15
ROUNDING = 1e-3  # by which a value may be beyond a limit of its own
UNTRAINED = "untrained_"  # prefix of the arrays of the network with its initial weights
_BLOCK_VALUES = 4_000_000  # to check at a time


@dataclasses.dataclass(frozen=True)
class Array:
    """What an evaluation array must be.

    Attributes:
      shape: its axes, separated by commas; a number is the exact size of an axis.
      type: key of `TYPES`.
      content: what a value means.
      least, most: limits of the values; None: none of its own.
      absent: whether a vector along the last axis may be NaN.
    """

    shape: str
    type: str
    content: str
    least: int | None = None
    most: int | None = None
    absent: bool = False

    @property
    def axes(self) -> list[str]:
        """Return the names of the axes."""
        return self.shape.split(", ")

    @property
    def limits(self) -> tuple[int | float, int | float]:
        """Return the least and the greatest value that are accepted."""
        if self.type == TRUTH:
            return 0, 1
        if self.type != FLOAT:
            return -math.inf if self.least is None else self.least, math.inf if self.most is None else self.most
        least = -LARGEST if self.least is None else self.least - ROUNDING
        return least, LARGEST if self.most is None else self.most + ROUNDING

    @property
    def values(self) -> str:
        """Return its type and limits in words."""
        words = self.type
        if self.least is not None:
            words += f" from {self.least}" if self.most is None else f" from {self.least} to {self.most}"
        return f"{words}, or NaN" if self.absent else words


ARRAYS = {
    "labels": Array("rows, classes", TRUTH, "true for the classes of the row's clip (for `windows`: one row per clip)"),
    "image_embedding": Array("rows, dim", FLOAT, "retrieval vectors of the frames, compared by Euclidean distance"),
    "audio_embedding": Array("rows, dim", FLOAT, "retrieval vectors of the audio"),
    "image_item": Array("rows", NAME, "the frame's clip: the bootstrap draws rows of one clip together"),
    "logit": Array("rows", FLOAT, "log-odds that frame and audio correspond; with `threshold=validation`, any score"),
    "corresponds": Array("rows", TRUTH, "whether frame and audio come from one moment of one video"),
    "pair_draw": Array("rows", INTEGER, "draw that a negative belongs to, from 0; -1 for positives", least=-1),
    "silent": Array("rows", TRUTH, "whether the audio is silence"),
    "heat_map": Array(
        "rows, map rows, map columns", FLOAT, "strength of each cell; `pointing` and `negatives` expect log-odds"
    ),
    "boxes": Array(
        "rows, boxes, 4",
        FLOAT,
        "ymin, xmin, ymax, xmax as shares of the image, not pixels; all four NaN for an absent box",
        least=0,
        most=1,
        absent=True,
    ),
    "box_sounding": Array("rows, boxes", TRUTH, "whether the object in the box sounds"),
    "box_annotator": Array("rows, boxes", INTEGER, "number of the box's annotator (`ciou` with `consensus`)"),
    "source": Array("rows", INTEGER, "class of the source that the row's audio and boxes belong to", least=0),
    "image_pool4": Array("rows, units", FLOAT, "maximum of each channel of the last image map over all positions"),
    "audio_pool4": Array("rows, units", FLOAT, "maximum of each channel of the last audio map over all positions"),
    "audio_features": Array(
        "windows, dim", FLOAT, "features of the window (of conv4_2 before its ReLU: 6,144 numbers)"
    ),
    "clip": Array("windows", INTEGER, "number of the window's clip: the row of `labels`, `fold`, `tested`", least=0),
    "fold": Array("clips", INTEGER, "cross-validation fold of the clip", least=1),
    "tested": Array("clips", TRUTH, "whether the fold is tested (all are, if `tested` is absent)"),
    "image_features": Array("images, dim", FLOAT, "features of the image (of conv4_2 after its ReLU: 8,192 numbers)"),
}


def table() -> str:
    """Return the table of all arrays, in Markdown."""
    rows = [f"| `{name}` | {each.shape} | {each.values} | {each.content} |" for name, each in ARRAYS.items()]
    rows += [
        f"| `{UNTRAINED}...` | | | the same from a network with its initial weights, for the baseline of that name |"
    ]
    return "\n".join(["| array | shape | values | content |", "|---|---|---|---|", *rows])


def arrays(evaluator: str, test: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Return the named arrays of `test`, checked, and converted to bool, int64, or the byte order of this machine.

    Args:
      evaluator: name of the evaluator, for the messages.
      test: evaluation arrays.
      names: names of the arrays that are needed.

    Raises:
      ValueError: an array is missing or empty, or has another type, shape or number of rows than `ARRAYS` states, or
        values that are not finite or outside the limits; the message names the evaluator, the array and the first row.
    """
    missing = [name for name in names if name not in test]
    if missing:
        raise ValueError(f"{evaluator}: missing {missing}; it needs {list(names)} and was given {sorted(test)}")
    found = {name: np.asarray(test[name]) for name in names}
    for name, array in found.items():
        _check_type(f"{evaluator}: {name}", array, ARRAYS[name.removeprefix(UNTRAINED)])
    _check_sizes(evaluator, found)
    for name, array in found.items():
        _check_values(f"{evaluator}: {name}", array, ARRAYS[name.removeprefix(UNTRAINED)])
    return [_converted(array, ARRAYS[name.removeprefix(UNTRAINED)]) for name, array in found.items()]


def in_rows(wrong: Bool[np.ndarray, " n"]) -> str:
    """Return `in 2 of 9 rows, first in row 4`, counted from 0."""
    return f"in {int(wrong.sum())} of {len(wrong)} rows, first in row {int(wrong.argmax())}"


def _check_type(array_name: str, array: np.ndarray, wanted: Array) -> None:
    kinds, words = TYPES[wanted.type]
    if array.dtype.kind not in kinds or (array.dtype.itemsize > 8 and wanted.type == FLOAT):
        raise ValueError(f"{array_name} is {array.dtype} of shape {array.shape}; expected {words}")
    if array.ndim != len(wanted.axes):
        raise ValueError(
            f"{array_name} has shape {array.shape}; expected {len(wanted.axes)} dimensions: {wanted.shape}"
        )


def _check_sizes(evaluator: str, found: Mapping[str, np.ndarray]) -> None:
    rows = {name: len(array) for name, array in found.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"{evaluator}: the arrays have different numbers of rows: {rows}")
    if not min(rows.values()):
        raise ValueError(f"{evaluator}: no items: {', '.join(found)} have 0 rows; is the evaluation split empty?")
    boxes = {}
    for name, array in found.items():
        wanted = ARRAYS[name.removeprefix(UNTRAINED)]
        for axis, size in zip(wanted.axes[1:], array.shape[1:], strict=True):
            if axis == "boxes":
                boxes[name] = size
            elif not size or (axis.isdigit() and size != int(axis)):
                raise ValueError(f"{evaluator}: {name} has shape {array.shape}; expected {wanted.shape}")
    if len(set(boxes.values())) > 1:
        raise ValueError(f"{evaluator}: the arrays have different numbers of boxes: {boxes}")


def _check_values(array_name: str, array: np.ndarray, wanted: Array) -> None:
    if array.dtype.kind == "U":
        return
    least, most = wanted.limits
    if array.dtype.kind == "f":  # limits beyond those of the type would become infinite, and infinity allowed
        largest = float(np.finfo(array.dtype).max)
        least, most = max(least, -largest), min(most, largest)
    step = max(1, _BLOCK_VALUES * len(array) // max(array.size, 1))
    blocks = [array[start : start + step] for start in range(0, len(array), step)]
    other_axes = tuple(range(1, array.ndim))
    wrong = np.concatenate([np.any(_outside(block, least, most, wanted.absent), axis=other_axes) for block in blocks])
    if not wrong.any():
        return
    first = array[int(wrong.argmax())][None]
    if not np.isfinite(first).all() and not wanted.absent:
        raise ValueError(f"{array_name} is not finite {in_rows(wrong)}; did the training diverge?")
    value = first[_outside(first, least, most, wanted.absent)][0]
    bound = f" of at most {LARGEST:g}" if wanted.type == FLOAT and wanted.most is None else ""
    raise ValueError(f"{array_name} is {value:g} {in_rows(wrong)}; expected {wanted.values}{bound}: {wanted.content}")


def _outside(
    block: Shaped[np.ndarray, "..."], least: int | float, most: int | float, absent: bool
) -> Bool[np.ndarray, "..."]:
    """Return which values are outside the limits; NaN is, unless a whole vector may be absent."""
    wrong = ~((block >= least) & (block <= most))
    if absent:
        wrong &= ~np.isnan(block).all(axis=-1, keepdims=True)
    return wrong


def _converted(array: np.ndarray, wanted: Array) -> np.ndarray:
    own = {TRUTH: np.dtype(bool), INTEGER: np.dtype(np.int64)}.get(wanted.type, array.dtype.newbyteorder("="))
    return array.astype(own, copy=False)


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
