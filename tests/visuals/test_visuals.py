"""Test the audio, images, curves and tables of the report."""

import io
import re
import xml.etree.ElementTree as ElementTree

import av
import matplotlib
import numpy as np
import pytest

from avlearn.evaluation import registry
from avlearn.evaluators import pointing
from avlearn.media.log_spectrogram import log_spectrogram
from avlearn.visuals import (
    clip_selection,
    heatmap_overlay,
    localization,
    playable_audio,
    retrieval_grid,
    score_table,
    spectrogram_image,
    svg_chart,
    training_curves,
)


def sine(frequency_hz: float, amplitude: float = 0.5, sample_rate_hz: int = 48_000) -> np.ndarray:
    time = np.arange(sample_rate_hz) / sample_rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def decoded(mp3: bytes) -> tuple[np.ndarray, int]:
    with av.open(io.BytesIO(mp3)) as container:
        frames = list(container.decode(audio=0))
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


@pytest.mark.parametrize(("front_end", "rate"), [("l3", 48_000), ("lvs", 16_000)])
def test_a_tone_keeps_its_pitch_and_level(front_end: str, rate: int):
    reconstructed = playable_audio.waveform(log_spectrogram(sine(1000, 0.5, rate), front_end), front_end)
    samples, decoded_rate = decoded(playable_audio.mp3(reconstructed, rate))
    assert decoded_rate == rate
    assert samples.size / rate == pytest.approx(1, abs=0.06)
    peak_hz = np.abs(np.fft.rfft(samples)).argmax() * rate / samples.size
    assert peak_hz == pytest.approx(1000, abs=15)
    middle = samples[rate // 4 : 3 * rate // 4]
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.15)


def test_only_clipping_audio_is_turned_down():
    loud = playable_audio.waveform(log_spectrogram(sine(500)) + np.float32(4))
    assert np.abs(loud).max() == pytest.approx(playable_audio.PEAK)
    quiet = playable_audio.waveform(log_spectrogram(sine(500, 0.01)))
    assert np.abs(quiet[4800:-4800]).max() < 0.03


def test_a_wrong_front_end_is_refused():
    with pytest.raises(ValueError, match="'mel' is not one of l3, lvs"):
        playable_audio.waveform(np.zeros((200, 257), np.float32), "mel")
    with pytest.raises(ValueError, match=r"\(200, 64\).*257 bins"):
        playable_audio.waveform(np.zeros((200, 64), np.float32))


def test_spectrogram_image_has_time_to_the_right_and_frequency_upwards():
    spectrogram = np.full((200, 257), -20, np.float32)
    spectrogram[100:, 64] = 8.0  # a quarter of the highest frequency: half the height of the stretched axis
    image = spectrogram_image.draw(spectrogram, 128, 100).astype(int)
    assert image.shape == (128, 100, 3)
    rows, columns = np.nonzero(image.sum(axis=-1) > 300)
    assert set(rows) == {63}
    assert columns.min() == 50
    assert columns.max() == 99
    assert image[0, 0].sum() < 10


def test_selected_clips_are_the_first_of_evenly_spaced_classes():
    labels = np.zeros((6, 5), bool)  # class 3 does not occur
    labels[[0, 1, 2, 3, 4, 5], [4, 0, 1, 0, 2, 4]] = True
    labels[1, 1] = True  # has two classes, so class 0 takes another clip
    items = np.array([7, 0, 5, 9, 3, 2])
    assert clip_selection.one_per_class(labels, items, 4) == (3, 2, 4, 5)
    assert clip_selection.one_per_class(labels, items, 2) == (3, 5)
    assert clip_selection.one_per_class(labels, items, 9) == (3, 2, 4, 5)
    assert clip_selection.one_per_class(labels[[1]], items[[1]], 2) == (0,)


@pytest.mark.parametrize(("query_mode", "database_mode"), retrieval_grid.COMBINATIONS)
def test_grid_equals_brute_force(query_mode: str, database_mode: str):
    rng = np.random.default_rng(0)
    arrays = {
        "image_embedding": rng.normal(size=(30, 4)).astype(np.float32),
        "audio_embedding": rng.normal(size=(30, 4)).astype(np.float32),
        "labels": rng.random((30, 6)) < 0.3,
    }
    embedding = {"im": arrays["image_embedding"], "aud": arrays["audio_embedding"]}
    for row in retrieval_grid.grid(arrays, query_mode, database_mode, (3, 17, 29), count=5):
        query = embedding[query_mode][row.query].tolist()
        distance = {
            clip: sum((a - b) ** 2 for a, b in zip(query, embedding[database_mode][clip].tolist(), strict=True)) ** 0.5
            for clip in range(30)
            if query_mode != database_mode or clip != row.query
        }
        assert list(row.results) == sorted(distance, key=distance.get)[:5]
        assert list(row.correct) == [
            bool((arrays["labels"][row.query] & arrays["labels"][r]).any()) for r in row.results
        ]


def test_equally_near_clips_keep_the_order_of_rows():
    database = np.array([[1.0, 0], [0, 1], [0, 0], [0, -1]])
    assert retrieval_grid.nearest(np.zeros((1, 2)), database, 4).tolist() == [[2, 0, 1, 3]]


def test_overlay_is_coloured_where_the_probability_is_high_and_grey_elsewhere():
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[:] = (200, 100, 50)
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    heat_map = np.full((8, 8), -30.0, np.float32)
    heat_map[1, 6] = 30.0  # its centre is at (12, 52)
    image = heatmap_overlay.overlay(frame, heat_map).astype(int)
    assert (image[24:, :40] == grey).all()
    level = (1 - 1 / 16) ** 2  # bilinear, half a pixel from the centre of a cell of 8 pixels, in both directions
    colour = np.array(matplotlib.colormaps["plasma"](level)[:3]) * 255
    expected = (1 - heatmap_overlay.OPACITY * level) * grey + heatmap_overlay.OPACITY * level * colour
    np.testing.assert_allclose(image[12, 52], expected, atol=1.5)
    difference = np.abs(image - grey).sum(axis=-1)
    y, x = np.indices((64, 64))
    centre = [(difference * (axis + 0.5)).sum() / difference.sum() for axis in (y, x)]
    np.testing.assert_allclose(centre, (12, 52), atol=0.01)


def test_tint_follows_the_strength_of_the_map():
    frame = np.full((16, 16, 3), 120, np.uint8)
    weak, strong = (
        np.abs(heatmap_overlay.overlay(frame, np.full((4, 4), value)).astype(int) - 120).sum() for value in (-3.0, 3.0)
    )
    assert (heatmap_overlay.overlay(frame, np.full((4, 4), -12.0)) == 120).all()
    assert 0 < weak < strong / 8


def test_probability_is_the_logistic_function():
    log_odds = np.array([-800.0, -1, 0, 2, 800])
    np.testing.assert_allclose(
        heatmap_overlay.probability(log_odds), [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1], atol=1e-15
    )


def test_scale_runs_from_middle_grey_to_the_hottest_colour():
    scale = heatmap_overlay.scale(3)
    assert scale[0] == "rgb(128 128 128)"
    hottest = [int(number) for number in re.findall(r"\d+", scale[2])]
    np.testing.assert_allclose(hottest, 0.85 * np.array([240, 249, 33]) + 0.15 * 128, atol=1.5)  # the end of plasma
    assert len(scale) == 3


def test_mode_and_hit():
    heat_map = np.zeros((4, 8))
    heat_map[1, 6] = 1
    point = heatmap_overlay.mode(heat_map)
    assert point == (1.5 / 4, 6.5 / 8)
    inside, outside = [0.3, 0.7, 0.5, 0.9], [0.6, 0.1, 0.9, 0.5]
    padding = [np.nan] * 4
    sounding = np.array([False, True, True])
    assert heatmap_overlay.hit(point, np.array([outside, inside, padding]), sounding)
    assert not heatmap_overlay.hit(point, np.array([inside, outside, padding]), sounding)


def test_hits_agree_with_the_pointing_score():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-0.3, 1.3, size=(200, 3, 2, 2)), axis=2).clip(0, 1)
    boxes = np.where(rng.random((200, 3, 1)) < 0.3, np.nan, corners.reshape(200, 3, 4))
    arrays = {
        "heat_map": rng.normal(size=(200, 5, 7)),
        "boxes": boxes,
        "box_sounding": rng.random((200, 3)) < 0.5,
        "corresponds": np.arange(200) < 100,
        "image_item": np.tile(np.arange(100), 2),
    }
    rows = heatmap_overlay.visible_source_rows(arrays)
    hits = [
        heatmap_overlay.hit(heatmap_overlay.mode(arrays["heat_map"][row]), boxes[row], arrays["box_sounding"][row])
        for row in rows
    ]
    scored = pointing.evaluate(arrays, resamples=2)
    assert len(rows) == scored["items"]
    assert np.mean(hits) == pytest.approx(scored["accuracy"])


def test_mismatched_pairs_share_the_frame_and_no_class():
    box, outside, padding = [0.2, 0.2, 0.6, 0.6], [0.2, 1.1, 0.6, 1.4], [np.nan] * 4
    clips = {
        "boxes": np.array([[box, padding], [box, box], [outside, padding], [box, padding]]),
        "box_sounding": np.array([[True, False], [False, True], [True, False], [True, False]]),
        "labels": np.array([[1, 0], [0, 1], [1, 0], [1, 0]], bool),
    }
    arrays = {name: np.concatenate([values, values]) for name, values in clips.items()}
    arrays["image_item"] = np.tile([10, 11, 12, 13], 2)
    arrays["audio_item"] = np.array([10, 11, 12, 13, 11, 13, 11, 12])
    arrays["corresponds"] = np.arange(8) < 4
    assert heatmap_overlay.visible_source_rows(arrays).tolist() == [0, 1, 3]
    # Row 6 shows no sounding object; row 7 has the audio of a clip of the same class.
    assert heatmap_overlay.mismatched(arrays).tolist() == [[0, 4], [1, 5]]


def test_curves_are_in_proportion():
    values = (0.2, 0.4, 0.8)
    metrics = [{"step": step, "validation/loss": value} for step, value in zip((100, 200, 300), values, strict=True)]
    svg = training_curves.curves({"a": [*metrics, {"step": 250, "train/loss": 0.5}]}, training_curves.LOSS)
    paths = [
        np.array([float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]).reshape(-1, 2)
        for path in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")
        if f"stroke: {svg_chart.colour(0)}; stroke-width: 2" in path.get("style", "")
    ]
    (line,) = paths
    assert line.shape == (3, 2)
    x, y = line.T
    assert x[1] - x[0] == pytest.approx(x[2] - x[1])
    assert (y[0] - y[1]) / (y[1] - y[2]) == pytest.approx(0.5, abs=1e-4)  # upwards, in proportion
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', svg)) <= set(ids)


@pytest.mark.parametrize(
    ("pairings", "drawn"),
    [(["contrast"], False), (["labelled"], False), (["shifted"], True), (["contrast", "avc"], True)],
)
def test_ln_2_is_drawn_only_for_losses_on_single_pairs(pairings, drawn):
    loss, *others = training_curves.select_charts(pairings)
    assert [chart.level for chart in others] == [0.5, 0.5]
    svg = training_curves.curves({"a": [{"step": step, "train/loss": 2.0} for step in (1, 2)]}, loss)
    assert ("stroke-dasharray" in svg) == (loss.level is not None) == drawn


def test_points_skip_rows_without_the_key():
    rows = [{"step": 1, "train/loss": 0.7}, {"step": 2, "validation/loss": 0.6}, {"step": 3, "train/loss": 0.5}]
    assert training_curves.points(rows, "train/loss") == ([1, 3], [0.7, 0.5])


def test_table_shows_each_score_beside_its_baseline():
    combinations = ("im-im", "im-aud", "aud-im", "aud-aud")
    results = {
        "avc_accuracy": {
            "accuracy": 0.8125,
            "accuracy_interval": [0.75, 0.875],
            "predicted_positive": 0.5,
            "baselines": {"chance": 0.5, "constant": 0.5},
            "items": 64,
            "items_expected": 64,
        },
        "ndcg": {
            **dict(zip(combinations, (0.5, 0.25, 0.375, 0.625), strict=True)),
            "baselines": {"chance": dict(zip(combinations, (0.1, 0.2, 0.3, 0.4), strict=True))},
            "k": 30,
            "items": 32,
            "items_expected": 32,
        },
        "pointing": {
            "accuracy": 0.75,
            "mean_maximum_matched": 0.9,
            "mean_maximum_mismatched": 0.125,
            "baselines": {"centre": 0.25, "random_cell": 0.1},
            "items": 28,
            "without_sounding_box": 4,
            "items_expected": 32,
        },
    }
    results["avc_accuracy"] |= {"dataset": "esc50/all", "split": "fold1"}
    by_run = {"avolnet": results, "l3net": {"avc_accuracy": results["avc_accuracy"]}}
    assert score_table.table(by_run, registry.table_rows(by_run)) == (
        "network  dataset          score                         value  baseline          baseline's value  items\n"
        "-------  ---------------  ----------------------------  -----  ----------------  ----------------  -----\n"
        "avolnet  esc50/all/fold1  AVC accuracy                  0.812  chance            0.500             64/64\n"
        "avolnet  not stated       nDCG@30 image → image         0.500  chance            0.100             32/32\n"
        "avolnet  not stated       nDCG@30 image → audio         0.250  chance            0.200             32/32\n"
        "avolnet  not stated       nDCG@30 audio → image         0.375  chance            0.300             32/32\n"
        "avolnet  not stated       nDCG@30 audio → audio         0.625  chance            0.400             32/32\n"
        "avolnet  not stated       Pointing accuracy             0.750  centre            0.250             28/32\n"
        "avolnet  not stated       Mean maximum of the heat map  0.900  mismatched sound  0.125             32/32\n"
        "l3net    esc50/all/fold1  AVC accuracy                  0.812  chance            0.500             64/64"
    )
    first = next(score_table.scores(by_run, registry.table_rows(by_run)))
    assert first.interval == (0.75, 0.875)


def test_table_finds_nested_figures_and_their_baselines():
    level = {"4 of 5": {"units": 7.0, "classes": 1.0}, "3 of 5": {"units": 9.0, "classes": 12.0}}
    at_random = {"4 of 5": {"units": 0.5, "classes": 0.25}, "3 of 5": {"units": 4.0, "classes": 3.0}}
    counted = {"items": 10, "items_expected": 12}
    results = {
        "negatives": {
            "all": {"average_precision": 0.75, "max_f1": 0.5},
            "silence": None,
            "baselines": {"constant": {"average_precision": 0.25, "max_f1": 0.125}},
            **counted,
        },
        "iiou": {"iiou": 0.25, "iiou_interval": [0.1, 0.4], "baselines": {"centre": {"iiou": 0.0}}, **counted},
        "unit_preference": {"audio": level, "baselines": {"random": {"audio": at_random}}, **counted},
    }
    given = ({"run": results}, registry.table_rows({"run": results}))
    rows = [line.split("  ") for line in score_table.table(*given).splitlines()[2:]]
    assert [[cell.strip() for cell in row if cell] for row in rows] == [
        ["run", "not stated", "Average precision with negatives", "0.750", "constant confidence", "0.250", "10/12"],
        ["run", "not stated", "Greatest F1 with negatives", "0.500", "constant confidence", "0.125", "10/12"],
        ["run", "not stated", "IIoU", "0.250", "centre disc", "0.000", "10/12"],
        ["run", "not stated", "Classes with 4 of 5 clips of a sound unit", "1.0", "random ranking", "0.2", "10/12"],
        ["run", "not stated", "Classes with 3 of 5 clips of a sound unit", "12.0", "random ranking", "3.0", "10/12"],
    ]
    assert [score.interval for score in score_table.scores(*given)][2] == (0.1, 0.4)


def test_animated_clips_show_a_sounding_object():
    boxes = np.full((8, 1, 4), np.nan)
    boxes[[0, 2, 3, 4, 5]] = (0.0, 0.0, 0.5, 0.5)
    arrays = {
        "image_item": np.array([4, 1, 2, 3, 0, 7, 6, 5]),
        "corresponds": np.array([1, 1, 1, 1, 1, 0, 1, 1], bool),
        "labels": np.eye(3, dtype=bool)[[0, 0, 1, 1, 2, 2, 2, 1]],
        "boxes": boxes,
        "box_sounding": np.ones((8, 1), bool),
        "heat_map": np.zeros((8, 2, 2)),
    }
    assert localization.select_animated(arrays, 5) == [4, 2, 0]  # the first clip of each class, in label order
    assert localization.select_animated(arrays, 2) == [4, 0]
    assert localization.select_animated(arrays, 0) == []
    # Without boxes, all clips are candidates.
    assert localization.select_animated({**arrays, "boxes": np.full((8, 1, 4), np.nan)}, 5) == [1, 2, 0]
    del arrays["heat_map"]
    assert localization.select_animated(arrays, 5) == []
