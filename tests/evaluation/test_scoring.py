"""Every evaluator on plain arrays: facts in its results, metrics from a file of another system, a new evaluator."""

import inspect
import io
import json
import pkgutil
import zipfile

import numpy as np
import pytest

import avlearn.evaluators
from avlearn import main
from avlearn.build import by_name
from avlearn.evaluation import registry, scoring
from configs import base

NAMES = [module.name for module in pkgutil.iter_modules(avlearn.evaluators.__path__) if not module.ispkg]
CLIPS, CLASSES = 12, 3
STATED = {"network", "checkpoint_step", "seed", "dataset", "split", "items", "items_expected", "protocol", "baselines"}


def clip_arrays(rng, rows):
    labels = np.eye(CLASSES, dtype=bool)[np.arange(rows) % CLASSES]
    return {
        "labels": labels,
        "image_embedding": rng.normal(size=(rows, 5)) + labels @ np.ones((CLASSES, 5)),
        "audio_embedding": rng.normal(size=(rows, 5)),
        "image_pool4": rng.random((rows, 6)),
        "audio_pool4": rng.random((rows, 6)),
        "image_item": np.arange(rows),
    }


def pair_arrays(rng, kinds):
    """Pair each clip with its own audio, with another clip's, and (with three kinds) with silence."""
    boxes = np.tile([0.1, 0.1, 0.7, 0.7], (kinds * CLIPS, 1, 1))
    return {
        "corresponds": np.arange(kinds * CLIPS) < CLIPS,
        "silent": np.arange(kinds * CLIPS) >= 2 * CLIPS,
        "pair_draw": np.repeat(np.arange(-1, kinds - 1), CLIPS),
        "logit": rng.normal(size=kinds * CLIPS),
        "image_item": np.tile(np.arange(CLIPS), kinds),
        "heat_map": rng.normal(size=(kinds * CLIPS, 4, 4)),
        "boxes": boxes,
        "box_sounding": np.ones((kinds * CLIPS, 1), bool),
    }


def arrays():
    """Return the arrays of every pairing, as another system would write them."""
    rng = np.random.default_rng(0)
    windows = {
        "audio_features": rng.normal(size=(2 * CLIPS, 4)),
        "clip": np.repeat(np.arange(CLIPS), 2),
        "labels": np.eye(CLASSES, dtype=bool)[np.arange(CLIPS) % CLASSES],
        "fold": np.arange(CLIPS) // CLASSES % 2 + 1,
    }
    sources = {
        "heat_map": rng.normal(size=(4, 4, 4)),
        "boxes": np.tile([0.1, 0.1, 0.7, 0.7], (4, 1, 1)),
        "image_item": np.array([0, 0, 1, 1]),
        "source": np.array([0, 1, 0, 1]),
    }
    images = {"image_features": rng.normal(size=(CLIPS, 4)), "labels": windows["labels"]}
    return {
        "all_positive": clip_arrays(rng, CLIPS),
        "fit": clip_arrays(rng, 20),
        "avc": pair_arrays(rng, 2),
        "avc_draws": pair_arrays(rng, 3),
        "shifted": pair_arrays(rng, 2),
        "negatives": pair_arrays(rng, 3),
        "sources": sources,
        "windows": windows,
        "images": images,
        "images_fit": images,
    }


def config_of(*names):
    config = base.get_config()
    config.evaluation.evaluators = names
    config.evaluation.nmi.clusters = 3
    config.evaluation.linear_probe.epochs = 1
    config.evaluation.tsne.perplexity = 3.0
    return config


def write(given, directory):
    path = directory / "arrays.npz"
    np.savez(path, **{f"{pairing}/{name}": array for pairing, named in given.items() for name, array in named.items()})
    return path


def score(config, given, directory):
    path = write(given, directory)
    main.run(config, directory / "run", "evaluate", None, str(path))
    return json.loads((directory / "run" / "results.json").read_text())


def test_every_result_states_the_data_behind_it(tmp_path):
    given = arrays()
    facts = {
        "network": "other",
        "checkpoint_step": 3,
        "seed": 4,
        "sources": {pairing: {"dataset": f"{pairing}/set", "split": "test", "clips": 15} for pairing in given},
    }
    results = score(config_of(*NAMES), given | {"about": {"facts": np.array(json.dumps(facts))}}, tmp_path)
    assert set(results) == set(NAMES)
    for name, found in results.items():
        assert set(found) >= STATED, name
        module = by_name(avlearn.evaluators, name, "")
        assert (found["dataset"], found["split"]) == (f"{module.PAIRING}/set", "test"), name
        own_seed = "seed" in inspect.signature(module.evaluate).parameters
        assert (found["network"], found["checkpoint_step"]) == ("other", 3), name
        assert found["seed"] == (0 if own_seed else 4), name
        # Items are pairs here: a positive and two negatives (one, if shifted) of each clip.
        assert found["items_expected"] == {"avc_accuracy": 45, "shift_accuracy": 30}.get(name, 15), name
        assert found["items"] <= found["items_expected"], name
        assert isinstance(found["protocol"], str), name
        assert found["baselines"], name
        assert ("fit" in found) == hasattr(module, "FIT_NEEDS"), name


def test_missing_facts_are_not_stated(tmp_path):
    found = score(config_of("avc_accuracy"), {"avc_draws": arrays()["avc_draws"]}, tmp_path)["avc_accuracy"]
    assert {found[name] for name in ("network", "checkpoint_step", "dataset", "split")} == {"not stated"}
    assert (found["items"], found["items_expected"]) == (36, 36)


def test_results_state_what_is_special_about_their_rows(tmp_path):
    given = {"avc_draws": arrays()["avc_draws"]}
    facts = {"sources": {"avc_draws": {"note": "negatives of one video"}}}
    plain = score(config_of("avc_accuracy"), given, tmp_path / new("plain", tmp_path))["avc_accuracy"]
    noted = given | {"about": {"facts": np.array(json.dumps(facts))}}
    found = score(config_of("avc_accuracy"), noted, tmp_path / new("noted", tmp_path))["avc_accuracy"]
    assert found["protocol"] == f"{plain['protocol']}; negatives of one video"


def test_a_refusal_keeps_the_results_of_the_others(tmp_path):
    given = arrays()
    given["avc"]["boxes"][:] = np.nan
    with pytest.raises(ValueError, match=r"^pointing: none of 12 corresponding pairs has a sounding box") as refusal:
        score(config_of("pointing", "ndcg"), given, tmp_path)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["pointing"] == {"refused": str(refusal.value)}
    assert results["ndcg"]["items"] == CLIPS


def test_the_file_gives_the_relevance_of_classes(tmp_path):
    given = {"all_positive": arrays()["all_positive"]}
    strict = score(config_of("ndcg"), given, tmp_path / new("strict", tmp_path))["ndcg"]
    relevance = np.array([[5, 4, 0], [4, 5, 0], [0, 0, 5]])
    kinship = given | {"about": {"class_relevance": relevance}}
    related = score(config_of("ndcg"), kinship, tmp_path / new("related", tmp_path))["ndcg"]
    # Three of the eleven others have the same class; in the second table two of the three classes are related.
    assert related["baselines"]["chance"]["im-im"] > strict["baselines"]["chance"]["im-im"]
    wrong = given | {"about": {"class_relevance": relevance[:2, :2]}}
    with pytest.raises(ValueError, match=r"^ndcg: labels has 3 classes in 12 rows, class_relevance 2"):
        score(config_of("ndcg"), wrong, tmp_path / new("wrong", tmp_path))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.eye(3), r"class_relevance is float64 \[3, 3\]; it holds integers"),
        (np.ones((3, 2), int), r"class_relevance is int64 \[3, 2\]; .* a row and a column"),
        (
            np.diag([1, 1024, 1]),
            "class_relevance is 1024 in 1 of 3 rows, first in row 1; expected integers from 0 to 1000",
        ),
        (np.full((3, 3), None), r"about/class_relevance cannot be read \(Object arrays"),
    ],
)
def test_the_relevance_of_classes_is_checked_by_those_that_take_it(array, message, tmp_path):
    given = arrays() | {"about": {"class_relevance": array}}
    with pytest.raises(ValueError, match=rf"^ndcg: {message}.*\ncca: {message}[^\n]*$"):
        score(config_of("ndcg", "cca", "tsne"), given, tmp_path)
    assert results_of(tmp_path)["tsne"]["items"] == CLIPS


def test_gains_of_the_greatest_relevance_are_finite(tmp_path):
    given = {"all_positive": arrays()["all_positive"], "about": {"class_relevance": 1000 * np.eye(3, dtype=np.int16)}}
    strict = score(config_of("ndcg"), {"all_positive": given["all_positive"]}, tmp_path / new("strict", tmp_path))
    found = score(config_of("ndcg"), given, tmp_path / new("great", tmp_path))["ndcg"]
    assert found["im-aud"] == pytest.approx(strict["ndcg"]["im-aud"], rel=1e-12)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{network}", r"about/facts is not JSON \(Expecting property name"),
        ("[" * 100_000, r"about/facts is not JSON \(maximum recursion depth"),
        ('{"seed": NaN}', r"about/facts is not JSON \(NaN is not a number of JSON\)"),
        ("[1]", r"about/facts is \[1\]; expected an object"),
        ('{"network": ["a"]}', r"about/facts: network is \['a'\]; expected text"),
        ('{"seed": true}', "about/facts: seed is True; expected a whole number from 0"),
        ('{"checkpoint_step": 1.5}', "about/facts: checkpoint_step is 1.5; expected a whole number from 0"),
        ('{"sources": {"fit": 3}}', "about/facts: sources.fit is 3; expected an object"),
        (
            '{"sources": {"fit": {"clips": -1}}}',
            "about/facts: sources.fit: clips is -1; expected a whole number from 0",
        ),
    ],
)
def test_facts_about_the_arrays_are_checked(facts, message, tmp_path):
    given = {"all_positive": arrays()["all_positive"], "about": {"facts": np.array(facts)}}
    with pytest.raises(ValueError, match=f"^{message}"):
        score(config_of("ndcg"), given, tmp_path)
    assert not (tmp_path / "run").exists()


def test_facts_that_cannot_be_read_are_refused(tmp_path):
    given = {"all_positive": arrays()["all_positive"], "about": {"facts": np.array({"seed": 3})}}
    with pytest.raises(ValueError, match=r"arrays.npz: about/facts cannot be read \(Object arrays"):
        score(config_of("ndcg"), given, tmp_path)


NUMBERS_OF_PIXELS = np.tile([0.0, 0.0, 30.0, 30.0], (24, 1, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heat_map": np.ones((24, 4, 4), bool)}, r"heat_map is bool of shape \(24, 4, 4\); expected float16, float32"),
        ({"heat_map": np.ones((24, 4, 4), np.uint8)}, r"heat_map is uint8 of shape \(24, 4, 4\); expected float16"),
        (
            {"boxes": NUMBERS_OF_PIXELS},
            "boxes is 30 in 24 of 24 rows, first in row 0; expected float from 0 to 1, or NaN",
        ),
        ({"boxes": NUMBERS_OF_PIXELS[..., :3]}, r"boxes has shape \(24, 1, 3\); expected rows, boxes, 4"),
        (
            {"corresponds": np.repeat([1, -1], CLIPS)},
            "corresponds is -1 in 12 of 24 rows, first in row 12; expected true",
        ),
        ({"box_sounding": np.ones((24, 1))}, r"box_sounding is float64 of shape \(24, 1\); expected bool"),
        ({"image_item": np.arange(24.0)}, r"image_item is float64 of shape \(24,\); expected integers or text"),
        ({"heat_map": np.zeros((24, 0, 4))}, r"heat_map has shape \(24, 0, 4\); expected rows, map rows, map columns"),
    ],
)
def test_scores_of_other_evaluators_are_saved(changes, message, tmp_path):
    given = arrays()
    given["avc"] |= changes
    with pytest.raises(ValueError, match=rf"^ciou: {message}.*\npointing: {message}[^\n]*$") as refusal:
        score(config_of("ciou", "ndcg", "pointing", "avc_accuracy"), given, tmp_path)
    results = results_of(tmp_path)
    assert "\n".join(results[name]["refused"] for name in ("ciou", "pointing")) == str(refusal.value)
    assert (results["ndcg"]["items"], results["avc_accuracy"]["items"]) == (CLIPS, 3 * CLIPS)


def results_of(directory):
    return json.loads((directory / "run" / "results.json").read_text())


def header(shape):
    """Return the start of an .npy file that declares zeros of this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


HEAT_MAP = npy(np.zeros((24, 4, 4)))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("heat_map.npy", npy(np.full(24, None)))], "Object arrays cannot be loaded when allow_pickle=False"),
        ([("heat_map", HEAT_MAP[200:])], "it is not an .npy file"),
        ([("heat_map.npy", HEAT_MAP), ("heat_map.npy", HEAT_MAP)], "it is stored twice"),
        ([("heat_map.npy", HEAT_MAP), ("heat_map", HEAT_MAP)], "it is stored twice"),
        ([("heat_map.npy", HEAT_MAP[:-1])], "EOF: reading array data, expected .* bytes got .*"),
        ([("heat_map.npy", header((10**7, 10**7)))], "Unable to allocate 728. TiB .*"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_no_arrays_are_refused_by_those_that_read_them(members, reason, tmp_path):
    given = arrays()
    del given["avc"]["heat_map"]
    path = write(given, tmp_path)
    with zipfile.ZipFile(path, "a") as file:
        for name, content in members:
            file.writestr(f"avc/{name}", content)
    with pytest.raises(ValueError, match=rf"^pointing: avc/heat_map cannot be read \({reason}\); see docs/metrics"):
        main.run(config_of("pointing", "ndcg"), tmp_path / "run", "evaluate", None, str(path))
    assert results_of(tmp_path)["ndcg"]["items"] == CLIPS


def test_a_damaged_member_is_refused_even_if_it_is_optional(tmp_path):
    path = write(arrays(), tmp_path)
    with zipfile.ZipFile(path) as file:
        info = file.getinfo("all_positive/audio_embedding.npy")
    content = bytearray(path.read_bytes())
    content[info.header_offset + 300] ^= 1
    path.write_bytes(content)
    damaged = r"ndcg: all_positive/audio_embedding cannot be read \(Bad CRC-32"
    with pytest.raises(ValueError, match=damaged):
        main.run(config_of("ndcg", "iiou"), tmp_path / "run", "evaluate", None, str(path))
    assert results_of(tmp_path)["iiou"]["items"] == 2
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"arrays.npz cannot be read as an .npz \(File is not a zip file\)"):
        main.run(config_of("ndcg"), tmp_path / "run", "evaluate", None, str(path))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TypeError("a fault"), r"^pointing failed: TypeError\('a fault'\)$"),
        (ValueError("array must be finite"), "^pointing: array must be finite$"),
    ],
)
def test_an_evaluator_that_fails_costs_no_scores_of_others(error, message, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(by_name(avlearn.evaluators, "pointing", ""), "evaluate", fails)
    with pytest.raises(ValueError, match=message):
        score(config_of("pointing", "ndcg"), arrays(), tmp_path)
    assert results_of(tmp_path)["ndcg"]["items"] == CLIPS


def test_options_of_the_config_reach_their_evaluators(tmp_path):
    config = config_of("nmi", "tsne", "linear_probe")
    nmi, probe = {"average": "max", "label_rule": "only"}, {"label_smoothing": 0.25}
    config.evaluation.update({"nmi": nmi, "linear_probe": probe})
    found = score(config, arrays(), tmp_path)
    assert (found["nmi"]["average"], found["nmi"]["label_rule"]) == ("max", "only")
    assert found["tsne"]["perplexity"] == 3
    assert found["linear_probe"]["label_smoothing"] == 0.25


def test_the_config_excludes_own_clips_across_modes(tmp_path):
    given = {"all_positive": arrays()["all_positive"], "fit": arrays()["fit"]}
    config = config_of("ndcg", "cca")
    config.evaluation.ndcg.own_item_across = config.evaluation.cca.own_item_across = "excluded"
    for found in score(config, given, tmp_path).values():
        assert found["protocol"].startswith(
            "nDCG@30, exponential gain; own item excluded within a mode, excluded across"
        )
        # Three of the eleven others have the same class, in both directions.
        assert found["baselines"]["chance"]["im-aud"] == found["baselines"]["chance"]["im-im"]


def new(name, directory):
    (directory / name).mkdir()
    return name


NEEDED = [(name, field) for name in NAMES for field in by_name(avlearn.evaluators, name, "").NEEDS]


@pytest.mark.parametrize(("name", "field"), NEEDED)
def test_a_missing_or_short_or_non_numeric_or_infinite_array_is_named(name, field):
    config = config_of(name)
    (evaluator,) = registry.build_evaluators(config, np.eye(CLASSES, dtype=int))
    given = arrays()
    of_pairing = given[evaluator.needs.pairing]
    whole = of_pairing.pop(field)
    with pytest.raises(ValueError, match=rf"^{name}: missing \['{field}'\]; it needs .* was given"):
        scoring.run((evaluator,), given, clips={})
    of_pairing[field] = whole.astype(str)
    if field != "image_item":
        with pytest.raises(ValueError, match=rf"^{name}: {field} is <U\d+ of shape \({len(whole)},.*; expected "):
            scoring.run((evaluator,), given, clips={})
    of_pairing[field] = whole[:2]
    with pytest.raises(ValueError, match=rf"^{name}: the arrays have different numbers of rows: .*'{field}': 2"):
        scoring.run((evaluator,), given, clips={})
    if whole.dtype.kind == "f" and field != "boxes":
        of_pairing[field] = np.where(np.arange(len(whole)).reshape(-1, *[1] * (whole.ndim - 1)) == 1, np.nan, whole)
        with pytest.raises(ValueError, match=rf"^{name}: {field} is not finite in 1 of {len(whole)} rows"):
            scoring.run((evaluator,), given, clips={})


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_split_and_a_missing_pairing(name):
    (evaluator,) = registry.build_evaluators(config_of(name), np.eye(CLASSES, dtype=int))
    given = arrays()
    pairing = evaluator.needs.pairing
    given[pairing] = {field: array[:0] for field, array in given[pairing].items()}
    with pytest.raises(ValueError, match=rf"^{name}: no items: .* have 0 rows; is the evaluation split empty"):
        scoring.run((evaluator,), given, clips={})
    del given[pairing]
    with pytest.raises(ValueError, match=rf"^{name}: the arrays {pairing}/\.\.\. are missing; given: "):
        scoring.run((evaluator,), given, clips={})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "cannot be read as an .npz"),
        ({"logit": np.zeros(2)}, r"\['logit'\] are not names like all_positive"),
    ],
)
def test_a_file_that_is_not_an_npz_of_arrays(content, message, tmp_path):
    path = tmp_path / "arrays.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(ValueError, match=message):
        main.run(config_of("ndcg"), tmp_path / "run", "evaluate", None, str(path))


def test_flags_that_exclude_each_other(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"--arrays=.*none.npz is not a file"):
        main.run(config_of("ndcg"), tmp_path, "evaluate", None, str(tmp_path / "none.npz"))
    for mode, checkpoint in (("train", None), ("evaluate", str(tmp_path / "checkpoints"))):
        with pytest.raises(ValueError, match="--arrays goes with --mode=evaluate and without --checkpoint"):
            main.run(config_of("ndcg"), tmp_path, mode, checkpoint, "arrays.npz")


NEW_EVALUATOR = """
from avlearn.config import one_of
from avlearn.types import TableRow

NEEDS = ("labels",)
PAIRING = "all_positive"
COUNTS = {"classes": 1, "clips": 0}
TABLE = (TableRow("largest", "Largest number of {count}", "mean", "mean number", decimals=1),)


def check_options(*, count):
    one_of(count, COUNTS, "evaluation.label_counts.count")


def evaluate(test, fit=None, *, count="classes", items_expected=None):
    found = test["labels"].sum(axis=COUNTS[count])
    return {
        "largest": float(found.max()),
        "baselines": {"mean": float(found.mean())},
        "count": count,
        "protocol": "sums of the labels",
        "items": len(test["labels"]),
        "items_expected": items_expected or len(test["labels"]),
    }
"""


def test_a_new_evaluator_is_a_file_and_a_section(tmp_path, monkeypatch, capsys):
    (tmp_path / "label_counts.py").write_text(NEW_EVALUATOR)
    monkeypatch.setattr(avlearn.evaluators, "__path__", [*avlearn.evaluators.__path__, str(tmp_path)])
    config = config_of("label_counts")
    with config.unlocked():
        config.evaluation.label_counts = {"count": "classes"}
    config.evaluation.label_counts.count = "clips"
    found = score(config, {"all_positive": arrays()["all_positive"]}, tmp_path)["label_counts"]
    assert (found["largest"], found["count"], found["network"]) == (CLIPS // CLASSES, "clips", "not stated")
    row = "Largest number of clips  4.0    mean number  4.0               12/12"
    assert row in capsys.readouterr().out
    config.evaluation.label_counts.count = "pairs"
    message = "label_counts.count is 'pairs'; --config.evaluation.label_counts.count takes classes, clips"
    with pytest.raises(ValueError, match=message):
        registry.needs(config)


def test_a_section_has_only_options_of_its_evaluator():
    config = config_of("tsne")
    with config.unlocked():
        config.evaluation.tsne.colour = "blue"
    with pytest.raises(
        TypeError, match=r"config\.evaluation\.tsne has colour; evaluate\(\) of .*tsne does not take it"
    ):
        registry.build_evaluators(config, None)
