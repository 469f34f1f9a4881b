"""Contact sheets of a few clips, to watch a network as it learns: what it finds, and where it looks (TensorBoard)."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from avlearn.visuals import choice, heatmap_overlay, localization, retrieval_grid, spectrogram_picture
from avlearn.visuals.album import Examples

QUERIES = 4
RESULTS = 5
SIDE_PIXELS = 96  # of a clip: its frame
STRIP_PIXELS = 24  # below it: its sound
CAPTION_PIXELS = 14
BORDER_PIXELS = 3  # green around what shares a class with the query, red around what does not
RIGHT, WRONG, NEITHER = (42, 157, 119), (179, 72, 47), (255, 255, 255)

Arrays = Mapping[str, np.ndarray]
Picture = UInt8[np.ndarray, "_ _ 3"]
Colour = tuple[int, int, int]


def sheets(pairs: Arrays, examples: Examples, class_names: Sequence[str]) -> dict[str, Picture]:
    """Retrieval across modes, and the heat maps of clips with their own and another sound, where the arrays hold them.

    The clips are chosen by the report's rule, which looks at no result: the same ones each time.

    Args:
      pairs: arrays of AVC pairs, each clip's own among them.
      examples: item numbers to frames and log-spectrograms, see `album.Examples`.
      class_names: in the order of the labels.

    Returns:
      Name of the sheet to the picture.
    """
    found = {}
    own = {name: array[pairs["corresponds"]] for name, array in pairs.items()}
    shown = functools.partial(_cells, examples, _names(own, class_names))
    if "image_embedding" in own and "audio_embedding" in own:
        queries = choice.by_class(own["labels"], own["image_item"], QUERIES)
        for query, database in (("im", "aud"), ("aud", "im")) if queries else ():  # none without labels
            rows = retrieval_grid.grid(own, query, database, queries, RESULTS)
            name = f"retrieval/{retrieval_grid.MODES[query]}_to_{retrieval_grid.MODES[database]}"
            found[name] = sheet([shown(*_clips_of(row, own)) for row in rows])
    triplets = localization.choose(pairs).triplets
    if triplets:
        found["heat_map/own_and_other_sound"] = sheet([_triplet(examples, pairs, rows) for rows in triplets])
    return found


def sheet(cells: Sequence[Sequence[Picture]]) -> Picture:
    """Rows of pictures of equal size as one picture."""
    return np.concatenate([np.concatenate(row, axis=1) for row in cells], axis=0)


def cell(frame: Picture, sound: Picture, caption: str, border: Colour) -> Picture:
    """A clip: its frame, its sound below it, a caption, and a border around them."""
    image = Image.new("RGB", (SIDE_PIXELS, SIDE_PIXELS + STRIP_PIXELS + CAPTION_PIXELS), NEITHER)
    image.paste(Image.fromarray(frame).resize((SIDE_PIXELS, SIDE_PIXELS)), (0, 0))
    image.paste(Image.fromarray(sound), (0, SIDE_PIXELS))
    draw = ImageDraw.Draw(image)
    draw.text((BORDER_PIXELS + 1, SIDE_PIXELS + STRIP_PIXELS), caption, (0, 0, 0), ImageFont.load_default(10))
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=border, width=BORDER_PIXELS)
    return np.asarray(image)


def _names(own: Arrays, class_names: Sequence[str]) -> dict[int, str]:
    """Classes of every clip, by item number."""
    return {
        item: " + ".join(class_names[label] for label in np.flatnonzero(labels))
        for item, labels in zip(own["image_item"].tolist(), own["labels"], strict=True)
    }


def _clips_of(row: retrieval_grid.Row, own: Arrays) -> tuple[list[int], list[Colour]]:
    """The query and what was found, and the borders that say whether it is right."""
    borders = [NEITHER] + [RIGHT if correct else WRONG for correct in row.correct]
    return own["image_item"][[row.query, *row.results]].tolist(), borders


def _cells(
    examples: Examples, names: Mapping[int, str], items: Sequence[int], borders: Sequence[Colour]
) -> list[Picture]:
    frames, sounds = examples(items)
    strips = [spectrogram_picture.picture(sound, STRIP_PIXELS, SIDE_PIXELS) for sound in sounds]
    return [cell(*clip) for clip in zip(frames, strips, [names[item] for item in items], borders, strict=True)]


def _triplet(examples: Examples, pairs: Arrays, rows: Sequence[int]) -> list[Picture]:
    """A frame, and its heat map with each row's sound."""
    frames, _ = examples([int(pairs["image_item"][rows[0]])])
    frame = np.asarray(Image.fromarray(frames[0]).resize((SIDE_PIXELS, SIDE_PIXELS)))
    return [frame, *(heatmap_overlay.overlay(frame, pairs["heat_map"][row]) for row in rows)]
