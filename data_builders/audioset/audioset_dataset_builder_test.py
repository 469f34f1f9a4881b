"""The builder on generated media files, and the official annotations if available."""

import collections
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from avlearn.ontology import Ontology
from data_builders.audioset.audioset_dataset_builder import INSTRUMENTS, Builder, Config, read_segments, wanted_classes
from data_builders.clips.divide import is_validation
from tests.helpers import build_dataset
from tests.helpers.media_file import plain
from tests.helpers.paths import SHARED

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
OFFICIAL = SHARED / "audioset"
SETS = {"below": ("Musical instrument",), "train_sets": ("balanced_train",), "frames_per_second": 5}


@pytest.fixture
def manual_dir(tmp_path):
    """Write the dummy annotations, and files for six of their eleven instrument clips, each in another layout."""
    folder = tmp_path / "manual"
    shutil.copytree(DUMMY, folder)
    clips = folder / "clips" / "nested"
    clips.mkdir(parents=True)
    plain(clips / "guitar_0001.mp4", 3.0)
    plain(clips / "guitar_0002_30.mkv", 3.0)
    plain(clips / "00000000005_000030.mp4", 3.0)
    plain(clips / "drums_00001_30000_40000.webm", 3.0, codecs=("libvpx", "libopus"))
    plain(clips / "drums_00002.mp4", 16.0)  # a complete video, needed from 6 s on
    plain(clips / "piano_00001_30.mp4", 3.0)
    return folder


def test_every_layout_is_found_and_missing_clips_are_listed(manual_dir, tmp_path):
    builder = build_dataset.build(Builder, Config(name="some", **SETS), manual_dir, tmp_path / "data")
    records = {
        clip: {**record, "split": split}
        for split in builder.info.splits
        for clip, record in build_dataset.records(builder, split).items()
    }
    assert set(records) == {
        "guitar_0001_30000",
        "guitar_0002_30000",
        "00000000005_30000",
        "drums_00001_30000",
        "drums_00002_6000",
        "piano_00001_30000",
    }
    # The clip is 6 to 16 s of the complete video: ten seconds, 50 frames.
    cut = records["drums_00002_6000"]
    assert (cut["start_ms"], len(cut["frames"])) == (6000, 50)
    assert cut["log_spectrogram"].shape == (1999, 257)
    assert len(records["guitar_0001_30000"]["frames"]) == 15
    names = builder.info.features["labels"].feature.names
    labels = {names[label] for label in records["guitar_0002_30000"]["labels"]}
    assert labels == {
        "/m/042v_gx",
        "/m/09x0r",
    }  # acoustic guitar, and speech: all labels are kept

    coverage = build_dataset.coverage(builder)["splits"]
    assert build_dataset.counts(builder) == {"train": (4, 4), "validation": (1, 1), "test": (3, 1)}
    assert records["00000000005_30000"]["split"] == "validation"
    assert coverage["test"]["not_built"]["missing"]["clip_ids"] == ["bass__00001_30000", "piano_00002_30000"]
    assert coverage["train"]["cut_from_whole_videos"] == 1
    assert coverage["test"]["classes"]["/m/05r5c"] == {"name": "Piano", "expected": 2, "built": 1}


def test_videos_are_divided_by_their_ids_alone():
    ids = [f"{number:011d}" for number in range(20_000)]
    share = np.mean([is_validation(video_id) for video_id in ids])
    assert 0.09 < share < 0.11
    # The first 8 bytes of SHA-256, big-endian, modulo 100: computed with sha256sum and bc.
    assert [is_validation(f"{number:011d}") for number in (0, 1, 4, 5)] == [True, False, False, True]


def test_your_own_list_of_classes(manual_dir, tmp_path):
    (manual_dir / "instruments_50.txt").write_text("# two\nDrum\n/m/05r5c\n")
    config = Config(name="two", classes_file="instruments_50.txt", **{**SETS, "below": ()})
    builder = build_dataset.build(Builder, config, manual_dir, tmp_path / "data")
    built = {clip for split in builder.info.splits for clip in build_dataset.records(builder, split)}
    assert built == {"drums_00001_30000", "drums_00002_6000", "piano_00001_30000"}
    (manual_dir / "instruments_50.txt").write_text("Drum\nPianno\n")
    with pytest.raises(ValueError, match=r"instruments_50.txt, line 2: 'Pianno' is neither .*nearest names: 'Piano'"):
        build_dataset.build(Builder, config, manual_dir, tmp_path / "other")


LABELS = '"/m/042v_gx,/m/09x0r"'


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"train_sets": ["eval"]}, r"train_sets=\['eval'\]: it must be a list of one or both of \['balanced_train'"),
        ({"train_sets": []}, r"train_sets=\[\]"),
        ({"below": "Animal"}, r"below='Animal': it must be a list of classes, such as \['Animal'\]"),
    ],
)
def test_invalid_values_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        Config(name="some", **choice).check()


SPREADSHEETS = {
    "official": f"# made Sun\n# num_ytids=1\n# YTID, start_seconds\nguitar_0001, 30.000, 40.000, {LABELS}\n",
    "one header, no spaces, integers": f"YTID,start_seconds,end_seconds,labels\nguitar_0001,30,40,{LABELS}\n",
    "no header, byte order mark, carriage returns": f"\ufeffguitar_0001,30,40,{LABELS}\r\n\r\n",
}


@pytest.mark.parametrize("text", SPREADSHEETS.values(), ids=SPREADSHEETS)
def test_copies_saved_by_a_spreadsheet_are_read(tmp_path, text):
    path = tmp_path / "eval_segments.csv"
    path.write_text(text, encoding="utf-8")
    (segment,) = read_segments(path, {"/m/042v_gx", "/m/09x0r"})
    assert (segment.clip_id, segment.video_id) == ("guitar_0001_30000", "guitar_0001")
    assert (segment.start_seconds, segment.duration_seconds) == (30, 10)
    assert segment.labels == ("/m/042v_gx", "/m/09x0r")


def test_a_single_label_needs_no_quotes(tmp_path):
    path = tmp_path / "eval_segments.csv"
    path.write_text("guitar_0001,30,40,/m/042v_gx\n")
    assert [segment.labels for segment in read_segments(path, {"/m/042v_gx"})] == [("/m/042v_gx",)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("guitar_0001,30,40", "line 2: 3 fields"),
        ("guitar_0001,30,40,/m/a,/m/b", "line 2: 5 fields"),
        ("#NAME?,30,40,/m/a", "line 2: '#NAME?' is not a YouTube id"),
        ("guitar_0001,half,40,/m/a", "line 2: 'half' is not a time in seconds"),
        ("guitar_0001,nan,40,/m/a", "line 2: 'nan' is not a time in seconds"),
        ("guitar_0001,40,30,/m/a", "line 2: it ends at 30.0 s and starts at 40.0 s"),
        ("guitar_0001,30,40,/m/zz", "line 2: '/m/zz' is not an id of the ontology"),
        ('guitar_0001,30,40,"/m/a', "line 2: unexpected end of data"),
    ],
)
def test_broken_rows_are_refused_by_line(tmp_path, row, message):
    def read(path):
        return list(read_segments(path, {"/m/a", "/m/b"}))

    text = f"guitar_0001,30,40,/m/a\n{row}\n"
    build_dataset.check_refused(read, tmp_path / "eval_segments.csv", text, f", {message}")


def test_a_clip_of_two_sets_is_refused_with_both_lines(manual_dir, tmp_path):
    row = 'drums_00001, 30.000, 40.000, "/m/026t6"\n'  # line 7 of the other set
    (manual_dir / "unbalanced_train_segments.csv").write_text(f"# made Sun\n{row}")
    lines = r"balanced_train_segments.csv, line 7 and unbalanced_train_segments.csv, line 2\. Remove one of the two$"
    with pytest.raises(ValueError, match=rf"'drums_00001_30000' occurs twice in the split 'train': {lines}"):
        build_dataset.build(Builder, Config(name="two", frames_per_second=5), manual_dir, tmp_path / "data")


@pytest.mark.parametrize("text", ["", "# Segments csv created\n\n"])
def test_a_file_without_rows_is_refused(tmp_path, text):
    def read(path):
        return list(read_segments(path, {"/m/a"}))

    build_dataset.check_refused(read, tmp_path / "eval_segments.csv", text, " has no row; expected YTID, start_seconds")


def test_an_annotation_file_that_cannot_be_fetched_is_named_with_its_address(tmp_path, monkeypatch):
    def offline(self, url):
        raise OSError(f"no route to {url}")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", offline)
    (tmp_path / "manual").mkdir()
    with pytest.raises(ValueError, match=r"ontology.json: not in --manual_dir=.*, and https://\S+.json cannot"):
        build_dataset.build(Builder, Config(name="some", **SETS), tmp_path / "manual", tmp_path / "data")


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official annotation files are not available")
def test_official_files_have_the_papers_counts():
    ontology = Ontology.from_json(OFFICIAL / "ontology.json")
    wanted = set().union(*(ontology.descendants(name) for name in INSTRUMENTS))
    assert len(wanted) == 110
    segments = list(read_segments(OFFICIAL / "eval_segments.csv", set(ontology.ids)))
    assert len(segments) == 20_371  # num_segs of the file's header
    assert sum(not wanted.isdisjoint(segment.labels) for segment in segments) == 4361  # Objects that Sound: 4.3k
    durations = collections.Counter(segment.duration_seconds for segment in segments)
    assert durations.most_common(1)[0][0] == 10


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official annotation files are not available")
@pytest.mark.parametrize(("name", "classes", "clips"), [("instruments", 110, 4361), ("animals", 73, 2402)])
def test_configs_include_the_descendants_of_their_classes(name, classes, clips):
    """The expected numbers count the lines of `eval_segments.csv` that contain one of the ids."""
    ontology = Ontology.from_json(OFFICIAL / "ontology.json")
    config = next(config for config in Builder.BUILDER_CONFIGS if config.name == name)
    wanted = wanted_classes(ontology, config, OFFICIAL)
    lines = (OFFICIAL / "eval_segments.csv").read_text().splitlines()
    rows = [line for line in lines if line[0] != "#" and not wanted.isdisjoint(line.split('"')[1].split(","))]
    assert (len(wanted), len(rows)) == (classes, clips)


def test_all_builds_every_clip(manual_dir):
    (manual_dir / "unbalanced_train_segments.csv").write_text("sneeze_0001, 30.000, 40.000, /m/09x0r\n")
    builder = Builder(config="all", data_dir=manual_dir)
    splits = builder.annotations(tfds.download.DownloadManager(download_dir=manual_dir, manual_dir=manual_dir)).splits
    rows = [path.read_text().splitlines() for path in manual_dir.glob("*_segments.csv")]
    ids = sorted(row.split(",")[0] for file in rows for row in file if row[0] != "#")
    assert sorted(segment.video_id for split in splits.values() for segment in split) == ids
    assert "speech_0001" in ids
    assert "sneeze_0001" in ids
