"""Makes the records of synthetic clips from their numbers, in worker processes that do not import TensorFlow."""

import collections
import dataclasses
import itertools
import pathlib
import tempfile
from collections.abc import Iterator
from concurrent import futures

import cv2
import loky
import numpy as np

from avlearn.media import decode
from avlearn.media.log_spectrogram import FRONT_ENDS
from data_builders.clips.record import ONE_THREAD, flow_images, media_features, stored_waveform
from data_builders.synthetic_av import clip_file, instrument_classes, scene, synthesise

SPLITS = ("train", "validation", "test")
FRONT_END = "l3"


@dataclasses.dataclass(frozen=True)
class World:
    """Settings of the clips.

    Attributes:
      height, width: size of the frames, pixels; even.
      frames_per_second: rate of the frames.
      clip_seconds: length of a clip.
      seed: seed of all images and sounds.
      statistics: frequencies and amounts.
      optical_flow: whether the flow from each frame to the next is stored.
      waveform_hz: sample rate of the stored waveform; 0: none is stored.
      class_names: classes that appear, at least three of `instrument_classes.NAMES`: a clip may show three.
    """

    height: int
    width: int
    frames_per_second: int
    clip_seconds: float
    seed: int
    statistics: scene.Statistics = dataclasses.field(default_factory=scene.Statistics)
    optical_flow: bool = False
    waveform_hz: int = 0
    class_names: tuple[str, ...] = instrument_classes.NAMES

    def __post_init__(self):
        if self.height % 2 or self.width % 2:
            raise ValueError(f"frames of {self.width} x {self.height} pixels: H.264 needs both to be even")
        if not (self.frames_per_second > 0 and self.clip_seconds >= 1):
            raise ValueError(
                f"frames_per_second={self.frames_per_second}, clip_seconds={self.clip_seconds}: must be more than 0 "
                "and at least 1 (the networks use one second)"
            )

        unknown = [name for name in self.class_names if name not in instrument_classes.NAMES]
        if unknown or len(set(self.class_names)) < max(3, len(self.class_names)):
            raise ValueError(
                f"class_names={self.class_names}: use three or more of {', '.join(instrument_classes.NAMES)}, each once"
            )

    @property
    def frame_count(self) -> int:
        """Number of frames in a clip."""
        return round(self.clip_seconds * self.frames_per_second)


@dataclasses.dataclass(frozen=True)
class RenderedClip:
    """A clip before compression.

    Attributes:
      audible: classes that sound.
      scene: draws the frame at any time.
      waveform: float32 `[samples]`, 48 kHz, mono, within [-1, 1].
    """

    audible: tuple[str, ...]
    scene: scene.Scene
    waveform: np.ndarray


def clip_id(split: str, number: int) -> str:
    """Return the name of a clip, such as `train_000123`."""
    return f"{split}_{number:06d}"


def render_clip(world: World, split: str, number: int) -> RenderedClip:
    """Render a clip, which depends only on (seed, split, number).

    Main classes take turns: each appears once in every 16 clips (if all classes are used).
    """
    root = np.random.SeedSequence((world.seed, SPLITS.index(split), number))
    cast_rng, look_rng, sound_rng = (np.random.default_rng(child) for child in root.spawn(3))
    main = world.class_names[number % len(world.class_names)]
    cast = scene.choose_cast(main, world.statistics, cast_rng, world.class_names)
    waveform = synthesise.mixture(cast.audible, sound_rng, duration_seconds=world.clip_seconds)
    loudness = synthesise.loudness(waveform) if world.statistics.jump > 0 else None
    size = (world.height, world.width)
    frames = scene.make_scene(cast, *size, world.clip_seconds, world.statistics, look_rng, loudness)
    return RenderedClip(cast.audible, frames, waveform)


def make_records(world: World, split: str, count: int) -> Iterator[dict]:
    """Make the first `count` clips of a split in a process per core; yield them in order. See `make_record`."""
    # loky starts processes without importing the parent's main script again, which would load all of TFDS.
    executor, numbers = loky.get_reusable_executor(env=ONE_THREAD), iter(range(count))

    def submit(clips: int) -> list[futures.Future]:
        return [executor.submit(make_record, world, split, number) for number in itertools.islice(numbers, clips)]

    pending = collections.deque(submit(2 * loky.cpu_count()))  # not all at once: records would pile up in memory
    while pending:
        yield pending.popleft().result()
        pending.extend(submit(1))


def make_record(world: World, split: str, number: int) -> dict:
    """Make the record of a clip: write it to an mp4 file, and read that file like the clips of any dataset.

    Returns:
      A record of `avlearn.data.schema.features`; labels are indices into `instrument_classes.NAMES`, boxes are
      (ymin, xmin, ymax, xmax).

    Raises:
      ValueError: the frames in the file differ from the clip's. Every error has the clip's id as a note.
    """
    name = clip_id(split, number)
    try:
        return _make_record(world, split, number, name)
    except Exception as error:
        error.add_note(f"while making clip {name} of {world}")
        raise


def _make_record(world: World, split: str, number: int, name: str) -> dict:
    cv2.setNumThreads(1)  # there is a process per core
    made = render_clip(world, split, number)
    drawn = [made.scene.frame(index / world.frames_per_second) for index in range(world.frame_count)]
    front_end = FRONT_ENDS[FRONT_END]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"{name}.mp4")
        frames = [image for image, _ in drawn]
        clip_file.write(path, frames, made.waveform, frames_per_second=world.frames_per_second)
        clip = decode.read_clip(
            path,
            duration_seconds=world.clip_seconds,
            frames_per_second=world.frames_per_second,
            short_side=min(world.height, world.width),
            sample_rate_hz=front_end.sample_rate_hz,
        )
        stored = media_features(clip, FRONT_END)
        if world.optical_flow:
            stored["optical_flow"] = flow_images(clip.frames)
        if world.waveform_hz:
            stored["waveform"] = stored_waveform(path, 0.0, world.clip_seconds, world.waveform_hz)
    if clip.frames.shape != (world.frame_count, world.height, world.width, 3):
        raise ValueError(f"read back frames {clip.frames.shape}, wrote {world.frame_count} of {drawn[0][0].shape}")
    return {
        "clip_id": name,
        "video_id": name,
        "start_ms": 0,
        **stored,
        "labels": [instrument_classes.NAMES.index(name) for name in made.audible],
        "boxes": [
            {
                "bbox": box,
                "label": instrument_classes.NAMES.index(actor.name),
                "sounding": actor.sounding,
                "time_ms": time_ms,
                "annotator": 0,
            }
            for time_ms, (_, boxes) in zip(clip.frame_times_ms.tolist(), drawn, strict=True)
            for actor, box in zip(made.scene.actors, boxes, strict=True)
        ],
    }
