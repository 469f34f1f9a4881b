"""Test the page about a dataset: its numbers equal those of the records, counted here by another route."""

import base64
import io
import json
import pathlib
import re
import shutil
from collections import Counter

import av
import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from avlearn import main
from avlearn.commands import inspect_dataset
from avlearn.data import built_dataset, schema, survey
from avlearn.media import optical_flow
from avlearn.visuals import dataset_page, histogram
from configs import avenet
from tests.helpers import synthetic_records
from tests.helpers.html_page import Page, check_self_contained

COVERAGE = {
    "dataset": "synthetic_av/tiny/1.0.0",
    "splits": {
        "train": {
            "expected": 80,
            "built": 64,
            "share": 0.8,
            "cut_from_whole_videos": 0,
            "not_built": {
                "missing": {"count": 13, "clip_ids": [f"gone_{n}" for n in range(13)], "examples": []},
                "truncated": {"count": 3, "clip_ids": ["x", "y", "z"], "examples": ["x.mp4: <ends> early"]},
            },
            "classes": {},
        },
        "validation": {
            "expected": 1016,
            "built": 16,
            "share": 0.015748,
            "cut_from_whole_videos": 0,
            "not_built": {"missing": {"count": 1000, "clip_ids": ["far"], "examples": []}},
            "classes": {},
        },
    },
    "refused_annotations": {"degenerate box": {"count": 2, "items": ["boxes.csv:7: no area"]}},
    "skipped_files": ["'/clips/._a.mp4': hidden", "'/clips/.Trash': hidden"],
}


def config_of(dataset: str, data_dir: pathlib.Path, seed: int = 0):
    config = avenet.get_config("miniature")
    config.data.dataset, config.data.data_dir, config.seed = dataset, str(data_dir), seed
    return config


def text_of(html: str) -> str:
    return " ".join("".join(Page(html).text).split())


def table(text: str, section: str) -> list[list[str]]:
    """Return the texts of the cells of a section's table, without its header."""
    found = re.search(rf'<section id="{section}">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)[1]
    return [[text_of(cell) for cell in re.findall("<td.*?</td>", row, re.DOTALL)] for row in found.split("<tr>")[1:]]


def cards(text: str, split: int = 1) -> list[str]:
    section = re.search(rf'<section id="clips-{split}">.*?</section>', text, re.DOTALL)[0]
    return re.findall('<article class="card">.*?</article>', section, re.DOTALL)


def clip_id(card: str) -> str:
    return re.search('class="id">(.*?)[< ]', card)[1]


def sound_of(text: str, card: str) -> tuple[np.ndarray, int]:
    """Decode what the card's button plays: waveform and sample rate."""
    sounds = json.loads(re.search(r'<script id="sounds" type="application/json">(.*?)</script>', text)[1])
    content = sounds[re.search('data-sound="(.*?)"', card)[1]].removeprefix("data:audio/mpeg;base64,")
    with av.open(io.BytesIO(base64.b64decode(content))) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(blocks, axis=1)[0], container.streams.audio[0].rate


def images_of(card: str) -> list[np.ndarray]:
    encoded = re.findall('src="data:image/jpeg;base64,(.*?)"', card)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int) for content in encoded]


@pytest.fixture(scope="module")
def world(tiny_world, tmp_path_factory) -> pathlib.Path:
    """Copy the tiny world and add a coverage.json."""
    data_dir = tmp_path_factory.mktemp("covered")
    shutil.copytree(tiny_world / "synthetic_av", data_dir / "synthetic_av")
    (data_dir / "synthetic_av" / "tiny" / "1.0.0" / "coverage.json").write_text(json.dumps(COVERAGE))
    return data_dir


@pytest.fixture(scope="module")
def text(world, tmp_path_factory) -> str:
    workdir = tmp_path_factory.mktemp("run")
    main.run(config_of("synthetic_av/tiny", world), workdir, "inspect", None)
    return (workdir / "inspect" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def records(tiny_world) -> dict[str, list[dict]]:
    """Read every record of the tiny world with TFDS."""
    builder = tfds.builder_from_directory(tiny_world / "synthetic_av" / "tiny" / "1.0.0")
    return {split: list(tfds.as_numpy(builder.as_dataset(split))) for split in ("train", "validation", "test")}


def test_page_needs_no_other_file(text):
    page = Page(text)
    check_self_contained(text, page)
    ids = [a["id"] for elements in page.elements.values() for a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.elements["a"]} <= set(ids)


def test_sizes_equal_those_of_the_records(text, records, tiny_world):
    files = list((tiny_world / "synthetic_av" / "tiny" / "1.0.0").glob("*.tfrecord-*-of-?????"))
    expected = []
    for split, clips in records.items():
        megabytes = sum(file.stat().st_size for file in files if f"-{split}." in file.name) / 1e6
        silent = sum((~clip["boxes"]["sounding"]).sum() for clip in clips)
        boxes = sum(clip["boxes"]["label"].size for clip in clips)
        boxed = sum(clip["boxes"]["label"].size > 0 for clip in clips)
        hours = f"{len(clips) * 3 / 3600:.2f}"  # every clip has 3 s
        numbers = [f"{len(clips):,}", hours, "1", f"{megabytes:,.1f}", "0", f"{boxes:,}", f"{silent:,}", f"{boxed:,}"]
        expected.append([split, *numbers])
    assert table(text, "splits") == expected
    assert {row[1] for row in expected} == {"64", "16"}
    assert table(text, "lengths") == [[split, *["3.00"] * 3, *["15"] * 3] for split in records]
    assert "Length of the clips: the same for all clips." in text_of(text)


def test_class_histogram_equals_that_of_the_records(text, records, tiny_world):
    version = tiny_world / "synthetic_av" / "tiny" / "1.0.0"
    names = json.loads((version / "metadata.json").read_text())["class_names"]
    counts = {split: Counter(label for clip in clips for label in clip["labels"]) for split, clips in records.items()}
    rows = [(name, [counts[split][label] for split in records]) for label, name in enumerate(names)]
    rows.sort(key=lambda row: -sum(row[1]))
    assert table(text, "classes") == [[name, "", *map(str, clips)] for name, clips in rows]
    assert sum(sum(clips) for _, clips in rows) > 96  # some clips have two classes
    bars = [re.findall(r"width: ([\d.]+)%", bar) for bar in re.findall('class="stack">(.*?)</span>', text)]
    most = sum(rows[0][1])
    assert bars == [[f"{100 * count / most:.2f}" for count in clips] for _, clips in rows]
    assert "Every class has at least one clip." in text_of(text)


def test_coverage_is_shown_with_its_reasons(text):
    assert re.findall('<th class="number">(missing|truncated)</th>', text) == ["missing", "truncated"]
    assert table(text, "coverage") == [
        ["train", "80", "64", "80.0 %", "13", "3"],
        ["validation", "1,016", "16", "1.6 %", "1,000", "0"],
    ]
    plain = text_of(text)
    assert "missing: 1,013, for examplegone_0gone_1gone_2" in plain
    assert "truncated: 3, for examplex.mp4: <ends> early" in plain
    assert "2 files or folders were skipped, for example: '/clips/._a.mp4': hidden" in plain
    assert "2 annotations were refused (degenerate box), for example: boxes.csv:7: no area" in plain


def test_samples_are_selected_by_the_seed(text, records, world):
    for number, clips in enumerate(records.values(), start=1):
        ids = [clip_id(card) for card in cards(text, number)]
        assert len(set(ids)) == inspect_dataset.SAMPLES == len(ids)
        assert set(ids) <= {clip["clip_id"].decode() for clip in clips}
    split = built_dataset.open_split("synthetic_av/tiny", world, "train")
    once, again, other = (inspect_dataset.select_samples(split, seed).tolist() for seed in (0, 0, 1))
    assert [records["train"][clip]["clip_id"].decode() for clip in once] == [clip_id(card) for card in cards(text)]
    assert once == again != other
    first_labels = [int(records["train"][clip]["labels"][0]) for clip in once]
    assert first_labels == np.linspace(0, 15, 12).round().astype(int).tolist()  # evenly spaced over 16 classes


def test_samples_show_their_frames_boxes_and_labels(text, records, tiny_world):
    version = tiny_world / "synthetic_av" / "tiny" / "1.0.0"
    names = json.loads((version / "metadata.json").read_text())["class_names"]
    by_id = {clip["clip_id"].decode(): clip for clips in records.values() for clip in clips}
    counts = Counter()
    for card in [card for number in (1, 2, 3) for card in cards(text, number)]:
        record = by_id[clip_id(card)]
        labels = " + ".join(names[label] for label in record["labels"])
        assert text_of(card).startswith(f"{labels}3.00 s")
        figures = re.findall("<figure>.*?</figure>", card, re.DOTALL)
        for figure, number in zip(figures, (0, 7, 14), strict=True):
            np.testing.assert_allclose(images_of(figure)[0], record["frames"][number], atol=60)
            assert np.abs(images_of(figure)[0] - record["frames"][number]).mean() < 4
            assert f"{0.2 * number:.2f} s" in figure.replace("&nbsp;", " ").replace("</span>", "")
            boxes = record["boxes"]
            here = boxes["time_ms"] == 200 * number
            expected = {
                (*(f"{v:.4f}" for v in (x0, y0, x1 - x0, y1 - y0)), "sounding" if sounds else "silent")
                for (y0, x0, y1, x1), sounds in zip(boxes["bbox"][here], boxes["sounding"][here], strict=True)
            }
            rects = Page(figure).of_class("rect", "line")
            marked = {(r["x"], r["y"], r["width"], r["height"], r["class"].split()[1]) for r in rects}
            assert {row[4] for row in marked} == {row[4] for row in expected}
            for one, other in zip(sorted(marked), sorted(expected), strict=True):
                assert [float(v) for v in one[:4]] == pytest.approx([float(v) for v in other[:4]], abs=2e-4)
            counts.update(row[4] for row in marked)
    assert counts["sounding"] > 80
    assert counts["silent"] > 10
    waveform, rate = sound_of(text, cards(text)[0])
    assert rate == 48_000
    assert waveform.size / rate == pytest.approx(3, abs=0.1)


class Variant(synthetic_records.Coded, skip_registration=True):
    """Records without frames or with optical flow. They store a tone as waveform, at a rate that MP3 does not have."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("sound_only", "flow")]
    WAVEFORM_HZ = 21_000

    @property
    def stored(self) -> dict:
        sound_only = self.builder_config.name == "sound_only"
        return {"frames": not sound_only, "optical_flow": not sound_only, "waveform": sound_only}

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = schema.metadata(
            frames_per_second=5 * self.stored["frames"],
            front_end="l3",
            waveform_hz=self.WAVEFORM_HZ * self.stored["waveform"],
            class_names=synthetic_records.CLASS_NAMES,
            ontology=(),
        )
        features = schema.features(synthetic_records.CLASS_IDS, **self.stored)
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=metadata)

    def _split_generators(self, dl_manager) -> dict:
        return {"train": self._generate_examples(5)}

    def _generate_examples(self, clips: int):
        for clip in range(clips):
            record = synthetic_records.record(clip)
            record["log_spectrogram"] = np.full((199 + 200 * clip, schema.BINS), clip, np.float16)
            record["labels"] = [] if clip == 4 else [0]
            if self.stored["waveform"]:
                time = np.arange(self.WAVEFORM_HZ * (clip + 1)) / self.WAVEFORM_HZ
                record["waveform"] = (20_000 * np.sin(2 * np.pi * 1000 * (clip + 1) * time)).astype(np.int16)
                del record["frames"], record["frame_times_ms"], record["boxes"]
            else:
                fields = np.full((synthetic_records.FRAMES - 1, 32, 40, 2), (10, -10), np.float32)
                images = optical_flow.to_images(fields)
                record["optical_flow"] = [io.BytesIO(cv2.imencode(".jpg", image)[1].tobytes()) for image in images]
            yield clip, record


@pytest.fixture(scope="module")
def variants(tmp_path_factory) -> pathlib.Path:
    data_dir = tmp_path_factory.mktemp("variants")
    for name in ("sound_only", "flow"):
        Variant(data_dir=data_dir, config=name).download_and_prepare()
    return data_dir


def page_of(dataset: str, data_dir: pathlib.Path, folder: pathlib.Path) -> str:
    inspect_dataset.write(config_of(dataset, data_dir), folder)
    return (folder / "inspect" / "index.html").read_text(encoding="utf-8")


def test_dataset_without_frames_plays_its_waveforms(variants, tmp_path):
    text = page_of("variant/sound_only", variants, tmp_path)
    check_self_contained(text, Page(text))
    (row,) = table(text, "splits")
    assert row[:3] == ["train", "5", f"{15 / 3600:.2f}"]
    assert row[5:] == ["1", "0", "0", "0"]  # one clip without a class, no boxes
    assert table(text, "lengths") == [["train", "1.00", "3.00", "5.00"]]
    assert table(text, "classes") == [["Guitar", "", "4"]]
    assert "2 classes have no clips" in text_of(text)
    assert "This dataset has no coverage.json" in text_of(text)
    found = cards(text)
    assert len(found) == 5
    for card in found:
        clip = int(text_of(card).split(".")[0][-1]) - 1  # clip 0 has 1 s, clip 1 has 2 s, ...
        assert "<figure>" not in card
        waveform, rate = sound_of(text, card)
        assert rate == 22_050
        assert waveform.size / rate == pytest.approx(clip + 1, abs=0.15)
        middle = waveform[rate // 4 : rate // 4 + rate // 2]
        spectrum = np.abs(np.fft.rfft(middle))
        assert np.fft.rfftfreq(middle.size, 1 / rate)[spectrum.argmax()] == pytest.approx(1000 * (clip + 1), abs=5)
        assert np.abs(middle).max() == pytest.approx(20_000 / 32_767, abs=0.05)


def test_optical_flow_is_below_its_frame(variants, tmp_path):
    text = page_of("variant/flow", variants, tmp_path)
    for card in cards(text):
        figures = [images_of(figure) for figure in re.findall("<figure>.*?</figure>", card, re.DOTALL)]
        frames = [images[0] for images in figures]
        assert [len(images) for images in figures] == [2, 2, 1]  # the last frame has no flow
        flow = figures[0][1]
        assert flow.shape == (32, 80, 3)
        assert np.abs(flow[:, :38] - 191).max() <= 4  # the left half shows x: +10 of 20 pixels to the right
        assert np.abs(flow[:, 42:] - 64).max() <= 4
        assert synthetic_records.decode_frames(np.stack(frames))[1].tolist()[0] == 0
    assert len(cards(text)) == 5


def test_middle_frame_is_the_annotated_one(variants):
    """Clip 1 of 2 s has boxes only on frame 7, at 1.4 s; clip 0 of 1 s has none, and its middle is at 0.5 s."""
    split = built_dataset.open_split("variant/flow", variants, "train")
    clips = [survey.read_clip(split, number) for number in range(5)]
    by_columns = {clip.log_spectrogram.shape[0] // 200: clip for clip in clips}
    assert [moment.time_ms for moment in by_columns[0].moments] == [0, 400, 2800]  # 0.4 and 0.6 s are equally near
    assert [moment.time_ms for moment in by_columns[1].moments] == [0, 1400, 2800]
    assert [len(moment.boxes) for moment in by_columns[1].moments] == [0, 2, 0]
    np.testing.assert_array_equal(by_columns[1].moments[1].boxes[0], synthetic_records.BOX)


def test_many_classes_stay_readable(tmp_path):
    per_class = np.zeros(632, int)
    per_class[100:150] = np.arange(50, 0, -1)
    split = dataset_page.SplitSummary(1275, 4, 10**6, per_class, 0, {10.0: 1200, 2.05: 75}, {}, 0, 0, 0, ())
    names = [f"Class {number}" for number in range(632)]
    dataset = dataset_page.Dataset("big/one", {}, names, "l3", 0, 0, None, {"train": split})
    text = dataset_page.write(tmp_path, dataset).read_text(encoding="utf-8")
    assert table(text, "classes") == [[f"Class {100 + n}", "", str(50 - n)] for n in range(40)]
    assert "10 more classes, with fewer clips" in text_of(text)
    assert "582 classes have no clips" in text_of(text)
    assert 'aria-label="Length of the clips' in text


def test_quantiles_and_bins():
    tally = {1.0: 5, 2.0: 4, 10.0: 1}
    assert [histogram.quantile(tally, share) for share in (0, 0.5, 0.51, 0.9, 1)] == [1, 1, 2, 2, 10]
    np.testing.assert_allclose(histogram.edges(9.85, 10.0, 0.1), [9.8, 9.9, 10.0, 10.1])
    np.testing.assert_allclose(histogram.edges(0, 250, 1), np.arange(0, 261, 13))
    assert histogram.histogram({"a": {3.0: 7}, "b": {3.0: 1}}, "n", "s", 0.1) == ""


def test_page_without_a_workdir_and_datasets_that_are_not_built(tiny_world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inspect_dataset, "SAMPLES", 1)
    main.run(config_of("synthetic_av/tiny", tiny_world), None, "inspect", None)
    page = pathlib.Path("inspect") / "synthetic_av_tiny" / "index.html"
    assert page.exists()
    assert str(page) in capsys.readouterr().out
    with pytest.raises(ValueError, match="The dataset synthetic_av/huge is not built"):
        main.run(config_of("synthetic_av/huge", tiny_world), None, "inspect", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        main.run(config_of("synthetic_av/tiny", tiny_world), tmp_path / "file", "inspect", None)


def test_damaged_coverage_names_the_file(world, tmp_path):
    data_dir = tmp_path / "my data"
    shutil.copytree(world, data_dir)
    file = data_dir / "synthetic_av" / "tiny" / "1.0.0" / "coverage.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=rf"^{file} is damaged .* The dataset can be used without it: rm '{file}'$"):
        inspect_dataset.read_coverage(built_dataset.open_split("synthetic_av/tiny", data_dir, "test"))
