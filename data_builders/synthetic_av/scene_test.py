"""Statistics of sampled scenes, and boxes against the pixels that an object changes."""

import collections
import dataclasses

import numpy as np
import pytest

from data_builders.synthetic_av import instrument_classes, scene, silhouettes, sprite

STATISTICS = scene.Statistics()


def make(seed, statistics=STATISTICS, height=128, width=128):
    rng = np.random.default_rng(seed)
    cast = scene.choose_cast(instrument_classes.NAMES[seed % 16], statistics, rng)
    return cast, scene.make_scene(cast, height, width, 3.0, statistics, rng)


def iou(a, b):
    top, left, bottom, right = *np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:])
    both = max(0, bottom - top) * max(0, right - left)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_casts_have_the_stated_shares():
    rng = np.random.default_rng(0)
    casts = [scene.choose_cast("Piano", STATISTICS, rng) for _ in range(4000)]
    off_screen = [cast for cast in casts if not set(cast.audible) & set(cast.visible)]
    two = [cast for cast in casts if len(cast.audible) == 2]
    silent = [cast for cast in casts if set(cast.visible) - set(cast.audible)]
    # Four standard deviations of a share of 4000 are at most .032.
    assert len(off_screen) / 4000 == pytest.approx(0.06, abs=0.016)
    assert len(two) / 4000 == pytest.approx(0.15, abs=0.024)
    assert len(silent) / 4000 == pytest.approx(0.3, abs=0.032)
    assert sum(cast in off_screen for cast in silent) / len(silent) == pytest.approx(0.06, abs=0.03)
    assert all(cast.audible[0] == "Piano" and len(set(cast.visible)) == len(cast.visible) <= 3 for cast in casts)
    assert all(set(cast.audible) <= set(cast.visible) for cast in casts if cast not in off_screen)
    partners = collections.Counter(cast.audible[1] for cast in two)
    assert set(partners) == set(instrument_classes.NAMES) - {"Piano"}
    assert max(partners.values()) < 3 * len(two) / 15


def test_objects_are_in_the_frame_with_the_stated_sizes_and_little_overlap():
    sides, centres = [], []
    for seed in range(120):
        cast, made = make(seed)
        assert sorted(actor.name for actor in made.actors) == sorted(cast.visible)
        assert all(actor.sounding == (actor.name in cast.audible) for actor in made.actors)
        _, boxes = made.frame(1.0)
        for index, box in enumerate(boxes):
            assert min(box) >= 1 / 128
            assert max(box) <= 127 / 128
            sides.append(max(box[2] - box[0], box[3] - box[1]))
            centres.append([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
            assert all(iou(box, other) < 0.1 + 0.05 for other in boxes[:index])  # swept boxes keep 0.1
    # Swaying, growing and pixel edges move a side by some per cent.
    assert 0.28 < min(sides) < 0.33
    assert 0.42 < max(sides) < 0.50
    assert np.mean(sides) == pytest.approx(0.37, abs=0.02)
    assert np.mean(centres, axis=0) == pytest.approx([0.5, 0.5], abs=0.05)
    assert np.std(centres, axis=0) == pytest.approx([0.19, 0.19], abs=0.03)  # uniform over a width of about 0.65


def test_boxes_bound_the_pixels_that_each_object_changes():
    checked = 0
    for seed in range(24):
        _, made = make(seed, height=128, width=170)
        for index, actor in enumerate(made.actors):
            alone = dataclasses.replace(made, actors=(actor,))
            empty = dataclasses.replace(made, actors=())
            image, (box,) = alone.frame(0.7)
            # A low threshold: dark sticks on a dark ground differ little.
            changed = np.abs(image.astype(int) - empty.frame(0.7)[0]).max(axis=2) > 8
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            seen = np.array([rows[0] / 128, columns[0] / 170, (rows[-1] + 1) / 128, (columns[-1] + 1) / 170])
            np.testing.assert_allclose(made.frame(0.7)[1][index], box)
            # Half-covered pixels at an edge count by opacity in one and by contrast in the other.
            np.testing.assert_allclose(box, seen, atol=2.01 / 128, err_msg=f"seed {seed}: {actor.name}")
            checked += 1
    assert checked > 24


def test_objects_move_a_little_and_smoothly():
    moved = []
    for seed in range(16):
        _, made = make(seed)
        boxes = np.array([made.frame(seconds)[1] for seconds in np.arange(15) / 5]).reshape(15, -1, 4)
        moved.extend(np.ptp(boxes, axis=0).max(axis=1))
    assert 0.004 < np.median(moved) < 0.06
    assert max(moved) < 0.12


def test_colours_do_not_reveal_the_class():
    """The mean colour of a class's drawings differs from another class's by less than its own spread."""
    means = {}
    for name in instrument_classes.NAMES:
        pictures = [sprite.draw_object(name, 48, np.random.default_rng(seed)) for seed in range(60)]
        tints = [p.image[p.image[..., 3] == 255][:, :3].mean(axis=0) for p in pictures]
        tints = np.array([tint - tint.mean() for tint in tints])  # hue and saturation, without lightness
        means[name] = (tints.mean(axis=0), tints.std())
    spread = np.mean([std for _, std in means.values()])
    offsets = np.array([mean for mean, _ in means.values()])
    assert np.abs(offsets - offsets.mean(axis=0)).max() < 0.6 * spread


def test_every_drawing_varies_and_stays_on_its_canvas():
    for name in silhouettes.DRAW:
        pictures = [sprite.draw_object(name, 96, np.random.default_rng(seed)).image for seed in range(3)]
        shapes = [picture[..., 3] >= 128 for picture in pictures]
        assert all((shapes[a] != shapes[b]).any() for a, b in ((0, 1), (1, 2), (0, 2))), name
        for picture in pictures:
            edge = np.concatenate([picture[[0, -1]].reshape(-1, 4), picture[:, [0, -1]].reshape(-1, 4)])
            assert not edge.any(), name


def test_objects_that_do_not_fit_are_refused():
    crowded = dataclasses.replace(STATISTICS, object_side=(0.75, 0.8), two_sounding=1.0, off_screen=0.0)
    with pytest.raises(ValueError, match=r"do not fit in 1000 tries.*lower Statistics.object_side"):
        make(0, crowded)
    with pytest.raises(ValueError, match=r"object_side=\(0.4, 0.9\): must be"):
        dataclasses.replace(STATISTICS, object_side=(0.4, 0.9))
