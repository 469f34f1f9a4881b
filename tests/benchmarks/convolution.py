"""GFLOP/s of single convolutions, XLA's own and ours, beside the matrix rate: `python tests/benchmarks/convolution.py`.

Kernels of 3 x 3 at stride 1, maps of as many channels before as after. Forward, and the gradients of the input and of
the weights, each compiled alone and timed in turn; ours are `avlearn.models.parts.convolution.convolve`.
"""

import argparse
import functools
from collections.abc import Callable

import jax
import train_step

from avlearn.models.parts.convolution import convolve

NHWC = ("NHWC", "HWIO", "NHWC")
SHAPES = ("8x112x64", "8x56x128", "8x28x256", "8x14x512", "64x4x256", "64x3x256", "64x2x256", "64x1x256")
SETTINGS = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC}


def passes(convolution: Callable, images: int, side: int, channels: int) -> dict[str, Callable]:
    """Forward and backward passes of a convolution on random maps, compiled."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, gradient = (jax.random.normal(key, (images, side, side, channels)) for key in keys[:2])
    kernel = jax.random.normal(keys[2], (3, 3, channels, channels))
    forward = functools.partial(convolution, **SETTINGS)
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
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="IMAGESxSIDExCHANNELS")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    limit = train_step.matrix_rate("float32", arguments.repeats)
    print(f"{jax.devices()[0].device_kind}, matrix rate {limit:.0f} GFLOP/s")
    print(f"{'':12}" + "".join(f"{name:>20}" for name in ("forward", "input's gradient", "weights' gradient")))
    print(f"{'maps':12}" + f"{'XLA':>13}{'ours':>7}" * 3)
    for shape in arguments.shapes:
        images, side, channels = map(int, shape.split("x"))
        gigaflop = 2 * 9 * images * side**2 * channels**2 / 1e9
        both = {"XLA": jax.lax.conv_general_dilated, "ours": convolve}
        functions = {
            (name, what): run
            for name, convolution in both.items()
            for what, run in passes(convolution, images, side, channels).items()
        }
        seconds = train_step.seconds_each(functions, arguments.repeats)
        rates = [gigaflop / seconds[name, what] for what in ("forward", "input", "weights") for name in both]
        print(
            f"{shape:12}" + "".join(f"{rate:{width}.0f}" for rate, width in zip(rates, (13, 7) * 3, strict=True)),
            flush=True,
        )


if __name__ == "__main__":
    main()
