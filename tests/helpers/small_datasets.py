"""Builds small datasets, each in seconds, in place of those that the configs read."""

import pathlib

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from data_builders.dcase2013.dcase2013_dataset_builder import Builder as Dcase2013
from data_builders.esc50.esc50_dataset_builder import Builder as Esc50
from data_builders.synthetic_av.synthetic_av_dataset_builder import Builder as SyntheticAv
from data_builders.synthetic_av.synthetic_av_dataset_builder import Config
from tests.helpers import build_dataset

RATE = 48_000
SECONDS = 2
CLASSES = ("dog", "rooster")  # of ESC-50
SCENES = ("bus", "park")  # of DCASE 2013
PICTURES = {"train": 40, "test": 12}
MOVING_CLIPS = 8  # in each split
MOVING = Config(
    name="moving",
    height=48,
    width=48,
    frames_per_second=5,
    clip_seconds=2.4,
    train_clips=MOVING_CLIPS,
    validation_clips=MOVING_CLIPS,
    test_clips=MOVING_CLIPS,
    optical_flow=True,
    waveform_hz=8000,
    jump=0.25,
)


class Pictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Red and green images of 48 x 64 pixels; the class is the colour of the middle square."""

    VERSION = tfds.core.Version("1.2.0")

    @classmethod
    def _get_pkg_dir_path(cls):
        return pathlib.Path(__file__).parent

    def _info(self):
        given = {"image": tfds.features.Image(shape=(48, 64, 3)), "label": tfds.features.ClassLabel(num_classes=2)}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(given), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(count) for name, count in PICTURES.items()}

    def _generate_examples(self, count):
        for number in range(count):
            image = np.full((48, 64, 3), 40, np.uint8)
            image[3:45, 11:53, number % 2] = 255 - number  # the square of 42 pixels in the middle: 7/8 of 48
            yield number, {"image": image, "label": number % 2}


def build_esc50(data_dir: pathlib.Path) -> None:
    """Build ESC-50 with two recordings in each fold, tones of two pitches."""
    manual = data_dir / "manual"
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, name in enumerate(CLASSES):
            stem = f"{fold}-{fold}{target}-A-{target}"
            lines.append(f"{stem}.wav,{fold},{target},{name},False,{fold}{target},A")
            _write_tone(manual / f"{stem}.wav", 400 + 2500 * target + fold)
    (manual / "esc50.csv").write_text("\n".join(lines))
    build_dataset.build(Esc50, "all", manual, data_dir, num_shards=1)


def build_dcase2013(data_dir: pathlib.Path) -> None:
    """Build DCASE 2013 with two recordings of two scenes in each set, tones of two pitches."""
    manual = data_dir / "manual_dcase2013"
    for folder in ("scenes_stereo", "scenes_stereo_testset"):
        for number, scene in enumerate(SCENES):
            for take in (1, 2):
                _write_tone(manual / folder / f"{scene}{take:02d}.wav", 400 + 2500 * number + take)
    build_dataset.build(Dcase2013, "scenes", manual, data_dir)


def build_pictures(data_dir: pathlib.Path) -> None:
    """Build the images."""
    Pictures(data_dir=data_dir).download_and_prepare()


def build_moving(data_dir: pathlib.Path) -> None:
    """Build a synthetic dataset with optical flow and waveforms."""
    SyntheticAv(config=MOVING, data_dir=data_dir).download_and_prepare()


def _write_tone(path: pathlib.Path, hertz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(SECONDS * RATE) / RATE
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * hertz * time), RATE)


# Dataset in a config to its builder; those of the synthetic data but `moving` are `tiny` in tests.
BUILDERS = {
    "esc50/all": build_esc50,
    "dcase2013/scenes": build_dcase2013,
    "pictures": build_pictures,
    "synthetic_av/moving": build_moving,
}
