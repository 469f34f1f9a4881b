"""The builder on generated media files, with annotations from an archive like the one of Kinetics-400."""

import functools
import http.server
import json
import pathlib
import shutil
import tarfile
import threading

import pytest

from data_builders.kinetics_sounds import kinetics_sounds_dataset_builder as kinetics_sounds
from data_builders.kinetics_sounds.kinetics_classes import KINETICS_LABELS, NEAREST_ONLY, class_labels
from tests.helpers import build_dataset
from tests.helpers.media_file import plain
from tests.helpers.paths import SHARED

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
OFFICIAL = SHARED / "kinetics_sounds"
HEADER = kinetics_sounds.LAYOUT


@pytest.fixture
def archive_url(tmp_path, monkeypatch):
    """Yield the address of a local archive with `kinetics400/train.csv`, `validate.csv` and `test.csv`."""
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "kinetics400.tar.gz", "w:gz") as archive:
        archive.add(DUMMY, arcname="kinetics400")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/kinetics400.tar.gz"
        server.shutdown()


def test_clips_in_class_folders_are_built_under_the_papers_names(tmp_path, archive_url, monkeypatch):
    monkeypatch.setattr(kinetics_sounds, "ARCHIVE_URL", archive_url)
    manual_dir = tmp_path / "manual"
    for name in (
        "train/blowing out candles/train_00008_000018_000028",  # the ninth row: 10 + 8 s
        "train/using computer/train_00007_000017_000027",  # is not a clip of ks32
        "val/bowling/valid_00001_000000_000010",
        "val/strumming guitar/valid_00002_000007_000017",
        "test/test__00001_000003_000013",
    ):
        path = manual_dir / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        plain(path, 3.0)
    # The folder's own file precedes the archive's.
    (manual_dir / "annotations").mkdir()
    (manual_dir / "annotations" / "val.csv").write_text(
        f"{HEADER}\nbowling,valid_00001,0,10,val,1\nstrumming guitar,valid_00002,7,17,val,0\n"
    )
    builder = build_dataset.build(kinetics_sounds.Builder, "ks32_5fps", manual_dir, tmp_path / "data")

    names = builder.info.features["labels"].feature.names
    labels = {
        (split, clip): [names[label] for label in record["labels"]]
        for split in builder.info.splits
        for clip, record in build_dataset.records(builder, split).items()
    }
    assert labels == {
        ("train", "train_00008_000018_000028"): ["blowing out"],
        ("validation", "valid_00001_000000_000010"): ["bowling"],
        ("validation", "valid_00002_000007_000017"): ["fingerpicking"],
        ("test", "test__00001_000003_000013"): ["blowing out"],
    }
    assert len(names) == 32
    assert (names[0], names[6:8], names[-1]) == (
        "blowing nose",
        ["tapping pen", "blowing out"],
        "playing xylophone",
    )
    (record,) = build_dataset.records(builder, "train").values()
    assert (record["start_ms"], len(record["frames"])) == (18_000, 15)
    coverage = build_dataset.coverage(builder)["splits"]
    assert build_dataset.counts(builder) == {"train": (32, 1), "validation": (2, 2), "test": (2, 1)}
    assert coverage["test"]["not_built"]["missing"]["clip_ids"] == ["test__00002_000003_000013"]


@pytest.mark.parametrize(("config", "classes"), [("ks31", 31), ("ks32", 32), ("ks34_nearest", 34)])
def test_each_config_has_its_classes(tmp_path, config, classes):
    shutil.copytree(DUMMY, tmp_path / "manual")
    builder = kinetics_sounds.Builder(config=config, data_dir=tmp_path / "data")
    annotations = builder.annotations(build_dataset.download_manager(tmp_path / "manual"))
    assert len(annotations.class_names) == len(annotations.splits["train"]) == classes
    # strumming guitar belongs to the second and the third config, using computer to the third.
    assert len(annotations.splits["validation"]) == {31: 1, 32: 2, 34: 3}[classes]
    assert annotations.splits["test"][0].duration_seconds == 10


def test_a_class_without_a_label_is_included_if_named():
    assert list(class_labels(("patting",)))[15:18] == ["tickling", "patting", "playing accordion"]
    with pytest.raises(ValueError, match="'singing' is not one of typing, fingerpicking, patting"):
        class_labels(("singing",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("bowling,valid_00002,0,10,val", "line 3: 5 fields"),
        ("bowling,#NAME?,0,10,val,0", "line 3: '#NAME?' is not a YouTube id"),
        ("bowling,valid_00002,0,ten,val,0", "line 3: 'ten' is not a time in seconds"),
        ("bowling,valid_00002,10,10,val,0", "line 3: it ends at 10.0 s and starts at 10.0 s"),
        ("bowling,valid_00002,0,10,train,0", "line 3: the split 'train', expected validate or val or validation"),
        ("bowling,valid_00001,0,10,val,1", "line 3: the clip valid_00001_000000_000010 is also in line 2"),
    ],
)
def test_broken_rows_are_refused_by_line(tmp_path, row, message):
    def read(path):
        return kinetics_sounds.read_segments(path, {"bowling": "bowling"}, kinetics_sounds.SPLITS["validation"])

    text = f"{HEADER}\nbowling,valid_00001,0,10,val,0\n{row}\n"
    build_dataset.check_refused(read, tmp_path / "val.csv", text, f", {message}")


def test_files_other_than_labelled_kinetics_400_are_refused(tmp_path):
    manual_dir = tmp_path / "manual"
    shutil.copytree(DUMMY, manual_dir)
    train = (manual_dir / "train.csv").read_text()
    builder = kinetics_sounds.Builder(config="ks31", data_dir=tmp_path / "data")
    manager = build_dataset.download_manager(manual_dir)
    (manual_dir / "train.csv").write_text(train.replace("tap dancing", "tap_dancing"))
    with pytest.raises(ValueError, match=r"no row has the label 'tap dancing' \(for 'tap dancing'\) in .*train.csv"):
        builder.annotations(manager)
    (manual_dir / "train.csv").write_text(train)
    (manual_dir / "test.csv").write_text("youtube_id,time_start,time_end,split,is_cc\ntest__00001,3,13,test,0\n")
    with pytest.raises(ValueError, match=r"test.csv, line 1: 'youtube_id,time_start.*expected the header label,"):
        builder.annotations(manager)


def test_annotations_that_cannot_be_fetched_are_named_with_their_address(tmp_path):
    def fail(url):
        raise OSError("no route to host")

    (tmp_path / "train.csv").write_text(HEADER)
    manager = build_dataset.download_manager(tmp_path)
    manager.download_and_extract = fail
    with pytest.raises(ValueError, match=r"^validate.csv, test.csv: not in .*kinetics400.tar.gz cannot be fetched"):
        kinetics_sounds.annotation_files(manager)


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the table of labels is not available")
def test_the_table_is_the_one_computed_from_kinetics_400():
    table = json.loads((OFFICIAL / "kinetics_sounds_to_k400.json").read_text())
    assert list(KINETICS_LABELS) == list(table["map"])
    assert {name for name, label in table["map"].items() if label is None} == set(NEAREST_ONLY)
    same = {name: label for name, label in table["map"].items() if label is not None}
    assert same | table["nearest_for_missing"] == KINETICS_LABELS
