"""Draws contact sheets of a few clips for TensorBoard: what a network retrieves as it learns, and where it looks."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from avlearn.visuals import clip_selection, heatmap_overlay, localization, retrieval_grid, spectrogram_image
from avlearn.visuals.album import Examples

TAGS = {"im": "image", "aud": "sound"}  # parts of the names of the sheets in TensorBoard
QUERIES = 4
RESULTS = 5
SIDE_PIXELS = 96  # side of a clip's frame
STRIP_PIXELS = 24  # height of the clip's spectrogram, below the frame
CAPTION_PIXELS = 14
BORDER_PIXELS = 3  # green around clips that share a class with the query, red around the others
RIGHT, WRONG, NEITHER = (42, 157, 119), (179, 72, 47), (255, 255, 255)

Arrays = Mapping[str, np.ndarray]
SheetImage = UInt8[np.ndarray, "_ _ 3"]
Colour = tuple[int, int, int]


def sheets(pairs: Arrays, examples: Examples, class_names: Sequence[str]) -> dict[str, SheetImage]:
    """Draw retrieval across modes, and heat maps of frames with their own and with another clip's audio.

    The clips are selected by the report's rule, which looks at no result, so every call shows the same ones. A sheet
    whose arrays are missing is left out.

    Args:
      pairs: arrays of AVC pairs, which include each clip's own pair.
      examples: item numbers to frames and log-spectrograms, see `album.Examples`.
      class_names: names of the classes, in label order.

    Returns:
      Name of each sheet to its image.
    """
    found = {}
    own = {name: array[pairs["corresponds"]] for name, array in pairs.items()}
    cells = functools.partial(_cells, examples, _names(own, class_names))
    if "image_embedding" in own and "audio_embedding" in own:
        queries = clip_selection.one_per_class(own["labels"], own["image_item"], QUERIES)
        for query, database in (("im", "aud"), ("aud", "im")) if queries else ():  # no queries without labels
            rows = retrieval_grid.grid(own, query, database, queries, RESULTS)
            name = f"retrieval/{TAGS[query]}_to_{TAGS[database]}"
            found[name] = sheet([cells(*_items_and_borders(row, own)) for row in rows])
    triplets = localization.select(pairs).triplets
    if triplets:
        found["heat_map/own_and_other_sound"] = sheet([_triplet(examples, pairs, rows) for rows in triplets])
    return found


def sheet(cells: Sequence[Sequence[SheetImage]]) -> SheetImage:
    """Join rows of images of equal size into one image."""
    return np.concatenate([np.concatenate(row, axis=1) for row in cells], axis=0)


def cell(frame: SheetImage, spectrogram: SheetImage, caption: str, border: Colour) -> SheetImage:
    """Draw a clip: frame, spectrogram below it, caption, and a border around them."""
    image = Image.new("RGB", (SIDE_PIXELS, SIDE_PIXELS + STRIP_PIXELS + CAPTION_PIXELS), NEITHER)
    image.paste(Image.fromarray(frame).resize((SIDE_PIXELS, SIDE_PIXELS)), (0, 0))
    image.paste(Image.fromarray(spectrogram), (0, SIDE_PIXELS))
    draw = ImageDraw.Draw(image)
    draw.text((BORDER_PIXELS + 1, SIDE_PIXELS + STRIP_PIXELS), caption, (0, 0, 0), ImageFont.load_default(10))
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=border, width=BORDER_PIXELS)
    return np.asarray(image)


def _names(own: Arrays, class_names: Sequence[str]) -> dict[int, str]:
    """Return the classes of every clip, by item number."""
    return {
        item: " + ".join(class_names[label] for label in np.flatnonzero(labels))
        for item, labels in zip(own["image_item"].tolist(), own["labels"], strict=True)
    }


def _items_and_borders(row: retrieval_grid.Row, own: Arrays) -> tuple[list[int], list[Colour]]:
    """Return the item numbers of query and results, and border colours that mark correct results."""
    borders = [NEITHER] + [RIGHT if correct else WRONG for correct in row.correct]
    return own["image_item"][[row.query, *row.results]].tolist(), borders


def _cells(
    examples: Examples, names: Mapping[int, str], items: Sequence[int], borders: Sequence[Colour]
) -> list[SheetImage]:
    frames, log_spectrograms = examples(items)
    strips = [spectrogram_image.draw(each, STRIP_PIXELS, SIDE_PIXELS) for each in log_spectrograms]
    return [cell(*clip) for clip in zip(frames, strips, [names[item] for item in items], borders, strict=True)]


def _triplet(examples: Examples, pairs: Arrays, rows: Sequence[int]) -> list[SheetImage]:
    """Draw a frame, and its heat maps with the audio of each row."""
    frames, _ = examples([int(pairs["image_item"][rows[0]])])
    frame = np.asarray(Image.fromarray(frames[0]).resize((SIDE_PIXELS, SIDE_PIXELS)))
    return [frame, *(heatmap_overlay.overlay(frame, pairs["heat_map"][row]) for row in rows)]
