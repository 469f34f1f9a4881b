import fractions
import io
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from avlearn.data import cut, records, sample
from avlearn.data.sample import Sampling
from avlearn.types import InputSpec
from tests.helpers import synthetic_records

FRAME_TIMES_MS = tuple(range(0, 3000, 200))


def parsed(columns=599, frame_times_ms=FRAME_TIMES_MS):
    """Return records of one clip."""
    return {
        "clip_id": tf.constant(["clip"]),
        "frame_times_ms": tf.ragged.constant([frame_times_ms], tf.int64, row_splits_dtype=tf.int64),
        "log_spectrogram": pieces(synthetic_records.log_spectrogram(3, columns).tobytes()),
    }


def pieces(*values):
    """Return a large value of clips, one piece each, as in records that were read in full."""
    ragged = tf.ragged.constant([[value] for value in values], tf.string, row_splits_dtype=tf.int64)
    return records.LoadedPieces(ragged)


def frames_and_starts(draws, opened, offsets_ms=sample.ALIGNED_MS, columns=200):
    """Return the frame numbers and first audio columns of each draw, by clip."""
    here = sample.draw_moments(tf.constant(draws, tf.float64), opened, InputSpec(columns=columns), offsets_ms)
    return here.frame.numpy().tolist(), cut.start_column(here.audio_ms, columns, "l3").numpy().tolist()


def frame_and_start(draw, opened, offsets_ms=sample.ALIGNED_MS, columns=200):
    """Return the frame number and first audio column of one draw from one clip."""
    ((frame,),), ((start,),) = frames_and_starts([[draw]], opened, offsets_ms, columns)
    return frame, start


@pytest.mark.parametrize("columns", [199, 200])
def test_a_second_is_centred_on_its_frame(columns):
    # 200 t - 100: the frame at 1 s has columns 100 to 299, which cover samples 24,000 to 72,240 (or 72,000).
    assert [cut.start_column(ms, columns, "l3") for ms in (0, 500, 1000, 1040, 2200)] == [-100, 0, 100, 108, 340]


@pytest.mark.parametrize("front_end", ["l3", "lvs"])
def test_start_columns_are_exact_fractions_rounded_down(front_end):
    hop_seconds = {"l3": fractions.Fraction(1, 200), "lvs": fractions.Fraction(238, 16_000)}[front_end]
    times = np.arange(0, 10_000, 40)
    for columns in (199, 200):
        exact = [fractions.Fraction(int(ms), 1000) / hop_seconds - fractions.Fraction(columns, 2) for ms in times]
        assert cut.start_column(times, columns, front_end).tolist() == [math.floor(start) for start in exact]


@pytest.mark.parametrize("misalignment_seconds", [0.0, 0.1, 1.0])
def test_draws_are_uniform_over_all_moments_that_fit(misalignment_seconds):
    most = {0.0: 0, 0.1: 2, 1.0: 25}[misalignment_seconds]
    expected = []
    for number in range(15):
        for grid_steps in range(-most, most + 1):
            start = 40 * number - 100 + 8 * grid_steps
            if start >= 0 and start + 200 <= 599:
                expected.append((number, start))
    record, offsets_ms = parsed(), Sampling(misalignment_seconds=misalignment_seconds).offsets_ms
    # The middle of each of these equal parts of [0, 1).
    for k in range(0, len(expected), max(1, len(expected) // 50)):
        assert frame_and_start((k + 0.5) / len(expected), record, offsets_ms) == expected[k]
    assert frame_and_start(np.nextafter(1, 0), record, offsets_ms) == expected[-1]


@pytest.mark.parametrize("columns", [150, 199, 200, 599, 600])
@pytest.mark.parametrize("samples", [0, 1600, 7999, 24_000])
def test_audio_span_matches_brute_force(columns, samples):
    """Try every millisecond."""
    record = parsed() | {"waveform": pieces(bytes(2 * 23_990))}
    inputs = InputSpec(columns=columns, waveform_samples=samples, waveform_hz=8000)
    times = np.arange(-200, 3200)
    start = cut.start_column(times, columns, "l3")
    fits = (start >= 0) & (start + columns <= 599)
    if samples:
        start = cut.start_sample(times, samples, 8000)
        fits &= (start >= 0) & (start + samples <= 23_990)
    first, (last,) = (time.numpy() for time in cut.audio_span(record, inputs))
    assert ((times >= first) & (times <= last)).tolist() == fits.tolist()


def test_shifted_pairs_never_take_a_frame_whose_own_audio_does_not_fit():
    """Half of the pairs take a frame's own audio."""
    offsets_ms = Sampling(pairing="shifted", misalignment_seconds=0.0, shift_seconds=(0.4, 0.6)).offsets_ms
    every = sample.all_moments(parsed(), InputSpec(columns=200), offsets_ms)
    # Frames 3 to 12 have their own second within the clip; with 0.4 to 0.6 s of shift, to either side where it fits.
    expected = [
        (number, 200 * number + int(offset))
        for number in range(3, 13)
        for offset in offsets_ms
        if 0 <= 40 * number - 100 + offset // 5 <= 399
    ]
    assert list(zip(every.frame.numpy()[0].tolist(), every.audio_ms.numpy()[0].tolist(), strict=True)) == expected


def test_the_middle_draw_is_the_middle_frame_with_its_own_audio():
    draw = sample.MIDDLE[sample.Draw.MOMENT]
    # Frames 3 (0.6 s) to 12 (2.4 s) have their second within 599 columns (2.995 s): the sixth of ten.
    assert frame_and_start(draw, parsed()) == (8, 220)


def test_a_clip_too_short_for_a_cut_is_an_error():
    middle, offsets_ms = 0.5, Sampling().offsets_ms
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)no cut fits into the clip.*takes 1 frames, 200 c"):
        frame_and_start(middle, parsed(columns=199), offsets_ms)
    short = parsed(columns=199, frame_times_ms=(500,))
    assert frame_and_start(middle, short, offsets_ms, columns=199) == (0, 0)


def test_random_columns_reach_both_ends():
    for draw, expected in ((0.0, 0), (np.nextafter(1, 0), 399), (0.5, 200)):
        assert sample.random_columns(tf.constant([[draw]], tf.float64), parsed(), InputSpec()).numpy().tolist() == [
            [expected]
        ]


def test_a_cut_holds_the_right_columns():
    reader = records.FullRecords(lambda clip: clip, {}, ())
    first = tf.constant([[77, 0]], tf.int64) * cut.COLUMN_BYTES
    locations = parsed()["log_spectrogram"].cut(first, 199 * cut.COLUMN_BYTES)[0]
    found = cut.read_columns(reader, locations, 199, tf.constant(["some clip"])).numpy()
    full = synthetic_records.log_spectrogram(3)
    assert (found == [full[77:276], full[:199]]).all()


@pytest.mark.parametrize("first", [-1, 401])
def test_a_cut_beyond_the_value_is_refused(first):
    cell = parsed()["log_spectrogram"]
    cell.cut(tf.constant([[0, 400 * cut.COLUMN_BYTES]], tf.int64), 199 * cut.COLUMN_BYTES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="are not all within the values"):
        cell.cut(tf.constant([[0, first * cut.COLUMN_BYTES]], tf.int64), 199 * cut.COLUMN_BYTES)


def test_drawing_from_several_clips_is_drawing_from_each():
    sizes = [(599, FRAME_TIMES_MS), (399, FRAME_TIMES_MS[:10]), (230, FRAME_TIMES_MS)]
    sounds = [synthetic_records.log_spectrogram(3, columns).tobytes() for columns, _ in sizes]
    together = {
        "clip_id": tf.constant(["a", "b", "c"]),
        "frame_times_ms": tf.ragged.constant([times for _, times in sizes], tf.int64, row_splits_dtype=tf.int64),
        "log_spectrogram": pieces(*sounds),
    }
    draws = np.random.default_rng(0).random((3, 7))
    frames, starts = frames_and_starts(draws, together)
    for row, (columns, times) in enumerate(sizes):
        ((frame,), (start,)) = frames_and_starts(draws[row : row + 1], parsed(columns, times))
        assert (frames[row], starts[row]) == (frame, start)
    assert set(frames[1]) <= {3, 4, 5, 6, 7}
    assert len(set(frames[0])) > 3
    together["log_spectrogram"] = pieces(sounds[0], sounds[1][: 150 * cut.COLUMN_BYTES], sounds[2])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)no cut fits into the clip.*b'.*10.*150"):
        frames_and_starts(draws, together)


def jpeg(height, width):
    row, column = np.mgrid[:height, :width]
    pixels = np.stack([3 * row, 3 * column, np.full_like(row, 90)], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=97, subsampling=0)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(64, 80), (80, 64)])
def test_crops_are_squares_of_the_shorter_side_anywhere(size):
    draw = np.full(len(sample.Draw), 0.5)
    inputs = InputSpec(frame_pixels=56, crop_fraction=56 / 64)
    for top, left, corner in ((0, 0, (0, 0)), (0.999999, 0.999999, (size[0] - 56, size[1] - 56)), (0.5, 0, None)):
        draw[[sample.Draw.TOP, sample.Draw.LEFT]] = top, left
        window, shape = (x.numpy() for x in sample.crop_window(tf.constant(jpeg(*size)), tf.constant(draw), inputs))
        assert tuple(shape) == size
        assert tuple(window[2:]) == (56, 56)
        assert tuple(window[:2]) == (corner or ((size[0] - 56 + 1) // 2, 0))


def test_a_decoded_frame_is_a_crop_of_the_image():
    encoded = jpeg(64, 80)
    image = np.asarray(Image.open(io.BytesIO(encoded))).astype(int)
    frame = cut.decode_frame(tf.constant(encoded), tf.constant([5, 17, 40, 40]), 40).numpy()
    assert frame.dtype == np.uint8
    assert np.abs(frame - image[5:45, 17:57]).max() <= 2
    half = cut.decode_frame(tf.constant(encoded), tf.constant([5, 17, 40, 40]), 20).numpy()
    assert np.abs(half - image[5:45, 17:57].reshape(20, 2, 20, 2, 3).mean((1, 3))).max() <= 2


def test_draws_are_a_function_of_seed_worker_and_step():
    first = sample.draws(0, 1, 2, 8)
    assert first.shape == (8, len(sample.Draw))
    assert (first == sample.draws(0, 1, 2, 8)).all()
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3), (0, 2, 1)):
        assert not np.isin(sample.draws(*other, 8), first).any()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pairing", "all_positive", "pairing is 'all_positive'; --config.data.pairing takes avc, all_pairs,"),
        ("negatives", "hard", "--config.data.negatives takes on_grid, off_grid"),
        ("spectrogram_scaling", "log", "spectrogram_scaling is 'log'; .*ln_12"),
        ("misalignment_seconds", -1.0, "misalignment_seconds=-1.0 is out of range"),
        ("samples_per_clip", 0, "--config.data.samples_per_clip must be 1 or more"),
        ("volume", 1.0, "volume=1.0 is out of range"),
    ],
)
def test_values_that_are_not_allowed_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**{key: value})
