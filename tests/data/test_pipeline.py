import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from avlearn.data import built_dataset, contents, evaluation_pairs, pipeline
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec
from tests.helpers import synthetic_records

INPUTS = InputSpec(frame_pixels=24, crop_fraction=24 / 32)
PLAIN = Sampling(flip=False, brightness=0.0, saturation=0.0, volume=0.0)
FIELDS = ("frames", "log_spectrogram", "corresponds", "video", "weight")


def open_split(name="train"):
    return built_dataset.open_split(synthetic_records.DATASET, synthetic_records.data_dir(), name)


def train(sampling=PLAIN, *, steps, seed=0, num_workers=1, batch_per_worker=8, workers=(0,), first_step=0):
    batches = synthetic_records.training_batches(
        open_split(),
        INPUTS,
        sampling,
        seed=seed,
        num_workers=num_workers,
        batch_per_worker=batch_per_worker,
        workers=workers,
        first_step=first_step,
    )
    return list(itertools.islice(batches, steps))


def joined(batches):
    """Return clips and numbers of frames, clips and start columns of audio, and `corresponds`, of all pairs."""
    frames = np.concatenate([batch.frames.reshape(-1, *INPUTS.frame_shape) for batch in batches])
    sounds = np.concatenate([batch.log_spectrogram.reshape(-1, *INPUTS.spectrogram_shape) for batch in batches])
    corresponds = np.concatenate([batch.corresponds.ravel() for batch in batches])
    return (*synthetic_records.decode_frames(frames), *synthetic_records.decode_columns(sounds), corresponds)


def codes_of_clips(split):
    """Return the code (encoded in its pixels) of each clip of the split."""
    records = tf.data.TFRecordDataset(list(split.files)).as_numpy_iterator()
    features = [tf.train.Example.FromString(record).features.feature for record in records]
    return np.array([int(feature["clip_id"].bytes_list.value[0].split()[1]) for feature in features])


def same(a, b):
    return all((getattr(a, name) == getattr(b, name)).all() for name in FIELDS)


def videos(clips):
    return np.array([synthetic_records.video_of(clip) for clip in clips])


def test_a_batch_has_the_shapes_of_the_inputs():
    (batch,) = train(steps=1, num_workers=3, workers=(0, 2))
    assert batch.frames.shape == (2, 8, 24, 24, 3)
    assert batch.log_spectrogram.shape == (2, 8, 200, 257)
    assert [getattr(batch, name).dtype for name in FIELDS] == [np.uint8, np.float32, bool, np.int32, np.float32]
    assert (batch.weight == 1).all()


def test_positives_are_of_one_moment():
    frame_clip, number, audio_clip, start, corresponds = joined(
        train(dataclasses.replace(PLAIN, misalignment_seconds=0.0), steps=20)
    )
    assert (frame_clip == audio_clip)[corresponds].all()
    assert (start == 40 * number - 100)[corresponds].all()
    assert set(number) == set(range(3, 13))  # all frames whose second lies within the clip


@pytest.mark.parametrize("misalignment_seconds", [0.4, 1.0])
def test_positives_are_misaligned_up_to_the_bound_on_the_grid(misalignment_seconds):
    sampling = dataclasses.replace(PLAIN, misalignment_seconds=misalignment_seconds)
    frame_clip, number, audio_clip, start, corresponds = joined(train(sampling, steps=25))
    assert (frame_clip == audio_clip)[corresponds].all()
    shift = (start - (40 * number - 100))[corresponds]
    assert (shift % 8 == 0).all()
    assert shift.min() < -0.8 * 200 * misalignment_seconds
    assert shift.max() > 0.8 * 200 * misalignment_seconds
    assert np.abs(shift).max() <= 200 * misalignment_seconds


def test_half_are_negatives_of_another_video_and_all_audio_is_used_once():
    for batch in train(steps=25):
        frame_clip, _, audio_clip, _, corresponds = joined([batch])
        assert corresponds.tolist() == [True, False] * 4
        assert (videos(frame_clip) == videos(audio_clip)).tolist() == corresponds.tolist()
        assert sorted(frame_clip) == sorted(audio_clip)


def test_only_unprotected_negatives_leave_the_grid():
    *_, start, corresponds = joined(train(steps=20))
    assert (start % 8 == 4).all()  # 40 n - 100
    *_, start, corresponds = joined(train(dataclasses.replace(PLAIN, negatives="off_grid"), steps=20))
    assert (start[corresponds] % 8 == 4).all()
    assert set(start[~corresponds] % 8) == set(range(8))
    assert start[~corresponds].min() >= 0
    assert start[~corresponds].max() <= 399


def test_all_pairs_are_aligned_and_identify_their_videos():
    for batch in train(dataclasses.replace(PLAIN, pairing="all_pairs"), steps=5):
        frame_clip, _, audio_clip, _, corresponds = joined([batch])
        assert corresponds.all()
        assert (frame_clip == audio_clip).all()
        names = videos(frame_clip)
        assert (np.equal.outer(batch.video[0], batch.video[0]) == np.equal.outer(names, names)).all()


def test_every_clip_is_used_once_an_epoch():
    # 26 clips, 2 workers x 4: 13 steps are four epochs.
    frame_clip, *_ = joined(train(steps=13, num_workers=2, batch_per_worker=4, workers=(0, 1)))
    epochs = frame_clip.reshape(4, 26)
    assert (np.sort(epochs) == np.arange(26)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize("pairing", ["avc", "shifted"])
def test_clips_of_a_step_are_found_without_reading(pairing):
    split = open_split()
    code = codes_of_clips(split)
    own = {"misalignment_seconds": 0.0, "shift_seconds": (0.2, 0.6)} if pairing == "shifted" else {}
    sampling = dataclasses.replace(PLAIN, samples_per_clip=2, pairing=pairing, **own)
    for step, batch in enumerate(train(sampling, steps=9, seed=5, num_workers=3, workers=(1, 2))):
        frame_clip = joined([batch])[0].reshape(2, 8)
        for row, worker in enumerate((1, 2)):
            clips = pipeline.training_clips(
                split,
                seed=5,
                num_workers=3,
                batch_per_worker=8,
                samples_per_clip=2,
                pairing=pairing,
                worker=worker,
                step=step,
            )
            assert (code[clips] == frame_clip[row]).all()


@pytest.mark.parametrize("samples_per_clip", [1, 3])
def test_batches_are_a_function_of_seed_worker_and_step(samples_per_clip):
    sampling = Sampling(samples_per_clip=samples_per_clip, negatives="off_grid", threads=2)
    settings = {"num_workers": 3, "seed": 7}
    whole = train(sampling, steps=7, workers=(0, 1, 2), **settings)
    again = train(sampling, steps=2, workers=(0, 1, 2), first_step=5, **settings)
    assert all(same(a, b) for a, b in zip(whole[5:], again, strict=True))
    other_host = train(dataclasses.replace(sampling, threads=1), steps=7, workers=(2, 0), **settings)
    for batch, other in zip(whole, other_host, strict=True):
        assert all((getattr(batch, name)[[2, 0]] == getattr(other, name)).all() for name in FIELDS)


def test_another_seed_worker_or_step_gives_another_batch():
    first, second = train(Sampling(), steps=2, num_workers=2, workers=(0, 1))
    (other_seed,) = train(Sampling(), steps=1, seed=1, num_workers=2, workers=(0, 1))
    for other in (second, other_seed):
        assert not (first.frames == other.frames).all()
        assert not (first.log_spectrogram == other.log_spectrogram).all()
    assert not (first.frames[0] == first.frames[1]).all()


def test_workers_and_steps_have_different_draws():
    batches = train(steps=2, num_workers=2, workers=(0, 1))
    _, number, _, start, _ = (values.reshape(4, 8) for values in joined(batches))
    assert len({tuple(draw) for draw in number}) == 4
    assert len({tuple(draw) for draw in start}) == 4


def test_samples_per_clip_draws_again_from_the_same_clips():
    batches = train(dataclasses.replace(PLAIN, samples_per_clip=3), steps=6)
    frame_clip, number, _, start, _ = (values.reshape(6, 8) for values in joined(batches))
    assert (frame_clip[[0, 0, 3, 3]] == frame_clip[[1, 2, 4, 5]]).all()
    assert (np.sort(frame_clip[0]) != np.sort(frame_clip[3])).any()
    assert len({tuple(draw) for draw in number}) == 6
    assert len({tuple(draw) for draw in start}) == 6


def test_labels_are_those_of_the_clip():
    inputs = dataclasses.replace(INPUTS, classes=3)
    sampling = dataclasses.replace(PLAIN, pairing="labelled", samples_per_clip=2)
    stream = synthetic_records.training_batches(
        open_split(), inputs, sampling, seed=0, num_workers=2, batch_per_worker=8, workers=(0, 1)
    )
    for batch in itertools.islice(stream, 4):
        frame_clip, _, audio_clip, _, corresponds = joined([batch])
        assert corresponds.all()
        assert (frame_clip == audio_clip).all()
        expected = [
            [label in (clip % 3, 2) for label in range(3)] for clip in frame_clip
        ]  # as synthetic_records has them
        assert batch.labels.reshape(16, 3).tolist() == expected
    (first, annotated), *_ = evaluation_pairs.batches(
        open_split("test"), inputs, PLAIN, pairing="all_positive", batch_size=10
    )
    assert (first.labels[:7] == annotated["labels"]).all()
    assert not first.labels[7:].any()  # padding
    with pytest.raises(ValueError, match=r"has 3 classes, but the network has 4; use --config.inputs.classes=3"):
        evaluation_pairs.batches(
            open_split("test"), dataclasses.replace(INPUTS, classes=4), PLAIN, pairing="avc", batch_size=10
        )


def test_volume_is_one_factor_for_the_whole_cut():
    sampling = dataclasses.replace(PLAIN, volume=0.1)
    for loud, plain in zip(train(sampling, steps=4), train(steps=4), strict=True):
        shift = 12 * (loud.log_spectrogram - plain.log_spectrogram)[0]
        one = shift.mean((1, 2), keepdims=True)
        np.testing.assert_allclose(shift, np.broadcast_to(one, shift.shape), atol=1e-3)
        assert (np.abs(np.exp(one / 2) - 1) <= 0.1001).all()
        assert np.ptp(one) > 0.05


def test_colours_change_within_their_bounds():
    def blue(**change):
        batches = train(dataclasses.replace(PLAIN, **change), steps=20)
        return np.concatenate([batch.frames[0, :, 0, 0, 2] for batch in batches]).astype(int)

    shift = blue(brightness=0.1) - blue()
    assert np.abs(shift).max() <= 26
    assert shift.min() < -20
    assert shift.max() > 20
    assert (blue(saturation=0.2) != blue()).any()


def test_pooled_input_is_the_mean_of_the_cut():
    pooled = dataclasses.replace(INPUTS, pool=4)
    settings = {"seed": 0, "num_workers": 1, "batch_per_worker": 8, "workers": (0,)}
    small = next(synthetic_records.training_batches(open_split(), pooled, PLAIN, **settings)).log_spectrogram
    (whole,) = train(steps=1)
    assert small.shape == (1, 8, 50, 64)
    expected = whole.log_spectrogram[..., :256].reshape(1, 8, 50, 4, 64, 4).mean((3, 5))
    np.testing.assert_allclose(small, expected, rtol=1e-5)


def evaluate(pairing, **options):
    options = {"batch_size": 4, "seed": 0, "items": None} | options
    return list(evaluation_pairs.batches(open_split("test"), INPUTS, PLAIN, pairing=pairing, **options))


def rows_of(batches):
    """Return the real rows of a pass: fields of the batch and annotations, by name."""
    rows = [
        {name: getattr(batch, name)[batch.weight > 0] for name in FIELDS} | annotations
        for batch, annotations in batches
    ]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def test_evaluation_covers_each_clip_once_with_its_middle_and_pads_at_weight_0():
    batches = evaluate("all_positive")
    assert [batch.weight.tolist() for batch, _ in batches] == [[1] * 4, [1] * 3 + [0]]
    rows = rows_of(batches)
    frame_clip, number = synthetic_records.decode_frames(rows["frames"])
    audio_clip, start = synthetic_records.decode_columns(rows["log_spectrogram"])
    assert rows["image_item"].tolist() == rows["audio_item"].tolist() == list(range(7))
    assert sorted(frame_clip) == list(range(7))
    assert (frame_clip == audio_clip).all()
    assert (number == 8).all()
    assert (start == 220).all()
    assert rows["corresponds"].all()
    assert rows["clip_id"].tolist() == [f"clip {clip}" for clip in frame_clip]
    assert (batches[1][0].frames[3] == 0).all()


def test_evaluation_pairs_are_balanced_and_use_each_frame_and_audio_twice():
    rows = rows_of(evaluate("avc"))
    code = codes_of_clips(open_split("test"))
    frame_clip, _ = synthetic_records.decode_frames(rows["frames"])
    audio_clip, start = synthetic_records.decode_columns(rows["log_spectrogram"])
    assert (frame_clip == code[rows["image_item"]]).all()
    assert (audio_clip == code[rows["audio_item"]]).all()
    assert rows["corresponds"].tolist() == [True] * 7 + [False] * 7
    assert ((frame_clip == audio_clip) == rows["corresponds"]).all()
    assert ((videos(frame_clip) == videos(audio_clip)) == rows["corresponds"]).all()
    assert rows["image_item"].tolist() == list(range(7)) * 2
    assert sorted(rows["audio_item"][7:]) == list(range(7))
    assert (start == 220).all()
    again, other = rows_of(evaluate("avc")), rows_of(evaluate("avc", seed=1))
    assert (again["audio_item"] == rows["audio_item"]).all()
    assert (other["audio_item"] != rows["audio_item"]).any()


def test_further_draws_have_other_audio_for_the_same_frames():
    rows, first = rows_of(evaluate("avc", draws=3)), rows_of(evaluate("avc"))
    assert rows["pair_draw"].tolist() == [-1] * 7 + [0] * 7 + [1] * 7 + [2] * 7
    for name, array in first.items():
        np.testing.assert_array_equal(rows[name][:14], array)
    drawn = rows["audio_item"][7:].reshape(3, 7)
    assert (np.sort(drawn, axis=1) == np.arange(7)).all()
    assert all(len(set(of_frame)) == 3 for of_frame in drawn.T.tolist())
    audio_clip, _ = synthetic_records.decode_columns(rows["log_spectrogram"])
    assert (audio_clip == codes_of_clips(open_split("test"))[rows["audio_item"]]).all()
    assert (
        (videos(synthetic_records.decode_frames(rows["frames"])[0]) == videos(audio_clip)) == rows["corresponds"]
    ).all()


def test_negatives_adds_silence_to_the_rows_of_avc():
    rows, pairs = rows_of(evaluate("negatives")), rows_of(evaluate("avc"))
    np.testing.assert_array_equal(rows["log_spectrogram"][:14], pairs["log_spectrogram"])
    assert rows["silent"].tolist() == [False] * 14 + [True] * 7
    assert not rows["corresponds"][14:].any()
    assert rows["image_item"][14:].tolist() == list(range(7))
    # The floor of the records, in half precision, over 12.
    np.testing.assert_allclose(rows["log_spectrogram"][14:], np.float16(np.log(1e-7)) / 12, rtol=1e-6)


def test_evaluation_takes_given_pairs():
    given = {"image_item": np.array([3, 5, 5]), "audio_item": np.array([3, 0, 6]), "source": np.array([1, 0, 2])}
    rows = rows_of(evaluate("all_positive", rows=given))
    code = codes_of_clips(open_split("test"))
    assert (synthetic_records.decode_frames(rows["frames"])[0] == code[given["image_item"]]).all()
    assert (synthetic_records.decode_columns(rows["log_spectrogram"])[0] == code[given["audio_item"]]).all()
    assert rows["corresponds"].tolist() == [True, False, False]
    assert rows["source"].tolist() == [1, 0, 2]


def test_hosts_split_an_evaluation():
    whole = rows_of(evaluate("avc"))
    parts = [rows_of(evaluate("avc", items=items)) for items in (slice(0, 7, 2), [1, 3, 5])]
    shared = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    pairs = [set(zip(rows["image_item"], rows["audio_item"], strict=True)) for rows in (whole, shared)]
    assert pairs[0] == pairs[1]
    assert len(shared["image_item"]) == 14


def test_labels_and_boxes_refer_to_the_crop():
    rows = rows_of(evaluate("all_positive"))
    clips = [int(name.split()[1]) for name in rows["clip_id"]]
    for row, clip in enumerate(clips):
        assert rows["labels"][row].tolist() == [label in {clip % 3, 2} for label in range(3)]
        # Frame 32 x 40, crop of 24 from row 4 and column 8 on; the other box lies outside it.
        expected = np.full((16, 4), np.nan)
        if clip != 0:
            expected[0] = [(8 - 4) / 24, (10 - 8) / 24, (24 - 4) / 24, (30 - 8) / 24]
        np.testing.assert_allclose(rows["boxes"][row], expected, rtol=1e-5)
        assert rows["box_label"][row].tolist() == [clip % 3 if clip != 0 else -1] + [-1] * 15
        assert rows["box_sounding"][row].tolist() == [clip != 0] + [False] * 15
        assert rows["box_annotator"][row].tolist() == [0 if clip != 0 else -1] + [-1] * 15


def test_examples_are_the_crops_and_seconds_of_evaluation():
    split = open_split("test")
    code = codes_of_clips(split)
    pooled = dataclasses.replace(INPUTS, pool=4, frame_pixels=12)
    frames, sounds = evaluation_pairs.examples(split, pooled, [5, 2])
    assert frames.shape == (2, 24, 24, 3)
    assert sounds.shape == (2, 200, 257)
    assert [values.tolist() for values in synthetic_records.decode_frames(frames)] == [code[[5, 2]].tolist(), [8, 8]]
    assert [values.tolist() for values in synthetic_records.decode_columns(sounds, 1)] == [
        code[[5, 2]].tolist(),
        [220, 220],
    ]


def test_inputs_that_do_not_fit_the_records_are_refused():
    with pytest.raises(
        ValueError, match=r"front end 'l3', but the network takes 'lvs'; use --config.inputs.front_end=l3"
    ):
        evaluation_pairs.examples(open_split(), InputSpec(front_end="lvs"), [0])
    with pytest.raises(ValueError, match="bins=128, but every record has 257"):
        evaluation_pairs.examples(open_split(), InputSpec(bins=128), [0])
    with pytest.raises(ValueError, match=r"train.* has 26 clips, fewer .* batch of 28; .*batch_per_worker=26 or less"):
        train(steps=1, batch_per_worker=28)
    with pytest.raises(
        ValueError, match=r"has 3 clips, fewer .* batch of 8; build more clips: pairing='avc' needs at least 4"
    ):
        pipeline.check_batches(some_clips(open_split(), [0, 4, 8]), INPUTS, PLAIN, 8)
    with pytest.raises(ValueError, match="pairing='all_pairs' is unknown; evaluation has avc, all_positive"):
        evaluate("all_pairs")


def test_clips_too_short_for_the_cut_are_named():
    long = dataclasses.replace(INPUTS, columns=600)
    with pytest.raises(ValueError, match=r"^split 'test' of coded/small 1\.0\.0: \[no cut fits into the clip.*clip \d"):
        evaluation_pairs.batches(open_split("test"), long, PLAIN, pairing="all_positive", batch_size=4)


@pytest.mark.parametrize("file", ["coded-test.tfrecord-00000-of-00003", "coded-test.tfrecord-00000-of-00003.contents"])
def test_a_damaged_record_ends_reading(file, tmp_path):
    version = synthetic_records.copy(tmp_path)
    if not file.endswith(contents.SUFFIX):
        (version / (file + contents.SUFFIX)).unlink()  # so that records are read whole
    content = bytearray((version / file).read_bytes())
    content[1000] ^= 1
    (version / file).write_bytes(content)
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "test")
    with pytest.raises(ValueError, match=r"record of the split 'test' of coded/small 1\.0\.0 is damaged.*tfds build"):
        list(evaluation_pairs.batches(split, INPUTS, PLAIN, pairing="all_positive", batch_size=4))


def test_a_damaged_frame_ends_reading(tmp_path):
    version = synthetic_records.copy(tmp_path)
    shard = version / "coded-test.tfrecord-00000-of-00003"
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8\xff\xe0", b"\0\0\0\0"))  # where a JPEG begins
    split = built_dataset.open_split(synthetic_records.DATASET, tmp_path, "test")
    with pytest.raises(ValueError, match=r"frame .* split 'test' of coded/small 1\.0\.0 is damaged.*tfds build"):
        list(evaluation_pairs.batches(split, INPUTS, PLAIN, pairing="all_positive", batch_size=4))


def test_a_process_can_exit_while_batches_are_being_made():
    """The threads that make batches wait for Python; exit must not wait for them at the same time."""
    script = """
import sys
from avlearn.data import built_dataset, pipeline
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec
split = built_dataset.open_split("coded/small", sys.argv[1], "train")
sampling = Sampling(samples_per_clip=8)
settings = {"num_workers": 4, "batch_per_worker": 24, "workers": range(4)}
streams = [pipeline.training_batches(split, InputSpec(24, 24 / 32), sampling, seed=n, **settings) for n in range(4)]
for stream in streams:
    next(stream)
"""
    command = [sys.executable, "-c", script, synthetic_records.data_dir()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0
    assert "Exception ignored" not in ended.stderr


def some_clips(split, clips):
    """Return a split with only these of its clips."""
    return dataclasses.replace(
        split, file=split.file[clips], offset=split.offset[clips], entry_offset=split.entry_offset[clips]
    )


def few_videos(counts):
    """Return a split with `counts[n]` clips of the n-th video."""
    split = open_split()
    _, first = np.unique(split.videos, return_index=True)
    return some_clips(split, [clip for clip, count in zip(first, counts, strict=False) for _ in range(count)])


def test_one_video_is_refused_before_the_first_batch():
    one = few_videos([6])
    for pairing in ("avc", "all_pairs", "contrast"):
        with pytest.raises(ValueError, match=r"^the 6 clips of the split 'train' of coded/small are all of one video"):
            pipeline.check_batches(one, INPUTS, dataclasses.replace(PLAIN, pairing=pairing), 4)
    shifted = dataclasses.replace(PLAIN, pairing="shifted", misalignment_seconds=0.0, shift_seconds=(0.2, 0.6))
    pipeline.check_batches(one, INPUTS, shifted, 4)


@pytest.mark.parametrize("counts", [(15, 15, 15), (41, 4), (30, 1, 1)])
def test_batches_of_few_videos_have_negatives_of_another_video_or_of_weight_0(counts):
    split = few_videos(counts)
    settings = {"seed": 0, "num_workers": 1, "batch_per_worker": 8, "workers": (0,)}
    alone = 0
    for batch in itertools.islice(synthetic_records.training_batches(split, INPUTS, PLAIN, **settings), 60):
        frame_clip, _, audio_clip, _, corresponds = joined([batch])
        paired = batch.weight[0] == 1
        assert ((frame_clip == audio_clip) == corresponds)[paired].all()
        one_video = len(set(batch.video[0])) == 1
        assert paired.tolist() == [True, not one_video] * 4
        alone += one_video
    assert bool(alone) == (counts != (15, 15, 15))


def test_evaluation_of_a_video_with_most_clips_is_balanced():
    split = few_videos([9, 2])
    assert evaluation_pairs.possible_negatives(split, 5) == (
        2,
        "negatives that share audio, since most clips are of one video",
    )
    rows = rows_of(evaluation_pairs.batches(split, INPUTS, PLAIN, pairing="avc", batch_size=4, draws=2))
    frames, sounds = (split.videos[rows[name]] for name in ("image_item", "audio_item"))
    assert ((frames == sounds) == rows["corresponds"]).all()
    assert np.bincount(rows["pair_draw"] + 1).tolist() == [11, 11, 11]


def test_negatives_are_other_clips_if_all_are_of_one_video():
    split = open_split()
    of_video, counts = np.unique(split.videos, return_counts=True)
    split = some_clips(split, np.flatnonzero(split.videos == of_video[counts.argmax()]))
    note = "negatives with the audio of other clips of the one video"
    assert evaluation_pairs.possible_negatives(split, 5) == (1, note)
    rows = rows_of(evaluation_pairs.batches(split, INPUTS, PLAIN, pairing="avc", batch_size=4))
    assert rows["image_item"].tolist() == [0, 1, 0, 1]
    assert rows["audio_item"].tolist() == [0, 1, 1, 0]


def test_how_many_negatives_are_possible(monkeypatch):
    assert evaluation_pairs.possible_negatives(few_videos([1] * 6), 5) == (5, "")
    assert evaluation_pairs.possible_negatives(few_videos([1] * 6), 9) == (6 - 1, "")
    with pytest.raises(ValueError, match="split 'train' of coded/small has a single clip"):
        evaluation_pairs.possible_negatives(few_videos([1]))
    monkeypatch.setattr(evaluation_pairs, "MANY_CLIPS", 5)
    unread = dataclasses.replace(few_videos([1] * 6), entry_offset=None, files=())  # whose videos cannot be read
    assert evaluation_pairs.possible_negatives(unread, 9) == (9, "")
