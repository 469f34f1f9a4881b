"""Records that encode their identity: the colour of a frame its clip and number, the columns their clip and number.

Clips last 3 s and have 15 frames at 5 per second, each of 32 x 40 pixels of one colour, and 599 columns. `coded/motion`
also stores flow, whose horizontal motion encodes the column of the image and whose vertical motion the number of the
field, and a waveform at 8 kHz, whose samples are their own numbers.
"""

import atexit
import functools
import io
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator

import cv2
import jax
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from avlearn.data import augment, built_dataset, contents, pipeline, schema, tfrecord_file
from avlearn.data.sample import Sampling
from avlearn.types import Batch, InputSpec

DATASET = "coded/small"
MOTION = "coded/motion"
WAVEFORM_HZ = 8000
CLASS_IDS = ("/m/guitar", "/m/drum", "/m/bell")
CLASS_NAMES = ("Guitar", "Drum", "Bell")
ONTOLOGY = (
    {"id": "/m/music", "name": "Music", "child_ids": ["/m/guitar", "/m/drum"]},
    {"id": "/m/guitar", "name": "Guitar", "child_ids": []},
    {"id": "/m/drum", "name": "Drum", "child_ids": []},
    {"id": "/m/bell", "name": "Bell", "child_ids": []},
)
HEIGHT, WIDTH = 32, 40
FRAMES, COLUMNS = 15, 599
CLIPS = {"train": 26, "test": 7}
LEVEL = 8  # distance between codes, larger than the error of JPEG
BOX = (0.25, 0.25, 0.75, 0.75)
OUTSIDE = (0.0, 0.0, 0.1, 0.1)


def video_of(clip: int) -> str:
    """Return the video of a clip: clips 0 to 9 share five videos, each other clip has its own."""
    return f"video {clip // 2}" if clip < 10 else f"video {clip}"


def frame(clip: int, number: int) -> bytes:
    """Return a JPEG whose red encodes the clip and whose green encodes the number of the frame."""
    pixels = np.full((HEIGHT, WIDTH, 3), (128, LEVEL * number, LEVEL * clip), np.uint8)  # BGR
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def log_spectrogram(clip: int, columns: int = COLUMNS) -> np.ndarray:
    """Return columns whose bin 0 is the clip and whose other bins are the column's number, exact in float16."""
    values = np.tile(np.arange(columns, dtype=np.float16)[:, None], (1, schema.BINS))
    values[:, 0] = clip
    return values


def flow(number: int) -> bytes:
    """Return a JPEG of a field: x motion encodes the column (times 4), y motion the number of the field."""
    across = np.tile(4 * np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
    down = np.full((HEIGHT, WIDTH), LEVEL * number, np.uint8)
    return cv2.imencode(".jpg", np.concatenate([across, down]), [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def motion() -> dict:
    """Return the additional features of `coded/motion`."""
    return {
        "optical_flow": [io.BytesIO(flow(number)) for number in range(FRAMES - 1)],
        "waveform": np.arange(3 * WAVEFORM_HZ, dtype=np.int16),
    }


def record(clip: int) -> dict:
    """Return a record. Clip 0 has no boxes, clip 1 has them on frame 7 only, the others on every frame."""
    annotated = {0: [], 1: [7]}.get(clip, range(FRAMES))
    boxes = [
        {
            "bbox": tfds.features.BBox(*corners),
            "label": clip % 3,
            "sounding": sounding,
            "time_ms": 200 * number,
            "annotator": 0,
        }
        for number in annotated
        for corners, sounding in ((BOX, True), (OUTSIDE, False))
    ]
    return {
        "clip_id": f"clip {clip}",
        "video_id": video_of(clip),
        "start_ms": 0,
        "frames": [io.BytesIO(frame(clip, number)) for number in range(FRAMES)],
        "frame_times_ms": [200 * number for number in range(FRAMES)],
        "log_spectrogram": log_spectrogram(clip),
        "labels": sorted({clip % 3, 2}),
        "boxes": boxes,
    }


class Coded(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset of these records."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("small", "motion")]

    @property
    def has_motion(self) -> bool:
        """Whether flow and waveform are stored."""
        return self.builder_config.name == "motion"

    @classmethod
    def _get_pkg_dir_path(cls) -> pathlib.Path:
        return pathlib.Path(__file__).parent

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = schema.metadata(
            frames_per_second=5.0,
            front_end="l3",
            waveform_hz=WAVEFORM_HZ if self.has_motion else 0,
            class_names=CLASS_NAMES,
            ontology=ONTOLOGY,
        )
        features = schema.features(CLASS_IDS, optical_flow=self.has_motion, waveform=self.has_motion)
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=metadata)

    def _split_generators(self, dl_manager) -> dict:
        return {name: self._generate_examples(clips) for name, clips in CLIPS.items()}

    def _generate_examples(self, clips: int) -> Iterator[tuple[int, dict]]:
        for clip in range(clips):
            yield clip, {**record(clip), **(motion() if self.has_motion else {})}


@functools.cache
def data_dir(config: str = "small") -> pathlib.Path:
    """Build a config, once per process, and return its directory. Do not change it: use `copy`."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="synthetic_records"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    Coded(data_dir=directory, config=config).download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=3)
    )
    for shard in directory.glob("*/*/*/*.tfrecord-*"):
        contents.write(shard)
    return directory


def copy(to: pathlib.Path) -> pathlib.Path:
    """Copy the dataset and return the directory of its version."""
    shutil.copytree(data_dir(), to, dirs_exist_ok=True)
    return to / DATASET / "1.0.0"


def read_records(file: pathlib.Path) -> list[bytes]:
    """Read the records of a TFRecord file."""
    return list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())


def write_records(file: pathlib.Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file."""
    with file.open("wb") as opened:
        for record in records:
            tfrecord_file.write(opened, record)


def decode_frames(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode clip and number of each frame `[..., height, width, 3]`, which must be of one colour."""
    assert frames.astype(int).max((-3, -2)).tolist() == frames.astype(int).min((-3, -2)).tolist()
    codes = np.rint(frames[..., 0, 0, :2] / LEVEL).astype(int)
    assert np.abs(codes * LEVEL - frames[..., 0, 0, :2]).max() <= 2
    return codes[..., 0], codes[..., 1]


def decode_columns(log_spectrogram: np.ndarray, factor: float = 12) -> tuple[np.ndarray, np.ndarray]:
    """Decode clip and first column of each cut `[..., columns, bins]` that was scaled by 1 / factor."""
    codes = np.rint(log_spectrogram * factor).astype(int)
    assert (np.diff(codes[..., 1], axis=-1) == 1).all()
    return codes[..., 0, 0], codes[..., 0, 1]


def training_batches(split: built_dataset.Split, inputs: InputSpec, sampling: Sampling, **settings) -> Iterator[Batch]:
    """Yield batches of the input pipeline, augmented, as NumPy arrays."""
    augment_batch = jax.jit(functools.partial(augment.augment_batch, scaling=sampling.spectrogram_scaling))
    batches = pipeline.training_batches(split, inputs, sampling, **settings)
    return (jax.tree.map(np.asarray, augment_batch(raw)) for raw in batches)
