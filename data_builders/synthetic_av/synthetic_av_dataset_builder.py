"""Builds synthetic_av: drawn and synthesised clips with known answers (TFDS builder)."""

import dataclasses
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds
import tqdm

from avlearn.data import contents, schema
from data_builders.clips import tfds_internals
from data_builders.synthetic_av import instrument_classes, scene, synthetic_record


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """A variant of the dataset; the defaults are those of `full`.

    Attributes:
      height, width: size of the frames, pixels; even.
      frames_per_second: rate of the frames.
      clip_seconds: length of a clip.
      train_clips, validation_clips, test_clips: number of clips.
      seed: seed of all images and sounds.
      optical_flow: whether the flow from each frame to the next is stored.
      waveform_hz: sample rate of the stored waveform; 0: none is stored.
      jump: how far a sounding object rises with the loudness of the clip, as a share of its side; 0: motion and sound
        are independent.
      class_names: classes that appear; all sixteen have a label.
    """

    height: int = 256
    width: int = 340
    frames_per_second: int = 25
    clip_seconds: float = 10.0
    train_clips: int = 2000
    validation_clips: int = 200
    test_clips: int = 400
    seed: int = 0
    optical_flow: bool = False
    waveform_hz: int = 0
    jump: float = 0.0
    class_names: Sequence[str] = instrument_classes.NAMES

    @property
    def world(self) -> synthetic_record.World:
        """Return the settings of the clips."""
        return synthetic_record.World(
            self.height,
            self.width,
            self.frames_per_second,
            self.clip_seconds,
            self.seed,
            scene.Statistics(jump=self.jump),
            self.optical_flow,
            self.waveform_hz,
            tuple(self.class_names),
        )


HEARD, UNHEARD = instrument_classes.NAMES[0::2], instrument_classes.NAMES[1::2]
MINIATURE = Config(
    name="miniature",
    description="128 x 128 pixels, 5 frames per second, 3 s: for two CPU cores.",
    height=128,
    width=128,
    frames_per_second=5,
    clip_seconds=3.0,
    train_clips=4000,
    validation_clips=400,
    test_clips=600,
)


class Builder(tfds_internals.TwoStageBuilder):
    """Builds the records; every clip goes through an mp4 file and `avlearn.media`, as real videos do."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    builder_config_cls = Config
    BUILDER_CONFIGS = [
        MINIATURE,
        dataclasses.replace(
            MINIATURE,
            name="miniature_heard",
            description="As miniature, with every other class.",
            class_names=HEARD,
        ),
        dataclasses.replace(
            MINIATURE,
            name="miniature_unheard",
            description="As miniature, with the classes that are not in miniature_heard; a test set.",
            train_clips=1,
            validation_clips=1,
            class_names=UNHEARD,
        ),
        Config(
            name="flow",
            description="64 x 64 pixels, 5 frames per second, 3 s, with the optical flow: AVE+OF on two CPU cores.",
            height=64,
            width=64,
            frames_per_second=5,
            clip_seconds=3.0,
            optical_flow=True,
        ),
        Config(
            name="in_time",
            description="64 x 64 pixels, 25 frames per second, 4 s, with the waveform; sounding objects jump in time.",
            height=64,
            width=64,
            clip_seconds=4.0,
            train_clips=3000,
            validation_clips=200,
            test_clips=400,
            waveform_hz=8000,
            jump=0.25,
        ),
        Config(name="full", description="256 x 340 pixels, 25 frames per second, 10 s: the papers' records."),
        dataclasses.replace(
            MINIATURE,
            name="tiny",
            description="As miniature with very few clips: for tests.",
            train_clips=64,
            validation_clips=16,
            test_clips=16,
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.features(
                instrument_classes.ids(),
                optical_flow=self.builder_config.optical_flow,
                waveform=self.builder_config.waveform_hz > 0,
            ),
            supervised_keys=None,
            metadata=schema.metadata(
                frames_per_second=self.builder_config.frames_per_second,
                front_end=synthetic_record.FRONT_END,
                waveform_hz=self.builder_config.waveform_hz,
                class_names=instrument_classes.NAMES,
                class_ids=instrument_classes.ids(),
                ontology=instrument_classes.ontology(),
            ),
        )

    def complete_dataset(self) -> None:
        """Write the table of contents of each shard."""
        shards = [path for split in self.info.splits.values() for path in split.filepaths]
        if self.info.file_format != tfds.core.FileFormat.TFRECORD or "://" in str(self.data_path):
            return  # tables exist only for TFRecord files on a disk
        for shard in shards:
            contents.write(shard)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        del dl_manager  # nothing to download
        clips = {split: getattr(self.builder_config, f"{split}_clips") for split in synthetic_record.SPLITS}
        for split, count in clips.items():
            if count < 1:
                raise ValueError(f"{split}_clips={count} in config {self.builder_config.name!r}: must be 1 or more")
        return {split: self._generate_examples(split, count) for split, count in clips.items()}

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[str, dict]]:
        made = synthetic_record.make_records(self.builder_config.world, split, count)
        for example in tqdm.tqdm(made, total=count, desc=f"synthetic_av {split}", unit="clip", leave=False):
            boxes = [{**box, "bbox": tfds.features.BBox(*box["bbox"])} for box in example["boxes"]]
            yield example["clip_id"], {**example, "boxes": boxes}
