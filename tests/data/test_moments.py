"""Every moment of a clip: the right frames with the right audio, in order."""

import dataclasses

import numpy as np
import pytest

from avlearn.data import built_dataset, evaluation_pairs, moments
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec
from tests.helpers import synthetic_records

INPUTS = InputSpec(frame_pixels=12, crop_fraction=24 / 32)
# Of 15 frames at 5 per second, those whose second of audio (200 of 599 columns) fits into the clip: 0.6 s to 2.4 s.
NUMBERS = list(range(3, 13))


def split() -> built_dataset.Split:
    return built_dataset.open_split(synthetic_records.DATASET, synthetic_records.data_dir(), "test")


def clip_code(item: int) -> int:
    """Return the code of the clip, read from its pixels."""
    frames, _ = evaluation_pairs.examples(split(), INPUTS, [item])
    return int(synthetic_records.decode_frames(frames)[0][0])


def test_each_moment_has_its_frame_and_its_audio():
    batches = list(moments.batches(split(), INPUTS, Sampling(), items=[5, 2], batch_size=8))
    assert [batch.weight.tolist() for batch, _ in batches] == [[1] * 8, [1] * 2 + [0] * 6] * 2
    for item, (first, second) in ((5, batches[:2]), (2, batches[2:])):
        rows = {name: np.concatenate([first[1][name], second[1][name]]) for name in first[1]}
        assert rows["image_item"].tolist() == [item] * 10
        assert rows["time_ms"].tolist() == [200 * number for number in NUMBERS]
        assert rows["corresponds"].all()
        frames, sounds = (
            np.concatenate([getattr(batch, name)[batch.weight > 0] for batch, _ in (first, second)])
            for name in ("frames", "log_spectrogram")
        )
        assert frames.shape == (10, 12, 12, 3)
        frame_clip, number = synthetic_records.decode_frames(frames)
        audio_clip, start = synthetic_records.decode_columns(sounds)
        assert set(frame_clip) == set(audio_clip) == {clip_code(item)}
        assert number.tolist() == NUMBERS
        assert start.tolist() == [40 * each - 100 for each in NUMBERS]
        assert len(set(first[0].video[first[0].weight > 0].tolist())) == 1


def test_the_middle_moment_is_the_one_that_evaluation_takes():
    pooled = dataclasses.replace(INPUTS, pool=4)
    (batch, _), *_ = moments.batches(split(), pooled, Sampling(), items=[4], batch_size=16)
    (middle, _), *_ = evaluation_pairs.batches(
        split(), pooled, Sampling(), pairing="all_positive", batch_size=1, items=[4]
    )
    for name in ("frames", "log_spectrogram", "video"):
        np.testing.assert_array_equal(getattr(batch, name)[5], getattr(middle, name)[0])


def test_audio_lasts_from_the_first_moment_to_the_end_of_the_last_frame():
    sequence = moments.load_moments(split(), INPUTS, 3)
    assert sequence.times_ms.tolist() == [200 * number for number in NUMBERS]
    assert sequence.frames_per_second == 5
    assert sequence.frames.shape == (10, 24, 24, 3)  # the crop at the record's own resolution
    frame_clip, number = synthetic_records.decode_frames(sequence.frames)
    assert (set(frame_clip), number.tolist()) == ({clip_code(3)}, NUMBERS)
    assert sequence.log_spectrogram.shape == (400, 257)
    assert synthetic_records.decode_columns(sequence.log_spectrogram, 1)[1] == 120  # 0.6 s


def test_audio_ends_with_the_clip():
    """With cuts of a fifth of a second the last frame is a moment too, and the audio ends before it does."""
    sequence = moments.load_moments(split(), dataclasses.replace(INPUTS, columns=38), 3)
    assert sequence.times_ms.tolist() == [200 * number for number in range(1, 15)]
    assert len(sequence.log_spectrogram) == 599 - 40


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"(?s)no cut fits into the clip.*clip \d"):
        moments.load_moments(split(), dataclasses.replace(INPUTS, columns=600), 3)
    with pytest.raises(ValueError, match=r"use --config.inputs.front_end=l3"):
        next(moments.batches(split(), InputSpec(front_end="lvs"), Sampling(), items=[0], batch_size=2))
