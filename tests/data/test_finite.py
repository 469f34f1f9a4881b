"""NaN and infinite values in records name the clip, wherever the clip is read."""

import itertools

import numpy as np
import pytest

from avlearn.data import built_dataset, contents, evaluation_pairs, finite, moments, pipeline, windows
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec
from tests.helpers import synthetic_records

INPUTS = InputSpec(frame_pixels=24, crop_fraction=24 / 32)


@pytest.fixture(params=["by table", "in full"])
def poisoned(request, tmp_path):
    """Return a function that puts a value into the log-spectrogram of one clip, at its middle, and opens its split."""

    def poison(value, split="test"):
        version = synthetic_records.copy(tmp_path)
        shard = version / f"coded-{split}.tfrecord-00000-of-00003"
        opened = built_dataset.open_split(synthetic_records.DATASET, tmp_path, split)
        (clip_id,) = opened.clip_ids(np.array([1]))
        clip = int(clip_id.split()[1])
        old = synthetic_records.log_spectrogram(clip)
        new = old.copy()
        new[300, 7] = value
        records = [each.replace(old.tobytes(), new.tobytes()) for each in synthetic_records.read_records(shard)]
        synthetic_records.write_records(shard, records)
        contents.write(shard)
        if request.param == "in full":
            for table in version.glob(f"*{contents.SUFFIX}"):
                table.unlink()
        return built_dataset.open_split(synthetic_records.DATASET, tmp_path, split), clip_id

    return poison


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_training_names_the_clip(value, poisoned):
    split, clip_id = poisoned(value, "train")
    settings = {"seed": 0, "num_workers": 1, "batch_per_worker": 8, "workers": (0,)}
    batches = pipeline.training_batches(split, INPUTS, Sampling(), **settings)
    message = (
        rf"^split 'train' of coded/small 1\.0\.0: a log-spectrogram of the clip {clip_id} has NaN or infinite values"
    )
    with pytest.raises(ValueError, match=message):
        list(itertools.islice(batches, 40))


@pytest.mark.parametrize("pairing", ["all_positive", "avc"])
def test_evaluation_names_the_clip(pairing, poisoned):
    split, clip_id = poisoned(np.nan)
    with pytest.raises(ValueError, match=rf"log-spectrogram of the clip {clip_id} has NaN"):
        list(evaluation_pairs.batches(split, INPUTS, Sampling(), pairing=pairing, batch_size=4))


def test_windows_moments_and_examples_name_the_clip(poisoned):
    split, clip_id = poisoned(-np.inf)
    message = rf"log-spectrogram of the clip {clip_id} has NaN"
    with pytest.raises(ValueError, match=message):
        list(windows.window_batches(split, INPUTS, Sampling(), count=3, batch_size=5))
    with pytest.raises(ValueError, match=message):
        list(moments.batches(split, INPUTS, Sampling(), items=[1], batch_size=4))
    with pytest.raises(ValueError, match=message):
        moments.load_moments(split, INPUTS, 1)
    with pytest.raises(ValueError, match=message):
        evaluation_pairs.examples(split, INPUTS, [1])
    evaluation_pairs.examples(split, INPUTS, [0, 2])


def test_a_box_names_the_clip():
    names = np.array([b"a", b"b", b"c"], object)
    finite.check_boxes(np.array([0.1, 0.2], np.float32), np.array([0, 2]), names)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^a box of the clip c has NaN or infinite values"):
            finite.check_boxes(np.array([0.1, value], np.float32), np.array([0, 2]), names)


def test_the_largest_finite_values_are_accepted():
    most = np.finfo(np.float16).max
    columns = np.array([[[0, most], [-most, -0.0]]], np.float16)
    finite.check_log_spectrograms(columns, np.array([b"a"], object))
    finite.check_log_spectrograms(np.zeros((0, 2, 2), np.float16), np.array([], object))
    for value in (np.inf, -np.inf, np.nan, -np.nan):
        columns = np.zeros((2, 2, 2), np.float16)
        columns[1, 1, 0] = value
        with pytest.raises(ValueError, match=r"^a log-spectrogram of the clip b "):
            finite.check_log_spectrograms(columns, np.array([b"a", b"b"], object))
