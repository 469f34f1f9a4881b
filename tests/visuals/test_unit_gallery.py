"""Test which units and clips the gallery shows, and that a unit's map covers the right part of an image."""

import numpy as np

from avlearn.visuals import heatmap_overlay, spectrogram_image, unit_gallery
from avlearn.visuals.unit_gallery import Unit

LABELS = np.eye(3, dtype=bool)[[0, 0, 0, 0, 1, 1, 1, 2, 2, 2]]


def activation_of(*rankings: list[int]) -> np.ndarray:
    """Return units with these strongest clips, of activation 5, 4, 3, 2, 1; all other clips have 0."""
    activation = np.zeros((len(LABELS), len(rankings)), np.float32)
    for unit, clips in enumerate(rankings):
        activation[clips, unit] = np.arange(len(clips), 0, -1)
    return activation


def test_the_strongest_clips_of_each_unit_and_their_class():
    activation = activation_of([3, 1, 4, 0, 2], [9, 4, 7, 5, 6], [])
    assert unit_gallery.strongest(activation, LABELS) == [
        Unit(0, label=0, agreement=4, rows=(3, 1, 4, 0, 2), activation=(5.0, 4.0, 3.0, 2.0, 1.0)),
        Unit(1, label=1, agreement=3, rows=(9, 4, 7, 5, 6), activation=(5.0, 4.0, 3.0, 2.0, 1.0)),
    ]  # the third unit is dead


def test_too_few_clips_give_no_units():
    assert unit_gallery.strongest(np.eye(4, dtype=np.float32), np.eye(4, dtype=bool)) == []


def test_ties_do_not_agree_in_a_dataset_sorted_by_class():
    labels = np.eye(20, dtype=bool)[np.arange(200) // 10]
    activation = np.zeros((200, 2), np.float32)
    activation[[70, 130], [0, 1]] = 3.0
    first, second = unit_gallery.strongest(activation, labels)
    assert (first.rows[0], second.rows[0]) == (70, 130)
    assert first.activation == second.activation == (3.0, 0.0, 0.0, 0.0, 0.0)
    assert first.rows[1:] == second.rows[1:]
    assert max(first.agreement, second.agreement) <= 2


def test_selected_units_have_the_most_agreement_one_per_class():
    units = [
        Unit(number, label, agreement, (), ())
        for number, (label, agreement) in enumerate([(0, 3), (1, 4), (0, 5), (1, 4), (0, 4), (2, 2)])
    ]
    assert [unit.number for unit in unit_gallery.select(units)] == [2, 1, 5]
    assert [unit.number for unit in unit_gallery.select(units, 2)] == [2, 1]


def test_maps_are_computed_once_per_clip():
    activation = activation_of([3, 1, 4, 0, 2], [4, 5, 6, 3, 1])
    clips = {"image_item": 10 * np.arange(10)[::-1], "labels": LABELS, "image_pool4": activation}
    requested = []

    def maps(items):
        """Return i / 100 + u at cell (0, 1) of unit u and clip i."""
        requested.append(items)
        found = np.zeros((len(items), 2, 3, 2), np.float32)
        found[:, 0, 1] = np.array(items)[:, None] / 100 + np.arange(2)[None, :]
        return found

    found = unit_gallery.collect(clips, "image", maps)
    items = [60, 80, 50, 90, 70, 50, 40, 30, 60, 80]
    assert requested == [sorted(set(items))]
    assert found["item"].tolist() == items
    assert found["unit"].tolist() == [0] * 5 + [1] * 5
    assert found["label"].tolist() == [0] * 5 + [1] * 5
    assert found["agreement"].tolist() == [4] * 5 + [3] * 5
    assert found["activation"].tolist() == [5, 4, 3, 2, 1] * 2
    expected = [(item / 100 + unit) / 5 for item, unit in zip(items, found["unit"].tolist(), strict=True)]
    np.testing.assert_allclose(found["map"][:, 0, 1], expected, rtol=1e-6)
    assert np.count_nonzero(found["map"]) == 10


def test_dead_units_are_not_shown():
    clips = {"image_item": np.arange(10), "labels": LABELS, "image_pool4": np.ones((10, 4), np.float32)}
    found = unit_gallery.collect(clips, "image", lambda items: np.zeros((0,)))
    assert all(len(array) == 0 for array in found.values())


def test_a_units_map_covers_its_part_of_a_frame():
    level = np.zeros((4, 4), np.float32)
    level[0, 3] = 1
    frame = np.full((40, 40, 3), 100, np.uint8)
    image = unit_gallery.over_frame(frame, level)
    assert (image[20:, :20] == 100).all()
    hottest = heatmap_overlay.OPACITY * heatmap_overlay.colours(np.ones(1))[0].astype(float)
    np.testing.assert_allclose(image[2, 37], hottest + (1 - heatmap_overlay.OPACITY) * 100, atol=1.5)


def test_a_units_map_follows_the_stretched_frequencies():
    """Cell row 1 of 4 spans 0.25 to 0.5 of the frequencies, which lie at 0.5 to 0.71 of the height."""
    level = np.zeros((4, 2), np.float32)
    level[1, 1] = 1
    silence = np.full((200, 257), -20, np.float32)
    image = unit_gallery.over_spectrogram(silence, level, 128, 100).astype(int)
    black = spectrogram_image.draw(silence, 128, 100).astype(int)
    tint = np.abs(image - np.repeat(black.mean(axis=-1, keepdims=True), 3, axis=-1)).sum(axis=-1)
    assert tint[:, :20].max() <= 3
    row, column = np.unravel_index(tint.argmax(), tint.shape)
    centre = 128 * (1 - np.sqrt(0.375))
    assert abs(row - centre) < 3
    assert column >= 74
    brightest = tint[:, 90]
    inside = np.flatnonzero(brightest > brightest.max() / 2)
    # The tint has half its strength half a cell from the centre, at the borders of the row.
    assert abs(inside.min() - 128 * (1 - np.sqrt(0.5))) < 6
    assert abs(inside.max() - 128 * (1 - np.sqrt(0.25))) < 6
