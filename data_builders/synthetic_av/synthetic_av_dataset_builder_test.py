"""The builder on a few clips: splits, records, and the bytes that other processes made."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from avlearn.data import schema
from data_builders.synthetic_av import instrument_classes, synthetic_record
from data_builders.synthetic_av.synthetic_av_dataset_builder import Builder, Config

CLIPS = {"train": 16, "validation": 3, "test": 4}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    config = Config(
        name="few",
        height=64,
        width=84,
        frames_per_second=5,
        clip_seconds=1.0,
        **{f"{split}_clips": count for split, count in CLIPS.items()},
    )
    builder = Builder(config=config, data_dir=tmp_path_factory.mktemp("data"))
    builder.download_and_prepare()
    return builder


def records(builder, split):
    undecoded = {"frames": tfds.decode.SkipDecoding()}
    return {r["clip_id"].decode(): r for r in tfds.as_numpy(builder.as_dataset(split=split, decoders=undecoded))}


def test_splits_have_their_number_of_clips_and_share_none(built):
    assert {split: info.num_examples for split, info in built.info.splits.items()} == CLIPS
    ids = {split: set(records(built, split)) for split in CLIPS}
    assert ids["validation"] == {"validation_000000", "validation_000001", "validation_000002"}
    assert len(set.union(*ids.values())) == sum(CLIPS.values())
    mains = [instrument_classes.NAMES[r["labels"][0]] for r in records(built, "train").values()]
    assert sorted(mains) == sorted(instrument_classes.NAMES)


def test_metadata_describes_the_records(built):
    metadata = built.info.metadata
    assert metadata["schema_version"] == schema.SCHEMA_VERSION
    assert (metadata["frames_per_second"], metadata["front_end"]) == (5, "l3")
    assert tuple(metadata["class_names"]) == instrument_classes.NAMES
    assert list(metadata["ontology"]) == instrument_classes.ontology()
    assert built.info.features["labels"].feature.names == instrument_classes.ids()
    assert "AudioSet" in built.info.description
    assert "gemmeke2017audioset" in built.info.citation


def test_records_are_those_of_the_same_numbers_in_this_process(built):
    world = built.builder_config.world
    for name, stored in records(built, "test").items():
        wanted = synthetic_record.make_record(world, "test", int(name.removeprefix("test_")))
        assert stored["frames"].tolist() == wanted["frames"]
        assert stored["log_spectrogram"].tobytes() == wanted["log_spectrogram"].tobytes()
        assert stored["log_spectrogram"].shape == (199, 257)
        assert stored["frame_times_ms"].tolist() == [0, 200, 400, 600, 800]
        assert stored["labels"].tolist() == wanted["labels"]
        assert stored["video_id"].decode() == name
        assert stored["start_ms"] == 0
        boxes = stored["boxes"]
        wanted_boxes = np.array([box["bbox"] for box in wanted["boxes"]]).reshape(-1, 4)
        np.testing.assert_allclose(boxes["bbox"], wanted_boxes, atol=1e-6)
        for key in ("label", "sounding", "time_ms"):
            assert boxes[key].tolist() == [box[key] for box in wanted["boxes"]]


def test_sounding_boxes_have_a_label_of_the_clip_and_silent_ones_do_not(built):
    boxes = 0
    for stored in records(built, "train").values():
        labels, sounding = stored["boxes"]["label"], stored["boxes"]["sounding"]
        assert np.isin(labels, stored["labels"]).tolist() == sounding.tolist()
        assert np.isin(stored["boxes"]["time_ms"], stored["frame_times_ms"]).all()
        boxes += len(labels)
    assert boxes >= 5 * 12


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="validation_clips=0 in config 'hollow': must be 1 or more"):
        Builder(config=Config(name="hollow", validation_clips=0), data_dir=tmp_path).download_and_prepare()


def test_every_config_is_available():
    sizes = {config.name: config for config in Builder.BUILDER_CONFIGS}
    assert list(sizes) == ["miniature", "miniature_heard", "miniature_unheard", "flow", "in_time", "full", "tiny"]
    full = sizes["full"].world
    assert min(full.height, full.width) == 256
    assert (full.frames_per_second, full.clip_seconds) == (25, 10.0)
    assert Config(name="full_20k", train_clips=20_000).world == full
