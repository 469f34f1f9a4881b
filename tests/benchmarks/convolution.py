"""GFLOP/s of single convolutions, XLA's own and ours, beside the matrix rate: `python tests/benchmarks/convolution.py`.

Forward, and the gradients of the input and of the weights, each compiled alone and timed in turn; ours are
`avlearn.models.parts.convolution.convolve`. A shape such as `8x56x64-128k3s2` is 8 square maps of 56 x 56 positions
with 64 channels, of which a kernel of 3 x 3 at stride 2 makes 128.
"""

import argparse
import functools
import re
from collections.abc import Callable

import jax
import train_step

from avlearn.models.parts.convolution import convolve

SHAPES = [
    "8x224x3-64k3s2",
    "8x224x3-64k7s2",
    "8x112x64-64k3s1",
    "8x56x64-128k3s1",
    "8x56x64-128k3s2",
    "8x56x128-128k3s1",
    "8x56x64-128k1s2",
    "8x28x256-256k3s1",
    "8x14x256-512k1s1",
    "8x14x512-512k3s1",
    "64x4x256-256k3s1",
    "64x3x256-256k3s1",
    "64x2x256-256k3s1",
    "64x1x256-256k3s1",
]


def shape(text: str) -> tuple[int, ...]:
    """Images, side, channels before and after, side of the kernel, stride."""
    return tuple(map(int, re.fullmatch(r"(\d+)x(\d+)x(\d+)-(\d+)k(\d+)s(\d+)", text).groups()))


def passes(
    convolution: Callable, images: int, side: int, in_channels: int, out_channels: int, cells: int, stride: int
) -> dict[str, Callable]:
    """Forward and backward passes of a convolution on random maps, compiled."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (images, side, side, in_channels))
    kernel = jax.random.normal(keys[1], (cells, cells, in_channels, out_channels))
    padding = ((cells // 2, cells // 2),) * 2
    layout = ("NHWC", "HWIO", "NHWC")
    forward = functools.partial(convolution, window_strides=(stride, stride), padding=padding, dimension_numbers=layout)
    gradient = jax.random.normal(keys[2], forward(x, kernel).shape)
    of_input = jax.jit(lambda x, kernel, gradient: jax.vjp(lambda x: forward(x, kernel), x)[1](gradient))
    of_weights = jax.jit(lambda x, kernel, gradient: jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](gradient))
    return {
        "forward": functools.partial(jax.jit(forward), x, kernel),
        "input": functools.partial(of_input, x, kernel, gradient),
        "weights": functools.partial(of_weights, x, kernel, gradient),
    }


def main() -> None:
    """Prints a row for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="NxSIDExIN-OUTkKERNELsSTRIDE")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    limit = train_step.matrix_rate("float32", arguments.repeats)
    print(f"{jax.devices()[0].device_kind}, matrix rate {limit:.0f} GFLOP/s")
    print(f"{'':18}" + "".join(f"{name:>20}" for name in ("forward", "input's gradient", "weights' gradient")))
    print(f"{'maps':18}" + f"{'XLA':>13}{'ours':>7}" * 3)
    for text in arguments.shapes:
        images, side, in_channels, out_channels, cells, stride = shape(text)
        positions = images * (-(-side // stride)) ** 2
        gigaflop = 2 * cells**2 * positions * in_channels * out_channels / 1e9
        both = {"XLA": jax.lax.conv_general_dilated, "ours": convolve}
        functions = {
            (name, what): run
            for name, convolution in both.items()
            for what, run in passes(convolution, *shape(text)).items()
        }
        seconds = train_step.seconds_each(functions, arguments.repeats)
        rates = [gigaflop / seconds[name, what] for what in ("forward", "input", "weights") for name in both]
        print(
            f"{text:18}" + "".join(f"{rate:{width}.0f}" for rate, width in zip(rates, (13, 7) * 3, strict=True)),
            flush=True,
        )


if __name__ == "__main__":
    main()
