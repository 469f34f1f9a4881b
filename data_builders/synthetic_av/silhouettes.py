"""Draws the silhouette of each class, with random proportions and the colours of a palette.

Objects are upright in [-1, 1] x [-1, 1] (y down); outline, pose and size are added later.
"""

import itertools
from collections.abc import Callable

import numpy as np

from data_builders.synthetic_av.pen import Palette, Pen, mirror, smooth


def _acoustic_guitar(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    lower, upper, waist = rng.uniform(0.40, 0.48), rng.uniform(0.30, 0.36), rng.uniform(0.22, 0.27)
    pen.rectangle(-0.06, -0.8, 0.06, 0.3, paint.dark)
    pen.polygon([(-0.09, -0.72), (-0.12, -0.98), (0.12, -0.98), (0.09, -0.72)], paint.trim)
    body = [(0.1, -0.18), (upper, -0.02), (waist, 0.24), (lower, 0.58), (0.24, 0.9)]
    pen.polygon(smooth(mirror(body)), paint.body)
    pen.ellipse((0, 0.27), (0.16, 0.16), paint.light)
    pen.ellipse((0, 0.27), (0.12, 0.12), paint.dark)
    pen.rectangle(-0.2, 0.6, 0.2, 0.68, paint.dark)
    pen.stroke([(0, -0.9), (0, 0.64)], 0.03, paint.light)


def _electric_guitar(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    horn, tail, wide = rng.uniform(0.16, 0.3), rng.uniform(0.82, 0.96), rng.uniform(0.4, 0.5)
    pen.rectangle(-0.05, -0.85, 0.05, 0.2, paint.light)
    pen.polygon([(-0.05, -0.72), (-0.07, -0.98), (0.2, -0.86), (0.05, -0.66)], paint.trim)
    body = [
        (0.06, 0.16), (0.2, 0.0), (0.34, -horn), (0.36, 0.14), (0.3, 0.36), (wide, 0.66), (0.2, tail), (-0.2, tail),
        (-wide, 0.7), (-0.3, 0.38), (-0.44, 0.1), (-0.36, -horn - 0.14), (-0.2, 0.0), (-0.06, 0.16),
    ]  # fmt: skip
    pen.polygon(body, paint.body)
    pen.polygon([(-0.2, 0.2), (0.24, 0.16), (0.2, 0.5), (0.3, 0.7), (-0.12, 0.66)], paint.light)
    for y in (0.3, 0.44, 0.58):
        pen.rectangle(-0.13, y, 0.13, y + 0.06, paint.dark)
    pen.stroke([(0.02, 0.72), (0.3, 0.84)], 0.05, paint.dark)


def _violin(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    lower, upper, bow = rng.uniform(0.33, 0.4), rng.uniform(0.26, 0.32), rng.uniform(-0.12, 0.12)
    body = [
        (0.04, -0.18),
        (upper, -0.1),
        (upper, 0.16),
        (0.15, 0.22),
        (0.15, 0.42),
        (lower, 0.5),
        (lower, 0.8),
        (0.1, 0.95),
    ]
    pen.polygon(smooth(mirror(body), 5), paint.body)
    pen.rectangle(-0.05, -0.75, 0.05, 0.3, paint.dark)
    pen.ellipse((0, -0.82), (0.1, 0.1), paint.trim)
    pen.polygon([(-0.05, 0.5), (0.05, 0.5), (0.08, 0.85), (-0.08, 0.85)], paint.dark)
    for side in (-1, 1):
        pen.stroke([(side * 0.13, 0.26), (side * 0.17, 0.5)], 0.05, paint.dark)
    pen.stroke([(-0.85, 0.02 + bow), (0.9, 0.5 - bow)], 0.06, paint.light)
    pen.stroke([(-0.88, -0.04 + bow), (-0.2, 0.08), (0.9, 0.44 - bow)], 0.05, paint.trim)


def _piano(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    top, keys = rng.uniform(-0.8, -0.6), int(rng.integers(7, 10))
    for x in (-0.86, 0.72):
        pen.rectangle(x, 0.3, x + 0.14, 0.85, paint.body)
    pen.rectangle(-0.9, top, 0.9, 0.62, paint.body)
    pen.rectangle(-0.97, top - 0.08, 0.97, top + 0.06, paint.trim)
    pen.polygon([(-0.34, top + 0.3), (0.34, top + 0.3), (0.28, top + 0.08), (-0.28, top + 0.08)], paint.light)
    pen.rectangle(-0.97, -0.2, 0.97, 0.42, paint.trim)
    pen.rectangle(-0.88, -0.14, 0.88, 0.34, paint.light)
    step = 1.76 / keys
    for key in range(1, keys):
        x = -0.88 + key * step
        pen.stroke([(x, -0.14), (x, 0.34)], 0.02, paint.dark)
        if key % 7 not in (3, 0):
            pen.rectangle(x - 0.3 * step, -0.14, x + 0.3 * step, 0.14, paint.dark)


def _accordion(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    folds, fan, reach = int(rng.integers(5, 8)), rng.uniform(0.1, 0.24), rng.uniform(0.42, 0.52)
    edges = np.linspace(-reach, reach, 2 * folds + 1)
    for index, (left, right) in enumerate(itertools.pairwise(edges)):
        colour = paint.light if index % 2 else paint.dark
        tops = [
            -0.5 - 0.07 * ((index + step) % 2) - fan * (1 - (x / reach) ** 2) for step, x in ((0, left), (1, right))
        ]
        pen.polygon([(left, tops[0]), (right, tops[1]), (right, 0.5), (left, 0.5)], colour)
    for side in (-1, 1):
        block = [(0.44, -0.52), (0.92, -0.62), (0.97, 0.6), (0.44, 0.58)]
        pen.polygon([(side * x, y) for x, y in block], paint.body)
        for y in np.linspace(-0.42, 0.42, 5):
            pen.ellipse((side * 0.62, y), (0.055, 0.055), paint.light)
            pen.ellipse((side * 0.82, y), (0.055, 0.055), paint.trim)


def _snare_drum(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    depth, tilt, lean = rng.uniform(0.42, 0.6), rng.uniform(0.2, 0.3), rng.uniform(-0.1, 0.1)
    pen.ellipse((0, 0.1 + depth), (0.84, tilt), paint.trim)
    pen.rectangle(-0.84, 0.1, 0.84, 0.1 + depth, paint.body)
    pen.ellipse((0, 0.04 + depth), (0.8, tilt), paint.body)
    lugs = np.linspace(-0.7, 0.7, 6)
    zigzag = [(x, 0.24 + tilt * np.sqrt(1 - x**2 / 0.75) + (depth - 0.28) * (n % 2)) for n, x in enumerate(lugs)]
    pen.stroke(zigzag, 0.06, paint.light)
    pen.ellipse((0, 0.1), (0.9, tilt + 0.05), paint.trim)
    pen.ellipse((0, 0.07), (0.8, tilt - 0.02), paint.light)
    for side in (-1, 1):
        tip = (side * -0.1, 0.06)
        pen.stroke([(side * 0.72 + lean, -0.82), tip], 0.08, paint.dark)
        pen.ellipse(tip, (0.08, 0.06), paint.dark)


def _bass_drum(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    hoop, lugs, emblem = rng.uniform(0.1, 0.16), int(rng.integers(6, 10)), rng.uniform(0.24, 0.36)
    spread, turn = rng.uniform(0.7, 0.95), rng.uniform(0, 1)
    for side in (-1, 1):
        pen.stroke([(side * 0.6, 0.4), (side * spread, 0.95)], 0.1, paint.dark)
    pen.ellipse((0, 0), (0.86, 0.86), paint.body)
    pen.ellipse((0, 0), (0.86 - hoop, 0.86 - hoop), paint.light)
    for angle in np.linspace(0, 2 * np.pi, lugs, endpoint=False) + turn:
        direction = np.array([np.cos(angle), np.sin(angle)])
        pen.stroke([direction * 0.7, direction * 0.92], 0.1, paint.dark)
    pen.ellipse((0, 0), (emblem, emblem), paint.trim)
    star = [(r * np.sin(a), -r * np.cos(a)) for a, r in zip(np.arange(10) * np.pi / 5, [0.22, 0.09] * 5, strict=True)]
    pen.polygon([(x * emblem / 0.26, y * emblem / 0.26) for x, y in star], paint.light)


def _cymbal(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    tilt, thick, spread = rng.uniform(-22, 22), rng.uniform(0.17, 0.26), rng.uniform(0.35, 0.5)
    pen.stroke([(0, -0.6), (0, 0.85)], 0.07, paint.dark)
    for x in (-spread, 0, spread):
        pen.stroke([(0, 0.45), (x, 0.93)], 0.07, paint.dark)
    pen.ellipse((0, -0.42), (0.92, thick), paint.body, degrees=tilt)
    for share in (0.75, 0.5):
        pen.ellipse((0, -0.42), (0.92 * share, thick * share), paint.trim, degrees=tilt, width=0.025)
    pen.ellipse((0, -0.5), (0.2, 0.13), paint.trim, degrees=tilt)
    pen.ellipse((0, -0.66), (0.06, 0.08), paint.dark)


def _flute(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    half, keys, lip = rng.uniform(0.11, 0.15), int(rng.integers(5, 8)), rng.uniform(-0.72, -0.6)
    pen.rectangle(-0.97, -half, 0.97, half, paint.body)
    for x in (-0.97, -0.42, 0.93):
        pen.rectangle(x - 0.03, -half - 0.03, x + 0.04, half + 0.03, paint.trim)
    pen.ellipse((lip, -0.05), (0.14, half + 0.05), paint.trim)
    pen.ellipse((lip, -0.05), (0.07, 0.05), paint.dark)
    pen.stroke([(-0.3, half + 0.05), (0.8, half + 0.05)], 0.03, paint.dark)
    for x in np.linspace(-0.25, 0.8, keys):
        pen.ellipse((x, -0.02), (0.075, half + 0.03), paint.dark)
        pen.ellipse((x, -0.02), (0.045, half - 0.01), paint.light)


def _saxophone(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    bell, bow, rise = rng.uniform(0.55, 0.7), rng.uniform(0.8, 0.9), rng.uniform(-0.2, 0.0)
    pen.stroke([(-0.85, -0.62), (-0.66, -0.8)], 0.11, paint.dark)
    pen.stroke([(-0.7, -0.78), (-0.5, -0.9), (-0.28, -0.82), (-0.24, -0.6)], 0.1, paint.trim)
    tube = [
        (-0.24, -0.62),
        (-0.16, 0.4),
        (-0.08, bow - 0.2),
        (0.12, bow - 0.08),
        (0.34, bow - 0.2),
        (0.44, 0.3),
        (0.52, rise),
    ]
    pen.cone(tube, [0.12, 0.24, 0.3, 0.32, 0.34, 0.38, bell], paint.body)
    pen.ellipse((0.525, rise - 0.03), (bell / 2 + 0.04, 0.17), paint.trim, degrees=8)
    pen.ellipse((0.525, rise - 0.03), (bell / 2 - 0.06, 0.1), paint.dark, degrees=8)
    for y in np.linspace(-0.42, 0.42, 5):
        pen.ellipse((-0.2 + 0.08 * y, y), (0.09, 0.07), paint.light)
    pen.stroke([(-0.36, -0.3), (-0.28, 0.5)], 0.05, paint.dark)


def _trumpet(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    flare, drop, pitch = rng.uniform(0.36, 0.46), rng.uniform(0.34, 0.44), rng.uniform(0.15, 0.19)
    loop = [(-0.5, 0), (-0.58, drop / 2), (-0.5, drop), (0.3, drop), (0.38, drop / 2), (0.3, 0)]
    pen.stroke(loop, 0.12, paint.body)
    pen.stroke([(-0.92, 0), (0.4, 0)], 0.12, paint.body)
    bell = [
        (0.3, -0.06),
        (0.55, -0.1),
        (0.78, -0.22),
        (0.93, -flare),
        (0.93, flare),
        (0.78, 0.22),
        (0.55, 0.1),
        (0.3, 0.06),
    ]
    pen.polygon(bell, paint.body)
    pen.ellipse((0.93, 0), (0.06, flare), paint.trim)
    pen.polygon([(-0.98, -0.1), (-0.86, -0.06), (-0.86, 0.06), (-0.98, 0.1)], paint.dark)
    for x in (-pitch - 0.1, -0.1, pitch - 0.1):
        pen.stroke([(x, -0.34), (x, 0)], 0.05, paint.dark)
        pen.rectangle(x - 0.07, -0.16, x + 0.07, drop + 0.1, paint.trim)
        pen.ellipse((x, -0.36), (0.07, 0.05), paint.light)


def _church_bell(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    shoulder, mouth, swing = rng.uniform(0.36, 0.46), rng.uniform(0.74, 0.9), rng.uniform(-0.2, 0.2)
    pen.rectangle(-0.6, -0.97, 0.6, -0.8, paint.dark)
    pen.ellipse((0, -0.7), (0.14, 0.16), paint.trim, width=0.09)
    pen.stroke([(0, 0.4), (swing, 0.8)], 0.08, paint.dark)
    pen.ellipse((swing, 0.82), (0.15, 0.15), paint.dark)
    side = [
        (0.18, -0.62),
        (shoulder - 0.06, -0.5),
        (shoulder, -0.2),
        (shoulder + 0.08, 0.2),
        (mouth - 0.16, 0.5),
        (mouth, 0.68),
    ]
    pen.polygon(mirror(side), paint.body)
    pen.rectangle(-mouth - 0.03, 0.62, mouth + 0.03, 0.74, paint.trim)
    pen.rectangle(-shoulder - 0.02, -0.2, shoulder + 0.02, -0.1, paint.trim)
    pen.polygon([(-0.26, -0.45), (-0.12, -0.5), (-0.2, 0.5), (-0.42, 0.55)], paint.light)


def _gong(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    radius, boss, posts = rng.uniform(0.5, 0.58), rng.uniform(0.13, 0.2), rng.uniform(0.1, 0.15)
    for side in (-1, 1):
        pen.rectangle(side * 0.86 - posts / 2, -0.85, side * 0.86 + posts / 2, 0.9, paint.trim)
        pen.rectangle(side * 0.8 - 0.16, 0.85, side * 0.8 + 0.16, 0.97, paint.trim)
        pen.stroke([(side * 0.3, -0.75), (side * 0.26, -0.3)], 0.04, paint.dark)
    pen.polygon([(-0.98, -0.98), (-0.9, -0.76), (0.9, -0.76), (0.98, -0.98)], paint.trim)
    pen.ellipse((0, 0.12), (radius, radius), paint.body)
    pen.ellipse((0, 0.12), (0.8 * radius, 0.8 * radius), paint.dark, width=0.06)
    pen.ellipse((0, 0.12), (boss, boss), paint.light)


def _hammer(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    handle, head, claw = rng.uniform(0.09, 0.13), rng.uniform(0.16, 0.21), rng.uniform(-0.4, -0.25)
    pen.polygon([(-0.7 * handle, -0.6), (0.7 * handle, -0.6), (1.2 * handle, 0.95), (-1.2 * handle, 0.95)], paint.trim)
    pen.rectangle(-1.3 * handle, 0.35, 1.3 * handle, 0.95, paint.body)
    for y in (0.5, 0.65, 0.8):
        pen.stroke([(-handle, y), (handle, y)], 0.04, paint.dark)
    pen.polygon([(-0.15, -0.6 - head), (-0.15, -0.6 + head), (-0.5, -0.55), (-0.8, claw), (-0.7, -0.68)], paint.dark)
    pen.rectangle(-0.2, -0.6 - head, 0.25, -0.6 + head, paint.dark)
    pen.rectangle(0.25, -0.6 - 0.7 * head, 0.42, -0.6 + 0.7 * head, paint.dark)
    pen.rectangle(0.42, -0.6 - 1.2 * head, 0.66, -0.6 + 1.2 * head, paint.light)


def _drill(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    slant, length, grip = rng.uniform(0.05, 0.2), rng.uniform(0.75, 0.95), rng.uniform(0.55, 0.65)
    pen.polygon([(-0.62, 0), (-0.2, 0), (-0.2 - slant, grip), (-0.62 - slant, grip)], paint.body)
    pen.rectangle(-0.78 - slant, grip, -0.02 - slant, grip + 0.26, paint.dark)
    pen.polygon([(-0.2, 0.02), (-0.04, 0.02), (-0.12, 0.22), (-0.24, 0.24)], paint.trim)
    pen.polygon(
        smooth([(-0.85, -0.45), (-0.3, -0.52), (0.2, -0.48), (0.22, 0.02), (-0.3, 0.06), (-0.85, 0.02)], 4), paint.body
    )
    pen.stroke([(-0.6, -0.22), (0.0, -0.22)], 0.12, paint.trim)
    pen.polygon([(0.2, -0.42), (0.5, -0.34), (0.5, -0.1), (0.2, -0.02)], paint.dark)
    turns = np.linspace(0.5, length, 7)
    pen.rectangle(0.5, -0.27, length, -0.17, paint.light)
    pen.stroke([(x, -0.29 + 0.14 * (n % 2)) for n, x in enumerate(turns)], 0.035, paint.dark)


def _female_singing(pen: Pen, paint: Palette, rng: np.random.Generator) -> None:
    hair, mouth, cheek = rng.uniform(0.5, 0.8), rng.uniform(0.16, 0.24), rng.uniform(0.42, 0.5)
    pen.polygon(
        smooth(mirror([(0.2, -0.97), (0.64, -0.66), (0.74, 0.1), (0.86, hair), (0.4, hair + 0.1)]), 5), paint.dark
    )
    pen.polygon([(-0.18, 0.4), (0.18, 0.4), (0.6, 0.97), (-0.6, 0.97)], paint.body)
    pen.rectangle(-0.15, 0.35, 0.15, 0.75, paint.light)
    pen.ellipse((0, -0.05), (cheek, 0.6), paint.light)
    fringe = [(-0.5, -0.1), (-0.46, -0.55), (0, -0.8), (0.46, -0.55), (0.5, -0.1), (0.3, -0.45), (-0.1, -0.52)]
    pen.polygon(fringe, paint.dark)
    for side in (-1, 1):
        pen.stroke([(side * 0.3, -0.16), (side * 0.2, -0.1), (side * 0.1, -0.16)], 0.06, paint.dark)
        pen.ellipse((side * 0.32, 0.1), (0.09, 0.07), paint.trim)
    pen.ellipse((0, 0.28), (mouth * 0.8, mouth), paint.dark)
    pen.ellipse((0, 0.28 + 0.5 * mouth), (mouth * 0.5, mouth * 0.35), paint.trim)


DRAW: dict[str, Callable[[Pen, Palette, np.random.Generator], None]] = {
    "Acoustic guitar": _acoustic_guitar,
    "Electric guitar": _electric_guitar,
    "Violin, fiddle": _violin,
    "Piano": _piano,
    "Accordion": _accordion,
    "Snare drum": _snare_drum,
    "Bass drum": _bass_drum,
    "Cymbal": _cymbal,
    "Flute": _flute,
    "Saxophone": _saxophone,
    "Trumpet": _trumpet,
    "Church bell": _church_bell,
    "Gong": _gong,
    "Hammer": _hammer,
    "Drill": _drill,
    "Female singing": _female_singing,
}
