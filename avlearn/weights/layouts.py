"""How other frameworks lay out an array, and how it becomes ours: kernels (rows, columns, in, out) and (in, out)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """One kind of array in a file.

    Attributes:
      shape: the shape in the file, from that of ours.
      convert: from the array in the file to ours.
    """

    shape: Callable[[Shape], Shape]
    convert: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where an array of a network comes from.

    Attributes:
      target: its path in the network, such as `vision.conv1_1.kernel`.
      source: its name in the file.
      layout: how the file lays it out.
      subtracted: name of a vector that is taken from it, or None.
    """

    target: str
    source: str
    layout: Layout
    subtracted: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Every name in the file that it reads."""
        return (self.source,) if self.subtracted is None else (self.source, self.subtracted)


SAME = Layout(lambda shape: shape, lambda array: array)
# PyTorch: convolutions (out, in, rows, columns), linear layers (out, in).
TORCH_CONV = Layout(lambda shape: (shape[3], shape[2], shape[0], shape[1]), lambda array: array.transpose(2, 3, 1, 0))
TORCH_LINEAR = Layout(lambda shape: shape[::-1], lambda array: array.T)
# The same with the two outputs exchanged, for networks whose first class is `corresponds`; ours is the second.
TORCH_LINEAR_EXCHANGED = Layout(lambda shape: shape[::-1], lambda array: array[::-1].T)
EXCHANGED = Layout(lambda shape: shape, lambda array: array[::-1])


def torch_linear_after_map(channels: int) -> Layout:
    """A linear layer on a square map that PyTorch flattened as (channels, rows, columns); ours is channels last."""

    def convert(array: np.ndarray) -> np.ndarray:
        outputs, inputs = array.shape
        side = round((inputs / channels) ** 0.5)
        maps = array.reshape(outputs, channels, side, side)
        return maps.transpose(2, 3, 1, 0).reshape(inputs, outputs)

    return Layout(lambda shape: shape[::-1], convert)


def input_colours_exchanged(scale: Sequence[float]) -> Layout:
    """A first convolution (rows, columns, in, out) on B, G, R from 0 to 255; ours takes R, G, B divided by `scale`."""
    factor = np.asarray(scale, np.float64)[None, None, :, None]
    return Layout(lambda shape: shape, lambda array: array[:, :, ::-1].astype(np.float64) * factor)


def converted(
    found: Mapping[str, np.ndarray], entries: Sequence[Entry], shapes: Mapping[str, Shape]
) -> dict[str, np.ndarray]:
    """Our arrays, float32, from those of a file that `mismatches` found nothing wrong with.

    Args:
      found: name in the file to array.
      entries: what to read.
      shapes: path in the network to shape.
    """
    arrays = {}
    for entry in entries:
        array = found[entry.source]
        if entry.subtracted is not None:
            array = array.astype(np.float64) - found[entry.subtracted].astype(np.float64)
        array = np.ascontiguousarray(entry.layout.convert(array), np.float32)
        assert array.shape == tuple(shapes[entry.target]), f"{entry}: {array.shape}"
        arrays[entry.target] = array
    return arrays


def mismatches(
    found: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    shapes: Mapping[str, Shape],
    unused: Callable[[str], bool],
) -> list[str]:
    """What is wrong with a file, a line each: entries that are missing, too many, misshaped, or not finite numbers.

    Args:
      found: name in the file to array.
      entries: what is read.
      shapes: path in the network to shape.
      unused: whether a name in the file is known and may be left unread.
    """
    expected = {}
    for entry in entries:
        expected[entry.source] = entry.layout.shape(tuple(shapes[entry.target]))
        if entry.subtracted is not None:
            expected[entry.subtracted] = expected[entry.source]
    lines = [f"missing: {name} {list(shape)}" for name, shape in expected.items() if name not in found]
    extra = [name for name in found if name not in expected and not unused(name)]
    lines += [f"unknown: {name} {list(found[name].shape)}" for name in extra]
    for name, shape in expected.items():
        if name not in found:
            continue
        if found[name].shape != shape:
            lines.append(f"shape: {name} is {list(found[name].shape)}, expected {list(shape)}")
        elif not np.isfinite(found[name]).all():
            lines.append(f"not finite: {name}")
    return lines
