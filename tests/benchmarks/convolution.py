"""GFLOP/s of single convolutions, jaxlib's default and ours: `python tests/benchmarks/convolution.py`.

Forward passes and the gradients of input and weights are compiled separately. By default jaxlib leaves convolutions on
a CPU to YNNPACK; ours are `avlearn.models.layers.convolution.convolve` with the flags of `avlearn.devices.environment`.
XLA reads its flags once, so each runs in its own process; the two alternate, shape by shape.
The shape `8x56x64-128k3s2` is 8 square maps of 56 x 56 positions and 64 channels, and a 3 x 3 kernel with stride 2 and
128 output channels.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

import jax
import train_step

from avlearn.devices import environment
from avlearn.models.layers.convolution import convolve

DEFAULT = environment.CONVOLUTIONS.replace("=-", "=+")
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


def parse_shape(text: str) -> tuple[int, ...]:
    """Return images, side, input and output channels, side of the kernel, stride."""
    return tuple(map(int, re.fullmatch(r"(\d+)x(\d+)x(\d+)-(\d+)k(\d+)s(\d+)", text).groups()))


def passes(
    convolution: Callable, images: int, side: int, in_channels: int, out_channels: int, cells: int, stride: int
) -> dict[str, Callable]:
    """Compile the forward and backward passes of a convolution on random maps."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (images, side, side, in_channels))
    kernel = jax.random.normal(keys[1], (cells, cells, in_channels, out_channels))
    padding = ((cells // 2, cells // 2),) * 2
    layout = ("NHWC", "HWIO", "NHWC")
    forward = functools.partial(convolution, window_strides=(stride, stride), padding=padding, dimension_numbers=layout)
    gradient = jax.random.normal(keys[2], forward(x, kernel).shape)
    input_gradient = jax.jit(lambda x, kernel, gradient: jax.vjp(lambda x: forward(x, kernel), x)[1](gradient))
    weight_gradient = jax.jit(
        lambda x, kernel, gradient: jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](gradient)
    )
    return {
        "forward": functools.partial(jax.jit(forward), x, kernel),
        "input": functools.partial(input_gradient, x, kernel, gradient),
        "weights": functools.partial(weight_gradient, x, kernel, gradient),
    }


def measure(text: str, convolution: Callable, repeats: int) -> list[float]:
    """Return the matrix rate, and the rates of the three passes for a shape, GFLOP/s."""
    images, side, in_channels, out_channels, cells, stride = parse_shape(text)
    gigaflop = 2 * cells**2 * images * (-(-side // stride)) ** 2 * in_channels * out_channels / 1e9
    seconds = train_step.seconds_each(passes(convolution, *parse_shape(text)), repeats)
    return [train_step.matrix_rate("float32", repeats), *(gigaflop / value for value in seconds.values())]


def measure_in_process(text: str, repeats: int, flags: str) -> list[float]:
    """Run `measure` in a new process with these XLA flags."""
    command = [sys.executable, __file__, f"--repeats={repeats}", f"--measure={text}"]
    return json.loads(
        subprocess.run(
            command, env={**os.environ, "XLA_FLAGS": flags}, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    )


def main() -> None:
    """Print a row for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="NxSIDExIN-OUTkKERNELsSTRIDE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        by_default = DEFAULT in os.environ["XLA_FLAGS"]
        convolution = jax.lax.conv_general_dilated if by_default else convolve
        print(json.dumps(measure(arguments.measure, convolution, arguments.repeats)))
        return
    print(
        f"{'':18}" + "".join(f"{name:>20}" for name in ("matrix", "forward", "input's gradient", "weights' gradient"))
    )
    print(f"{'maps':18}" + f"{'default':>13}{'ours':>7}" * 4)
    for text in arguments.shapes:
        both = [measure_in_process(text, arguments.repeats, flags) for flags in (DEFAULT, environment.CONVOLUTIONS)]
        print(
            f"{text:18}" + "".join(f"{theirs:13.0f}{ours:7.0f}" for theirs, ours in zip(*both, strict=True)), flush=True
        )


if __name__ == "__main__":
    main()
