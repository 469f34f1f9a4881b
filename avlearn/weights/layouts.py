"""Converts the array layouts of other frameworks to ours: kernels are (rows, columns, in, out) or (in, out)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of one kind of array in a file.

    Attributes:
      shape: maps our array's shape to the shape in the file.
      convert: converts the array in the file to ours.
    """

    shape: Callable[[Shape], Shape]
    convert: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Entry:
    """The source of one array of a network.

    Attributes:
      target: path in the network, such as `vision.conv1_1.kernel`.
      source: name in the file.
      layout: layout in the file.
      subtracted: name of a vector in the file to subtract from the array, or None.
    """

    target: str
    source: str
    layout: Layout
    subtracted: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Return all names that are read from the file."""
        return (self.source,) if self.subtracted is None else (self.source, self.subtracted)


SAME = Layout(lambda shape: shape, lambda array: array)
# PyTorch: convolutions (out, in, rows, columns), linear layers (out, in).
TORCH_CONV = Layout(lambda shape: (shape[3], shape[2], shape[0], shape[1]), lambda array: array.transpose(2, 3, 1, 0))
TORCH_LINEAR = Layout(lambda shape: shape[::-1], lambda array: array.T)
# The same with the two outputs swapped, for networks whose first class is `corresponds`; ours is the second.
TORCH_LINEAR_SWAPPED = Layout(lambda shape: shape[::-1], lambda array: array[::-1].T)
SWAPPED = Layout(lambda shape: shape, lambda array: array[::-1])


def torch_linear_after_map(channels: int) -> Layout:
    """Build the layout of a linear layer on a square map flattened channels first; ours is channels last."""

    def convert(array: np.ndarray) -> np.ndarray:
        outputs, inputs = array.shape
        side = round((inputs / channels) ** 0.5)
        maps = array.reshape(outputs, channels, side, side)
        return maps.transpose(2, 3, 1, 0).reshape(inputs, outputs)

    return Layout(lambda shape: shape[::-1], convert)


def swapped_input_colours(scale: Sequence[float]) -> Layout:
    """Build the layout of a first convolution on B, G, R from 0 to 255; ours takes R, G, B divided by `scale`."""
    factor = np.asarray(scale, np.float64)[None, None, :, None]
    return Layout(lambda shape: shape, lambda array: array[:, :, ::-1].astype(np.float64) * factor)


def convert_entries(
    stored: Mapping[str, np.ndarray], entries: Sequence[Entry], shapes: Mapping[str, Shape]
) -> dict[str, np.ndarray]:
    """Convert the arrays of a file to ours, in float32, after `mismatches` found no errors.

    Args:
      stored: the file's arrays by name.
      entries: the entries to read.
      shapes: our shapes by path in the network.

    Returns:
      Our arrays by path in the network.
    """
    arrays = {}
    for entry in entries:
        array = stored[entry.source]
        if entry.subtracted is not None:
            array = array.astype(np.float64) - stored[entry.subtracted].astype(np.float64)
        array = np.ascontiguousarray(entry.layout.convert(array), np.float32)
        assert array.shape == tuple(shapes[entry.target]), f"{entry}: {array.shape}"
        arrays[entry.target] = array
    return arrays


def mismatches(
    stored: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    shapes: Mapping[str, Shape],
    unused: Callable[[str], bool],
) -> list[str]:
    """List a file's errors, one a line: missing and unknown entries, wrong shapes and types, infinite values and NaN.

    Args:
      stored: the file's arrays by name.
      entries: the entries to read.
      shapes: our shapes by path in the network.
      unused: function that returns whether a name in the file is known and need not be read.
    """
    expected = {}
    for entry in entries:
        expected[entry.source] = entry.layout.shape(tuple(shapes[entry.target]))
        if entry.subtracted is not None:
            expected[entry.subtracted] = expected[entry.source]
    lines = [f"missing: {name} {list(shape)}" for name, shape in expected.items() if name not in stored]
    extra = [name for name in stored if name not in expected and not unused(name)]
    lines += [f"unknown: {name} {list(stored[name].shape)}" for name in extra]
    for name, shape in expected.items():
        if name not in stored:
            continue
        if stored[name].shape != shape:
            lines.append(f"shape: {name} is {list(stored[name].shape)}, expected {list(shape)}")
        elif stored[name].dtype.kind != "f":
            lines.append(f"type: {name} is {stored[name].dtype}, expected floats")
        elif not np.isfinite(stored[name]).all():
            lines.append(f"not finite: {name}")
    return lines
