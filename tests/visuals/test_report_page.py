"""Test the report page: that it needs no other file, and shows the right clips, boxes and audio."""

import base64
import dataclasses
import io
import json
import pathlib
import re

import av
import numpy as np
import pytest

from avlearn.evaluation import registry
from avlearn.media.log_spectrogram import log_spectrogram
from avlearn.visuals import clip_selection, report_page, retrieval_grid
from avlearn.visuals.album import jpeg
from avlearn.visuals.tri_map_overlay import Thresholds
from configs import base
from tests.helpers.html_page import Page, check_self_contained

CLASSES = ["Piano", "Violin, fiddle", "Drill", "Gong"]
CLIPS = 12


def examples(items):
    """Return frames of one colour and tones, different for each item."""
    frames = np.stack([np.full((32, 32, 3), 20 * item, np.uint8) for item in items])
    time = np.arange(24_000) / 48_000
    tones = [0.1 * np.sin(2 * np.pi * (200 + 100 * item) * time) for item in items]
    return frames, np.stack([log_spectrogram(tone.astype(np.float32)) for tone in tones])


def clips_once() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    boxes = np.full((CLIPS, 2, 4), np.nan)
    boxes[:, 0] = (0.125, 0.25, 0.5, 0.75)
    boxes[3, 1] = (0.5, 0.0, 1.0, 0.25)
    return {
        "image_item": np.arange(CLIPS),
        "audio_item": np.arange(CLIPS),
        "corresponds": np.ones(CLIPS, bool),
        "labels": np.arange(CLIPS)[:, None] % 4 == np.arange(4)[None, :],
        "image_embedding": rng.normal(size=(CLIPS, 3)).astype(np.float32),
        "audio_embedding": rng.normal(size=(CLIPS, 3)).astype(np.float32),
        "boxes": boxes,
        "box_label": np.where(np.isnan(boxes[..., 0]), -1, 2),
        "box_sounding": np.tile([True, False], (CLIPS, 1)),
    }


@dataclasses.dataclass(frozen=True)
class Moments:
    """Four moments of a clip: frames of its colour, and a tone."""

    times_ms: np.ndarray
    frames_per_second: float
    frames: np.ndarray
    log_spectrogram: np.ndarray


def load_moments(item: int) -> Moments:
    frames, spectrograms = examples([item])
    return Moments(np.arange(4) * 200 + 600, 5.0, np.repeat(frames, 4, axis=0), np.repeat(spectrograms[0], 2, axis=0))


def run(name: str = "avolnet", *, heat_map: np.ndarray | None = None, **changes) -> report_page.Run:
    once = clips_once()
    pairs = {key: np.concatenate([value, value]) for key, value in once.items()}
    pairs["audio_item"] = np.concatenate([np.arange(CLIPS), (np.arange(CLIPS) + 1) % CLIPS])
    pairs["corresponds"] = np.arange(2 * CLIPS) < CLIPS
    if heat_map is not None:
        pairs["heat_map"] = heat_map
    accuracy = {"accuracy": 0.75, "baselines": {"chance": 0.5}, "items": 24, "items_expected": 24}
    fields = {
        "name": name,
        "config": base.get_config().to_dict(),
        "results": {"avc_accuracy": accuracy},
        "table_rows": registry.table_rows({name: {"avc_accuracy": accuracy}}),
        "metrics": [{"step": 1, "train/loss": 0.69}, {"step": 2, "validation/loss": 0.6}],
        "arrays": {"all_positive": once, "avc": pairs},
        "class_names": CLASSES,
        "examples": examples,
        "load_moments": load_moments,
    }
    return report_page.Run(**{**fields, **changes})


def maps() -> np.ndarray:
    """Return matched maps that peak at cell (1, 2) of 4 x 4, except item 0, and empty mismatched maps."""
    heat_map = np.full((2 * CLIPS, 4, 4), -9, np.float32)
    heat_map[1:CLIPS, 1, 2] = 4
    heat_map[0, 3, 0] = 4
    return heat_map


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    runs = [run("avolnet", heat_map=maps()), run("<b>avenet</b> & co")]
    file = report_page.write(tmp_path_factory.mktemp("run") / "report", runs, "Objects & <sounds>")
    assert file.name == "index.html"
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def sounds_of(text: str) -> dict[str, str]:
    return json.loads(re.search(r'<script id="sounds" type="application/json">(.*?)</script>', text).group(1))


def test_page_needs_no_other_file(text, page):
    check_self_contained(text, page)


def test_names_are_escaped(text):
    assert "Objects &amp; &lt;sounds&gt;" in text
    assert "&lt;b&gt;avenet&lt;/b&gt; &amp; co" in text
    assert "<b>avenet" not in text


def test_ids_are_unique_and_links_have_targets(page):
    ids = [a["id"] for elements in page.elements.values() for a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.elements["a"]} <= set(ids)


def test_every_sound_is_stored_once(text, page):
    sounds = sounds_of(text)
    buttons = [a["data-sound"] for a in page.elements["button"]]
    assert set(buttons) == set(sounds)
    assert len(buttons) > len(sounds)
    assert len(sounds) <= CLIPS  # two runs share one split
    assert all(sound.startswith("data:audio/mpeg;base64,") for sound in sounds.values())
    assert len(set(sounds.values())) == len(sounds)


def test_grids_show_the_nearest_clips(text, page):
    arrays = clips_once()
    queries = clip_selection.one_per_class(arrays["labels"], arrays["image_item"], report_page.QUERIES)
    assert queries == (0, 1, 2, 3)
    rows = [
        row
        for query, database in retrieval_grid.COMBINATIONS
        for row in retrieval_grid.grid(arrays, query, database, queries, report_page.RESULTS)
    ]
    expected = [item for row in rows for item in (row.query, *row.results)] * 2  # two runs have the same arrays
    frames = [jpeg(frame) for frame in examples(range(CLIPS))[0]]
    figures = re.findall(r'<figure class="(?:query|result).*?</figure>', text, re.DOTALL)
    items = [frames.index(re.findall('src="(.*?)"', figure)[-1]) for figure in figures]
    assert items == expected
    keys = [
        (item, key) for item, figure in zip(items, figures, strict=True) for key in re.findall('sound="(.*?)"', figure)
    ]
    assert len(keys) == len(expected) / 2
    assert len(set(keys)) == len(dict(keys)) == len({key for _, key in keys})  # each item has its own audio
    assert len(page.of_class("figure", "correct")) == 2 * sum(sum(row.correct) for row in rows)


def test_boxes_are_in_place(page):
    lines = page.of_class("rect", "line")
    sounding = {
        tuple(float(a[key]) for key in ("x", "y", "width", "height")) for a in lines if "sounding" in a["class"]
    }
    assert sounding == {(0.25, 0.125, 0.5, 0.375)}
    silent = {tuple(float(a[key]) for key in ("x", "y", "width", "height")) for a in lines if "silent" in a["class"]}
    assert silent == {(0.0, 0.5, 0.25, 0.5)}


def test_hits_and_misses_are_marked(page):
    assert len(page.of_class("figure", "localization")) == len(CLASSES)
    assert len(page.of_class("strong", "miss")) == 1
    assert len(page.of_class("strong", "hit")) == len(CLASSES) - 1
    rings = [a["style"] for a in page.of_class("i", "ring")]
    assert rings == ["left: 12.50%; top: 87.50%"] + ["left: 62.50%; top: 37.50%"] * (len(CLASSES) - 1)


def test_mismatched_maps_are_next_to_matched_ones(text, page):
    assert len(page.of_class("div", "triplet")) == len(CLASSES)
    assert text.count("maximum&nbsp;0.98") == len(CLASSES)  # 1 / (1 + exp(-4))
    assert text.count("maximum&nbsp;0.00") == len(CLASSES)


def test_settings_in_which_runs_differ_are_listed(text, tmp_path):
    assert "Settings in which the runs differ" not in text
    other = run("longer")
    other.config["train"] = {**other.config["train"], "steps": 7}
    page = report_page.write(tmp_path, [run("short"), other], "Runs").read_text(encoding="utf-8")
    rows = re.search(r"Settings in which the runs differ.*?<tbody>(.*?)</tbody>", page, re.DOTALL)[1]
    assert re.findall(r"<td>(.*?)</td>", rows) == ["train.steps", "100000", "7"]


def test_sections_that_only_some_networks_have(text, tmp_path):
    assert not re.search(r'id="(map|tri-map)"|href="#(map|tri-map)"', text)
    rng = np.random.default_rng(1)
    positions = {f"tsne_{mode}_position": rng.normal(size=(CLIPS, 2)) for mode in ("image", "audio")}
    # One of 16 cells is positive; log-odds of -9 are a cosine of 0.38, which is negative.
    lvs = run("lvs", heat_map=maps(), thresholds=Thresholds(0.65, 0.4, 0.03))
    lvs.arrays["all_positive"].update(positions)
    page = report_page.write(tmp_path, [lvs, run("avenet", heat_map=maps())], "Two").read_text(encoding="utf-8")
    check_self_contained(page, Page(page))
    assert page.count('class="triplet tri-map"') == len(CLASSES)
    assert page.count("positive&nbsp;6&nbsp;%, ignored&nbsp;0&nbsp;%, negative&nbsp;94&nbsp;%") == len(CLASSES)
    assert page.count('class="chart map"') == 1
    assert page.count('id="map0-PathCollection') == 2 * len(CLASSES)  # images and audio


def moments_of(*items: int) -> dict[str, np.ndarray]:
    """Return heat maps of the four moments of these clips: all are empty except the third."""
    maps = np.full((4 * len(items), 4, 4), -9.0)
    maps[2::4] = 9.0
    return {
        "image_item": np.repeat(items, 4),
        "time_ms": np.tile(np.arange(4) * 200 + 600, len(items)),
        "heat_map": maps,
    }


def test_animations_play_on_the_page(text, tmp_path):
    assert not re.search(r'id="animations"|href="#animations"|<video', text)
    complete = run(heat_map=maps())
    complete.arrays["moments"] = moments_of(5, 2)
    page = report_page.write(tmp_path, [complete], "One").read_text(encoding="utf-8")
    check_self_contained(page, Page(page))
    videos = Page(page).elements["video"]
    buttons = [button["aria-label"] for button in Page(page).elements["button"] if "data-animation" in button]
    assert buttons == ["Play the animation of: Violin, fiddle", "Play the animation of: Drill"]
    content = base64.b64decode(videos[0]["src"].removeprefix("data:video/mp4;base64,"))
    with av.open(io.BytesIO(content)) as container:
        images = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(images) == 4
    left, right = (np.stack([frame[96, column] for frame in images]) for column in (96, 288))
    np.testing.assert_allclose(left, 20 * 5, atol=6)  # the clip's own grey
    coloured = np.abs(right - left).sum(axis=1) > 60
    assert coloured.tolist() == [False, False, True, False]


def test_moments_that_differ_from_the_maps_are_refused(tmp_path):
    complete = run(heat_map=maps())
    complete.arrays["moments"] = moments_of(5) | {"time_ms": np.arange(4)}
    with pytest.raises(ValueError, match=r"frames of clip 5 differ from .*evaluate the run again"):
        report_page.write(tmp_path, [complete], "One")


def units() -> dict[str, np.ndarray]:
    """Return two units: one for Piano, active in the left half of its clips, one for Drill, in the right half."""
    level = np.zeros((10, 2, 2), np.float32)
    level[:5, :, 0] = 1
    level[5:, :, 1] = 1
    return {
        "unit": np.repeat([7, 31], 5),
        "label": np.repeat([0, 2], 5),
        "agreement": np.repeat([5, 3], 5),
        "activation": np.tile(np.array([8, 6, 4, 2, 1], np.float32), 2),
        "item": np.array([0, 4, 8, 1, 2, 2, 6, 10, 0, 1]),
        "map": level,
    }


def test_units_are_shown_with_their_strongest_clips(text, tmp_path):
    assert not re.search(r'id="units"|href="#units"', text)
    level = {"4 of 5": {"units": 12.0, "classes": 5.0}, "3 of 5": {"units": 30.0, "classes": 6.0}}
    chance = {"4 of 5": {"units": 0.25, "classes": 0.2}, "3 of 5": {"units": 2.0, "classes": 1.0}}
    preference = {"image": level, "baselines": {"random": {"image": chance}}, "units": {"image": 128}, "items": 12}
    complete = run(results={"unit_preference": preference | {"items_expected": 12}})
    complete.arrays.update(image_units=units(), audio_units=units())
    page = report_page.write(tmp_path, [complete], "One").read_text(encoding="utf-8")
    check_self_contained(page, Page(page))
    words = " ".join("".join(Page(page).text).split())
    assert words.count("Piano 5 of 5 unit 7") == words.count("Drill 3 of 5 unit 31") == 2
    assert "Of 128 units, 12 have 4 of 5 clips of one class (in a random ranking: 0.2), 30 have 3 of 5" in words
    frames = [jpeg(frame) for frame in examples(range(CLIPS))[0]]
    image_units, audio_units = page.split('<div class="units">')[1:]
    sources = re.findall('src="(.*?)"', image_units)
    assert [frames.index(source) for source in sources[::2]] == units()["item"].tolist()
    assert len(re.findall('data-sound="', audio_units)) == 10


def test_the_page_says_what_a_run_cannot_show(tmp_path):
    bare = run("l3net", results={}, metrics=[], arrays={"avc": run().arrays["avc"]})
    text = " ".join("".join(Page(report_page.write(tmp_path, [bare], "One").read_text(encoding="utf-8")).text).split())
    assert "Not evaluated yet." in text
    assert "No training curves for l3net: its metrics.jsonl has no rows." in text
    assert "No retrieval for l3net: its evaluation has no image and audio embeddings." in text
    assert text.count("No overlays for l3net: this network has no heat map.") == 2


def test_the_page_says_what_an_evaluator_refused(tmp_path):
    refused = run(results={"pointing": {"refused": "pointing: <no> boxes"}})
    page = report_page.write(tmp_path, [refused], "One").read_text(encoding="utf-8")
    assert "None." in page
    assert "pointing: &lt;no&gt; boxes" in page


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("heat_map", "this network has no heat map"), ("boxes", "the split has no boxes")],
)
def test_the_page_says_why_overlays_are_missing(tmp_path, missing, reason):
    complete = run(heat_map=maps())
    pairs = {name: array for name, array in complete.arrays["avc"].items() if name != missing}
    page = report_page.write(tmp_path, [run(arrays={"avc": pairs})], "One").read_text(encoding="utf-8")
    assert f"No overlays for avolnet: {reason}." in page


def test_runs_need_different_names(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match=r"each with its own name; got \['a', 'a'\]"):
        report_page.write(tmp_path, [run("a"), run("a")], "Two")
    with pytest.raises(ValueError, match="at least one run"):
        report_page.write(tmp_path, [], "None")
