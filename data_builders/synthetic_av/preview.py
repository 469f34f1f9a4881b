"""Writes some synthetic clips as mp4 files, and a contact sheet of them.

`python -m data_builders.synthetic_av.preview --clips=8 --output=clips`
"""

import pathlib

import cv2
import numpy as np
from absl import app, flags

from data_builders.synthetic_av import clip_file, synthetic_record

_CLIPS = flags.DEFINE_integer("clips", 16, "number of clips", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "clips", "folder for the files")
_SPLIT = flags.DEFINE_enum("split", "train", synthetic_record.SPLITS, "split of the clips")
_HEIGHT = flags.DEFINE_integer("height", 256, "height of the frames, pixels")
_WIDTH = flags.DEFINE_integer("width", 340, "width of the frames, pixels")
_FRAMES_PER_SECOND = flags.DEFINE_integer("frames_per_second", 25, "frame rate of the video")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "length of a clip")
_COLUMNS = flags.DEFINE_integer("columns", 4, "columns of the contact sheet", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the clips")

SOUNDING, SILENT = (40, 220, 60), (230, 50, 50)  # box colours, RGB
_CAPTION_PIXELS = 24


def tile(clip: synthetic_record.RenderedClip, seconds: float) -> np.ndarray:
    """Draw a frame with its boxes (sounding green, silent red) and the audible classes: uint8 `[height, width, 3]`."""
    image, boxes = clip.scene.frame(seconds)
    height, width = image.shape[:2]
    for actor, (top, left, bottom, right) in zip(clip.scene.actors, boxes, strict=True):
        corners = (round(left * width), round(top * height)), (round(right * width) - 1, round(bottom * height) - 1)
        cv2.rectangle(image, *corners, SOUNDING if actor.sounding else SILENT, 2)
    caption = np.full((_CAPTION_PIXELS, width, 3), 255, np.uint8)
    text = " + ".join(clip.audible) + ("" if any(actor.sounding for actor in clip.scene.actors) else " (off-screen)")
    cv2.putText(caption, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate([image, caption])


def sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Arrange tiles in rows of `columns`, on white."""
    blank = np.full_like(tiles[0], 255)
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)])


def main(_) -> None:
    """Write the files that the flags specify."""
    world = synthetic_record.World(_HEIGHT.value, _WIDTH.value, _FRAMES_PER_SECOND.value, _SECONDS.value, _SEED.value)
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    tiles = []
    for number in range(_CLIPS.value):
        clip = synthetic_record.render_clip(world, _SPLIT.value, number)
        frames = [clip.scene.frame(index / world.frames_per_second)[0] for index in range(world.frame_count)]
        path = folder / f"{synthetic_record.clip_id(_SPLIT.value, number)}.mp4"
        clip_file.write(path, frames, clip.waveform, frames_per_second=world.frames_per_second)
        tiles.append(tile(clip, world.clip_seconds / 2))
    cv2.imwrite(str(folder / "contact_sheet.png"), cv2.cvtColor(sheet(tiles, _COLUMNS.value), cv2.COLOR_RGB2BGR))
    print(f"{_CLIPS.value} clips and contact_sheet.png are in {folder}")


if __name__ == "__main__":
    app.run(main)
