"""An evaluation that is interrupted resumes; a dataset without boxes; what the page says about the training."""

import dataclasses
import json
import logging
import os
import pathlib

import numpy as np
import pytest
from absl.testing import flagsaver

from avlearn import main
from avlearn.commands import evaluate, report
from avlearn.evaluation import array_files, assembly, unfinished
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.preemption import Preempted, Preemption
from tests.helpers import tiny_run
from tests.helpers.full_disk import files_no_larger_than
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

OF_BOXES = {"pointing", "ciou"}


class Scheduled(Preemption):
    """A SIGTERM that comes at the n-th question, one before each batch."""

    at = asked = 0

    def poll(self) -> bool:
        self.asked += 1
        return self.asked == self.at


@pytest.fixture(scope="module")
def built(tiny_world):
    config = tiny_run.config_of("lvs", tiny_world, num_steps=2)
    config.evaluation.films = 0
    return assembly.build_evaluation(config, preemption=Scheduled())


@pytest.fixture(scope="module")
def checkpoints(built, tmp_path_factory):
    """Return the checkpoints of a run that was trained on another dataset."""
    run = tmp_path_factory.mktemp("run")
    training = Checkpoints(run / "checkpoints", network="lvs", keep=1)
    training.save(built.passes.initial, metrics={"validation/loss": 1.0})
    training.close()
    config = json.loads(built.config.to_json())
    config["data"]["dataset"] = "synthetic_av/other"
    (run / "config.json").write_text(json.dumps(config))
    return Checkpoints(run / "checkpoints", network="lvs", keep=1, read_only=True)


@pytest.fixture(scope="module")
def whole(built, checkpoints, tmp_path_factory):
    """Return the directory of an evaluation that was not interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    evaluate.evaluate(built, checkpoints, workdir)
    return workdir


@pytest.fixture(autouse=True)
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("avlearn"), "propagate", True)
    caplog.set_level(logging.INFO, "avlearn")
    return caplog


def results(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "results.json").read_text())


def interrupted(built, checkpoints, workdir, batch: int) -> None:
    built.passes.preemption.asked, built.passes.preemption.at = 0, batch
    with pytest.raises(Preempted, match=r"preempted \(SIGTERM\)"):
        evaluate.evaluate(built, checkpoints, workdir)
    built.passes.preemption.at = 0
    assert not (workdir / "results.json").exists()


def refusing(built, name: str, error: BaseException):
    """Return the evaluation with an evaluator that raises an error."""

    def evaluated(*_, **__):
        raise error

    evaluators = (
        dataclasses.replace(each, evaluate=evaluated) if each.needs.evaluator == name else each
        for each in built.evaluators
    )
    return dataclasses.replace(built, evaluators=tuple(evaluators))


def test_it_resumes_after_the_arrays_and_the_evaluators_that_are_done(built, checkpoints, whole, tmp_path, log):
    interrupted(built, checkpoints, tmp_path, batch=3)  # the first pass has two batches
    with pytest.raises(Preempted):
        evaluate.evaluate(refusing(built, "ciou", Preempted("now", 75)), checkpoints, tmp_path)
    assert log.text.count("Arrays of all_positive: kept") == 1
    assert log.text.count("Arrays of avc_draws: kept") == 0
    evaluate.evaluate(refusing(built, "ndcg", AssertionError("computed again")), checkpoints, tmp_path)
    assert log.text.count("Arrays of all_positive: kept") == 2
    assert log.text.count("Arrays of avc_draws: kept") == log.text.count("Results of ndcg: kept") == 1
    assert "Results of ciou: kept" not in log.text
    assert results(tmp_path) == results(whole)
    again, first = (array_files.load_arrays(each / "arrays.npz") for each in (tmp_path, whole))
    assert again.keys() == first.keys()
    for pairing in first.keys() - {"about"}:
        assert again[pairing].keys() == first[pairing].keys()
        for name, array in first[pairing].items():
            np.testing.assert_array_equal(again[pairing][name], array)
    assert not (tmp_path / unfinished.FOLDER).exists()


def test_another_config_checkpoint_or_dataset_begins_anew(built, checkpoints, tmp_path, log):
    interrupted(built, checkpoints, tmp_path, batch=3)
    other = json.loads(built.config.to_json())
    other["evaluation"]["ndcg"]["k"] = 7
    assert unfinished.fingerprint(json.dumps(other), []) != unfinished.fingerprint(built.config.to_json(), [])
    dataset = pathlib.Path(built.config.data.data_dir, built.sources["all_positive"].dataset)
    shard = next(dataset.rglob("*test.tfrecord-*0000*1"))  # other tests put other datasets beside it
    file = next(pathlib.Path(checkpoints.directory / "0").rglob("manifest.ocdbt"))
    for path in (shard, file):
        os.utime(path)
        interrupted(built, checkpoints, tmp_path, batch=3)
    assert "kept" not in log.text


def test_parts_of_a_split_are_kept_apart(tmp_path):
    """In one evaluation on both, by `also_on`."""
    kept = unfinished.Unfinished(tmp_path, "same")
    for part in ("test[:9]", "test[:-9]", "test[9:]"):
        found = kept.keep(f"arrays of avc on vgg_ss/full/{part}", lambda part=part: {"part": np.array(part)})
        assert found["part"] == part


def test_what_is_damaged_is_computed_again(tmp_path, log):
    for computed in (1, 2):
        found = unfinished.Unfinished(tmp_path, "same").keep("arrays", lambda n=computed: {"a": np.full(9, n)})
        np.testing.assert_array_equal(found["a"], computed)
        [path] = tmp_path.glob("*/*.npz")
        path.write_bytes(path.read_bytes()[:100])
    assert log.text.count("it is computed again") == 1


def test_without_space_to_keep_them_the_evaluation_still_ends(built, checkpoints, whole, tmp_path, monkeypatch, log):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(unfinished.storage, "write_npz", full)
        built.run(checkpoints, "best", tmp_path)
    assert log.text.count("No space is left to keep what is computed") == 1
    assert not (tmp_path / unfinished.FOLDER).exists()


def test_an_evaluation_without_space_leaves_the_files_of_the_last(built, whole, tmp_path):
    array_files.save(tmp_path, {"ndcg": 1}, {"avc": {"logit": np.zeros(3)}}, config="{}")
    (tmp_path / "report.npz").touch()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with files_no_larger_than(20_000), pytest.raises(OSError, match="File too large"):
        array_files.save(tmp_path, {"ndcg": 2}, {"avc": {"logit": np.zeros(10_000)}}, config='{"seed": 1}')
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def without_boxes(built, named: bool):
    """Return the evaluation of a dataset without boxes."""
    source = built.sources["avc_draws"]

    def collect(*arguments):
        found = source.collect(*arguments)
        return found | {"boxes": np.full_like(found["boxes"], np.nan)}

    sources = {**built.sources, "avc_draws": dataclasses.replace(source, collect=collect)}
    return dataclasses.replace(built, sources=sources).with_named(named)


def test_without_boxes_the_default_evaluators_of_boxes_are_left_out(built, checkpoints, whole, tmp_path, log):
    evaluate.evaluate(without_boxes(built, named=False), checkpoints, tmp_path)
    assert results(whole).keys() >= OF_BOXES
    assert results(tmp_path).keys() == results(whole).keys() - OF_BOXES
    said = "Left out: pointing, ciou. The split test of synthetic_av/tiny has no boxes."
    assert [line for line in log.messages if "boxes" in line] == [said]
    page = (tmp_path / "report" / "index.html").read_text()
    assert f"No overlays for {tmp_path.name}: the split has no boxes." in page


def test_without_boxes_named_evaluators_of_boxes_are_an_error(built, checkpoints, tmp_path):
    with pytest.raises(ValueError, match=r"pointing: none of .* has a sounding box"):
        evaluate.evaluate(without_boxes(built, named=True), checkpoints, tmp_path)
    assert "ndcg" in results(tmp_path)


@pytest.mark.parametrize(
    ("given", "named"),
    [((), False), (("--evaluators=ndcg",), True), (("--config.evaluation.evaluators=('ndcg',)",), True)],
)
def test_the_command_knows_whether_the_user_has_named_the_evaluators(given, named, monkeypatch):
    passed = []
    monkeypatch.setattr(main, "run", lambda *_, **options: passed.append(options["evaluators_named"]))
    monkeypatch.setattr(main, "start_up", lambda _: None)
    monkeypatch.setattr(main.compilation, "set_cache_directory", lambda _: None)
    arguments = ["main", f"--config={ROOT}/configs/lvs.py:miniature", *given]
    monkeypatch.setattr("sys.argv", arguments)  # ml_collections looks there for the keys of the config
    with flagsaver.flagsaver():
        main.main(main.parse_flags(arguments))
    assert passed == [named]


def test_a_report_on_the_current_directory_has_its_name(whole, monkeypatch):
    monkeypatch.chdir(whole)
    assert report.load(pathlib.Path(".")).name == whole.name


def test_the_page_names_the_training_data_of_the_checkpoint(built, whole, checkpoints, tmp_path):
    page = (whole / "report" / "index.html").read_text()
    assert "<dt>training data</dt><dd>synthetic_av/other, split train</dd>" in page
    assert "<dt>evaluated on</dt><dd>synthetic_av/tiny, split test</dd>" in page
    arrays = built.collect(0, built.passes.initial)
    assert array_files.read_about(arrays)[1]["trained"] is None
