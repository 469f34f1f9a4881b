"""Test the contact sheets of training: which clips they show, in which positions, and with which borders."""

import matplotlib
import numpy as np

from avlearn.visuals import contact_sheets, heatmap_overlay, retrieval_grid
from avlearn.visuals.contact_sheets import CAPTION_PIXELS, NEITHER, RIGHT, SIDE_PIXELS, STRIP_PIXELS, WRONG

HEIGHT = SIDE_PIXELS + STRIP_PIXELS + CAPTION_PIXELS
CLIPS = 8


def examples(items):
    """Return frames of one grey and spectrograms of one level, different for each item."""
    frames = np.stack([np.full((40, 40, 3), 20 * item + 10, np.uint8) for item in items])
    return frames, np.stack([np.full((200, 257), item - 8, np.float32) for item in items])


def pairs() -> dict[str, np.ndarray]:
    """Return eight clips of two classes with their own audio and with the next clip's, rows shuffled."""
    rng = np.random.default_rng(0)
    item = rng.permutation(np.arange(2 * CLIPS))
    clip, own = item % CLIPS, item < CLIPS
    return {
        "image_item": clip,
        "audio_item": np.where(own, clip, (clip + 1) % CLIPS),
        "corresponds": own,
        "labels": np.eye(2, dtype=bool)[clip % 2],
        "image_embedding": rng.normal(size=(CLIPS, 3))[clip],
        "audio_embedding": rng.normal(size=(CLIPS, 3))[clip],
        "boxes": np.tile(np.array([0.0, 0.0, 0.5, 0.5]), (2 * CLIPS, 1, 1)),
        "box_sounding": np.ones((2 * CLIPS, 1), bool),
        "heat_map": np.where(own, 9.0, -9.0)[:, None, None] * np.ones((1, 2, 2)),
    }


def test_results_are_in_order_with_borders_by_class():
    arrays = pairs()
    sheets = contact_sheets.sheets(arrays, examples, ["Gong", "Drill"])
    own = {name: array[arrays["corresponds"]] for name, array in arrays.items()}
    row_of = {int(item): row for row, item in enumerate(own["image_item"])}
    for name, query, database in (("image_to_sound", "im", "aud"), ("sound_to_image", "aud", "im")):
        sheet = sheets[f"retrieval/{name}"]
        assert sheet.shape == (2 * HEIGHT, 6 * SIDE_PIXELS, 3)
        # The query of each class is its first clip.
        for top, item in ((0, 0), (HEIGHT, 1)):
            (row,) = retrieval_grid.grid(own, query, database, (row_of[item],), 5)
            expected = [item, *own["image_item"][list(row.results)].tolist()]
            middles = [sheet[top + SIDE_PIXELS // 2, SIDE_PIXELS * n + SIDE_PIXELS // 2] for n in range(6)]
            assert [middle.tolist() for middle in middles] == [[20 * clip + 10] * 3 for clip in expected]
            strip = [sheet[top + SIDE_PIXELS + 12, SIDE_PIXELS * n + SIDE_PIXELS // 2] for n in range(6)]
            levels = [(clip - 8 + 12) / 20 for clip in expected]
            colours = matplotlib.colormaps["magma"](levels, bytes=True)[:, :3]
            np.testing.assert_allclose(strip, colours, atol=1)
            borders = [tuple(sheet[top, SIDE_PIXELS * n].tolist()) for n in range(6)]
            assert borders == [NEITHER] + [RIGHT if clip % 2 == item % 2 else WRONG for clip in expected[1:]]


def test_heat_maps_are_next_to_their_frame():
    sheet = contact_sheets.sheets(pairs(), examples, ["Gong", "Drill"])["heat_map/own_and_other_sound"]
    assert sheet.shape == (2 * SIDE_PIXELS, 3 * SIDE_PIXELS, 3)
    for top, item in ((0, 0), (SIDE_PIXELS, 1)):
        frame = examples([item])[0][0]
        expected = [frame, *(heatmap_overlay.overlay(frame, np.full((2, 2), value)) for value in (9.0, -9.0))]
        for number, image in enumerate(expected):
            middle = sheet[top + SIDE_PIXELS // 2, SIDE_PIXELS * number + SIDE_PIXELS // 2]
            np.testing.assert_array_equal(middle, image[20, 20])


def test_a_sheet_without_its_arrays_is_left_out():
    arrays = pairs()
    for name in ("heat_map", "audio_embedding"):
        del arrays[name]
    assert contact_sheets.sheets(arrays, examples, ["Gong", "Drill"]) == {}


def test_clips_without_labels_give_no_sheets():
    assert contact_sheets.sheets(pairs() | {"labels": np.zeros((2 * CLIPS, 0), bool)}, examples, []) == {}
