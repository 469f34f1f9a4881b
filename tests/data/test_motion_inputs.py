"""Several frames, optical flow and waveform are cut from one moment, by one window, and flipped together."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import tensorflow as tf
from test_sample import jpeg

from avlearn.data import augment, built_dataset, cut, evaluation_pairs, pipeline, sample
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec
from tests.helpers import synthetic_records

INPUTS = InputSpec(
    frame_pixels=24, crop_fraction=24 / 32, frames=5, flow_fields=4, waveform_samples=8000, waveform_hz=8000
)
PLAIN = Sampling(flip=False, brightness=0.0, saturation=0.0, volume=0.0)


def open_split(name="train", config="motion"):
    return built_dataset.open_split(f"coded/{config}", synthetic_records.data_dir(config), name)


def joined(sampling, inputs=INPUTS, steps=8):
    """Return fields of some training batches, one row per pair."""
    stream = synthetic_records.training_batches(
        open_split(), inputs, sampling, seed=0, num_workers=1, batch_per_worker=8, workers=(0,)
    )
    batches = list(itertools.islice(stream, steps))
    names = ("frames", "flow", "waveform", "log_spectrogram", "corresponds")
    return {name: np.concatenate([getattr(batch, name)[0] for batch in batches]) for name in names}


@pytest.fixture(scope="module")
def plain():
    return joined(PLAIN)


def test_shapes_are_those_of_the_inputs(plain):
    assert plain["frames"].shape[1:] == INPUTS.frame_shape == (5, 24, 24, 3)
    assert plain["flow"].shape[1:] == INPUTS.flow_shape == (24, 24, 8)
    assert plain["waveform"].shape[1:] == (8000,)
    assert [plain[name].dtype for name in ("frames", "flow", "waveform")] == [np.uint8, np.uint8, np.float32]


def field_numbers(flow):
    """Return the numbers of the fields `[pairs, fields]`; each field is constant."""
    down = flow[..., 1::2].astype(int)
    assert np.ptp(down, axis=(1, 2)).max() <= 4
    return np.rint(down.mean((1, 2)) / synthetic_records.LEVEL).astype(int)


def test_frames_and_flow_are_consecutive_and_centred_on_one_frame(plain):
    _, numbers = synthetic_records.decode_frames(plain["frames"])
    middle = numbers[:, 2]
    assert (numbers == middle[:, None] + [-2, -1, 0, 1, 2]).all()
    # Four fields from the two frames before the middle to the two after it.
    assert (field_numbers(plain["flow"]) == middle[:, None] + [-2, -1, 0, 1]).all()
    assert set(middle) == set(range(2, 13))  # frames, fields and some audio around each lie in the clip


def test_spectrogram_and_waveform_are_of_one_moment_on_the_grid(plain):
    _, start = synthetic_records.decode_columns(plain["log_spectrogram"])
    samples = np.rint(plain["waveform"] * 32767).astype(int)
    assert (np.diff(samples, axis=1) == 1).all()
    # Column 0 begins at 0 s: 200 columns and 8,000 samples are a second each; a column is 40 samples.
    assert (samples[:, 0] == 40 * start).all()
    _, numbers = synthetic_records.decode_frames(plain["frames"])
    away = (start - (40 * numbers[:, 2] - 100))[plain["corresponds"]]
    assert (away % 8 == 0).all()
    assert (np.abs(away) <= 200).all()


def test_a_negative_takes_the_waveform_of_its_partner(plain):
    frame_clip, _ = synthetic_records.decode_frames(plain["frames"])
    audio_clip, _ = synthetic_records.decode_columns(plain["log_spectrogram"])
    assert ((audio_clip == frame_clip[:, 0]) == plain["corresponds"]).all()


def test_evaluation_takes_the_middle():
    batches = evaluation_pairs.batches(open_split("test"), INPUTS, PLAIN, pairing="all_positive", batch_size=8)
    batch, _ = next(batches)
    assert batch.frames.shape == (8, 5, 24, 24, 3)
    _, numbers = synthetic_records.decode_frames(batch.frames[:7])
    assert (numbers == [6, 7, 8, 9, 10]).all()
    assert (field_numbers(batch.flow[:7]) == [6, 7, 8, 9]).all()
    assert (np.rint(batch.waveform[:7, 0] * 32767) == 40 * 220).all()
    frames, _ = evaluation_pairs.examples(open_split("test"), INPUTS, [3])
    assert synthetic_records.decode_frames(frames)[1].tolist() == [8]


@pytest.mark.parametrize(
    ("pairing", "changed"),
    [("shifted", {}), ("avc", {"frames": 1, "flow_fields": 0, "waveform_samples": 0, "pool": 4}), ("labelled", {})],
)
def test_shapes_of_a_raw_batch_are_those_of_the_pipeline(pairing, changed):
    classes = len(open_split().class_ids) if pairing == "labelled" else 0
    inputs = dataclasses.replace(INPUTS, classes=classes, **changed)
    sampling = dataclasses.replace(PLAIN, pairing=pairing, misalignment_seconds=0.0, shift_seconds=(0.2, 0.4))
    settings = {"seed": 0, "num_workers": 2, "batch_per_worker": 4, "workers": [0, 1]}
    batch = next(pipeline.training_batches(open_split(), inputs, sampling, **settings))
    shapes = augment.raw_batch_shapes(inputs, (2, 4))
    assert jax.tree.structure(batch) == jax.tree.structure(shapes)
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(batch)] == [(a.shape, a.dtype) for a in jax.tree.leaves(shapes)]


def test_an_even_number_of_frames_is_centred_between_two():
    inputs = dataclasses.replace(INPUTS, frames=4, flow_fields=0)
    clips = [range(0, 3000, 200), range(0, 1000, 200)]
    times = tf.ragged.constant([list(each) for each in clips], tf.int64, row_splits_dtype=tf.int64)
    frame_ms, centres, complete = (values.numpy() for values in sample.image_centres({"frame_times_ms": times}, inputs))
    # The first cut of the first clip has frames 0 to 3 (0 to 0.6 s), the last has 11 to 14.
    assert [np.flatnonzero(each).tolist() for each in complete] == [list(range(2, 14)), [2, 3]]
    assert (centres[complete] == frame_ms[complete] - 100).all()
    assert (frame_ms[0] == 200 * np.arange(15)).all()


def test_a_flip_mirrors_all_frames_and_negates_horizontal_motion(plain):
    flipped = joined(dataclasses.replace(PLAIN, flip=True))
    across, was = flipped["flow"][..., ::2].astype(int), plain["flow"][..., ::2].astype(int)
    turned = (across != was).any((1, 2, 3))
    assert 0.25 < turned.mean() < 0.75
    # 20 pixels to the right are 255 and to the left 0, so the opposite of a value is 255 less it.
    assert (across[turned] == 255 - was[turned, :, ::-1]).all()
    down, was_down = flipped["flow"][..., 1::2], plain["flow"][..., 1::2]
    assert (down[turned] == was_down[turned, :, ::-1]).all()
    assert (across[~turned] == was[~turned]).all()


def test_colours_change_alike_in_all_frames_of_a_pair(plain):
    changed = joined(dataclasses.replace(PLAIN, brightness=0.1))
    shift = changed["frames"][..., 0, 0, 2].astype(int) - plain["frames"][..., 0, 0, 2]
    assert (np.ptp(shift, axis=1) <= 1).all()
    assert len(set(shift[:, 0])) > 8


def test_volume_changes_waveform_and_spectrogram_alike(plain):
    loud = joined(dataclasses.replace(PLAIN, volume=0.2))
    factor = loud["waveform"][:, -1] / plain["waveform"][:, -1]
    in_ln_power = 12 * (loud["log_spectrogram"] - plain["log_spectrogram"]).mean((1, 2))
    np.testing.assert_allclose(np.exp(in_ln_power / 2), factor, rtol=1e-3)
    assert np.ptp(factor) > 0.2


@pytest.mark.parametrize("pixels", [40, 20])
def test_frames_and_flow_are_cut_by_one_window(pixels):
    """Both images encode their row and column, so the cuts must encode the same."""
    image = jpeg(64, 80)  # red: 3 x row, green: 3 x column
    row, column = np.mgrid[:64, :80]
    fields = np.concatenate([3 * column, 3 * row]).astype(np.uint8)[..., None]
    flow = tf.io.encode_jpeg(fields, quality=98)
    encoded = {"frames": tf.stack([image] * 3), "optical_flow": tf.stack([flow] * 2)}
    inputs = InputSpec(frame_pixels=pixels, frames=3, flow_fields=2)
    shown = cut.decode_images(encoded, tf.constant([5, 17, 40, 40]), inputs)
    assert shown["frames"].shape == (3, pixels, pixels, 3)
    assert shown["flow"].shape == (pixels, pixels, 4)
    first, values = shown["frames"].numpy()[0].astype(int), shown["flow"].numpy().astype(int)
    for channel, colour in ((0, 1), (1, 0), (2, 1), (3, 0)):
        assert np.abs(values[..., channel] - first[..., colour]).max() <= 4
    # In pixels of the stored frame: resizing to half the side leaves the values as they were.
    assert abs(values[0, 0, 0] - 3 * (17 + (40 / pixels - 1) / 2)) <= 3


@pytest.mark.parametrize(
    ("config", "inputs", "message"),
    [
        (
            "small",
            {"flow_fields": 10},
            r"coded/small stores no optical flow.*takes 10 fields .*instruments_flow",
        ),
        (
            "small",
            {"waveform_samples": 8000, "waveform_hz": 8000},
            r"coded/small stores no waveform, .*waveform_hz=8000.*synthetic_av/in_time",
        ),
        (
            "motion",
            {"waveform_samples": 21_000, "waveform_hz": 21_000},
            "stores the waveform at 8000 Hz, but the network takes it at 21000 Hz",
        ),
        ("small", {"frames": 25}, r"holds 5 frames per second.*option frames_per_second=25, or use .*frames=5"),
        ("small", {"frames": 15, "columns": 600}, r"no cut fits into the clip.*15 frames, 600 columns.*min_seconds"),
        ("motion", {"flow_fields": 15}, r"no cut fits into the clip.*1 frames, 15 fields of flow"),
    ],
)
def test_a_dataset_without_the_inputs_is_refused_before_the_first_batch(config, inputs, message):
    with pytest.raises(ValueError, match=message):
        synthetic_records.training_batches(
            open_split(config=config),
            InputSpec(frame_pixels=24, **inputs),
            PLAIN,
            seed=0,
            num_workers=1,
            batch_per_worker=8,
            workers=(0,),
        )


def test_waveforms_are_cut_on_the_grid_only():
    with pytest.raises(ValueError, match="negatives='off_grid' cuts log-spectrograms only"):
        joined(dataclasses.replace(PLAIN, negatives="off_grid"))


SHIFTED = dataclasses.replace(PLAIN, pairing="shifted", misalignment_seconds=0.0, shift_seconds=(0.5, 1.5))
SHORT = dataclasses.replace(INPUTS, frames=1, flow_fields=0, columns=100, waveform_samples=4000)


def test_shifted_pairs_take_the_audio_of_another_moment_of_their_clip():
    stream = synthetic_records.training_batches(
        open_split(), SHORT, SHIFTED, seed=0, num_workers=1, batch_per_worker=8, workers=(0,)
    )
    batches = [next(stream) for _ in range(40)]
    frame_clip, number = synthetic_records.decode_frames(np.concatenate([batch.frames[0] for batch in batches]))
    audio_clip, start = synthetic_records.decode_columns(
        np.concatenate([batch.log_spectrogram[0] for batch in batches])
    )
    samples = np.rint(np.concatenate([batch.waveform[0, :, 0] for batch in batches]) * 32767).astype(int)
    corresponds = np.concatenate([batch.corresponds[0] for batch in batches])
    assert corresponds.tolist() == [True, False] * 160
    assert (frame_clip == audio_clip).all()
    assert (samples == 40 * start).all()
    # As in the released code, each moment comes twice: with its own audio, and with that of another moment.
    assert (frame_clip[::2] == frame_clip[1::2]).all()
    assert (number[::2] == number[1::2]).all()
    assert len({*zip(frame_clip, number, strict=True)}) > 100
    shift = start - (40 * number - 50)  # columns of 5 ms; half a second around the frame
    assert (shift[corresponds] == 0).all()
    away = np.abs(shift[~corresponds])
    assert (away.min(), away.max()) == (104, 296)  # multiples of 0.04 s between 0.5 and 1.5 s
    assert {*np.sign(shift[~corresponds])} == {-1, 1}


def test_evaluation_of_shifted_pairs_takes_a_moment_of_each_clip_twice():
    def rows(**options):
        stream = evaluation_pairs.batches(
            open_split("test"), SHORT, SHIFTED, pairing="shifted", batch_size=14, **options
        )
        return next(stream)

    batch, annotations = rows()
    frame_clip, number = synthetic_records.decode_frames(batch.frames)
    audio_clip, start = synthetic_records.decode_columns(batch.log_spectrogram)
    assert batch.corresponds.tolist() == [True] * 7 + [False] * 7
    assert (frame_clip == audio_clip).all()
    assert (annotations["image_item"] == annotations["audio_item"]).all()
    assert (number[:7] == number[7:]).all()
    shift = start - (40 * number - 50)
    assert (shift[:7] == 0).all()
    assert ((np.abs(shift[7:]) >= 100) & (np.abs(shift[7:]) <= 300)).all()
    assert len(set(number[:7])) > 2
    assert (rows(seed=1)[0].log_spectrogram != batch.log_spectrogram).any()
    assert (rows()[0].log_spectrogram == batch.log_spectrogram).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift_seconds": (0.0, 1.0)}, r"shift_seconds=\(0.0, 1.0\) is out of range"),
        ({"shift_seconds": (2.0, 1.0)}, "must be the smallest and the largest distance"),
        ({"misalignment_seconds": 1.0}, r"would shift what pairing='shifted' calls aligned; .*misalignment_seconds=0"),
    ],
)
def test_shifts_that_are_not_allowed(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SHIFTED, **change)


def test_clips_too_short_to_shift_are_refused_before_the_first_batch():
    far = dataclasses.replace(SHIFTED, shift_seconds=(2.8, 5.8))
    with pytest.raises(ValueError, match=r"no cut fits into the clip.*min_seconds"):
        synthetic_records.training_batches(
            open_split(), SHORT, far, seed=0, num_workers=1, batch_per_worker=8, workers=(0,)
        )
