"""Every evaluator on plain arrays: what its result states, and figures from a file of another system."""

import inspect
import json
import pkgutil

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
    """Each clip with its own sound, with another one's, and (of three kinds) with silence."""
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
    """What every pairing has, of a system that wrote its outputs by itself."""
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
    pictures = {"image_features": rng.normal(size=(CLIPS, 4)), "labels": windows["labels"]}
    return {
        "all_positive": clip_arrays(rng, CLIPS),
        "fit": clip_arrays(rng, 20),
        "avc": pair_arrays(rng, 2),
        "avc_draws": pair_arrays(rng, 3),
        "shifted": pair_arrays(rng, 2),
        "negatives": pair_arrays(rng, 3),
        "sources": sources,
        "windows": windows,
        "images": pictures,
        "images_fit": pictures,
    }


def config_of(*names):
    config = base.get_config()
    config.evaluation.evaluators = names
    config.evaluation.nmi_clusters = 3
    config.evaluation.probe_epochs = 1
    return config


def score(config, given, directory):
    path = directory / "arrays.npz"
    np.savez(path, **{f"{pairing}/{name}": array for pairing, named in given.items() for name, array in named.items()})
    main.run(config, directory / "run", "evaluate", None, str(path))
    return json.loads((directory / "run" / "results.json").read_text())


@pytest.fixture
def quick(monkeypatch):
    """t-SNE of a dozen clips."""
    found = registry.build_evaluators

    def build(config, relevance, mesh=None):
        small = {"tsne": {"perplexity": 3.0, "neighbours": 2}, "unit_preference": {"random_draws": 2}}
        return tuple(
            scoring.Evaluator(**(vars(each) | {"options": {**each.options, **small.get(each.name, {})}}))
            for each in found(config, relevance, mesh)
        )

    monkeypatch.setattr(registry, "build_evaluators", build)


def test_every_result_states_what_it_is_of(quick, tmp_path):
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
        own_seed = not {"seed", "options"}.isdisjoint(inspect.signature(module.evaluate).parameters)
        assert (found["network"], found["checkpoint_step"]) == ("other", 3), name
        assert found["seed"] == (0 if own_seed else 4), name
        # Items are pairs here: a positive and two negatives (one, if shifted) of each clip.
        assert found["items_expected"] == {"avc_accuracy": 45, "shift_accuracy": 30}.get(name, 15), name
        assert found["items"] <= found["items_expected"], name
        assert isinstance(found["protocol"], str), name
        assert found["baselines"], name
        assert ("fit" in found) == hasattr(module, "FIT_NEEDS"), name


def test_what_is_not_said_is_stated_as_such(tmp_path):
    found = score(config_of("avc_accuracy"), {"avc_draws": arrays()["avc_draws"]}, tmp_path)["avc_accuracy"]
    assert {found[name] for name in ("network", "checkpoint_step", "dataset", "split")} == {"not stated"}
    assert (found["items"], found["items_expected"]) == (36, 36)


def test_an_evaluator_that_refuses_does_not_cost_the_others(tmp_path):
    given = arrays()
    given["avc"]["boxes"][:] = np.nan
    with pytest.raises(ValueError, match=r"^pointing: none of 12 corresponding pairs has a sounding box") as refusal:
        score(config_of("pointing", "ndcg"), given, tmp_path)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["pointing"] == {"refused": str(refusal.value)}
    assert results["ndcg"]["items"] == CLIPS


def test_classes_are_compared_as_the_file_says(tmp_path):
    given = {"all_positive": arrays()["all_positive"]}
    strict = score(config_of("ndcg"), given, tmp_path / new("strict", tmp_path))["ndcg"]
    relevance = np.array([[5, 4, 0], [4, 5, 0], [0, 0, 5]])
    kinship = given | {"about": {"class_relevance": relevance}}
    related = score(config_of("ndcg"), kinship, tmp_path / new("related", tmp_path))["ndcg"]
    # Of eleven others three are of the same class; by the second table two of the three classes are alike.
    assert related["baselines"]["chance"]["im-im"] > strict["baselines"]["chance"]["im-im"]
    wrong = given | {"about": {"class_relevance": relevance[:2, :2]}}
    with pytest.raises(ValueError, match=r"^ndcg: labels has 3 classes in 12 rows, class_relevance 2"):
        score(config_of("ndcg"), wrong, tmp_path / new("wrong", tmp_path))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("class_relevance", np.eye(3), r"about/class_relevance is float64 \[3, 3\]; it holds integers"),
        ("class_relevance", np.ones((3, 2), int), r"about/class_relevance is int64 \[3, 2\]; .* a row and a column"),
        ("facts", np.array("{network}"), "about/facts is no JSON"),
    ],
)
def test_what_stands_beside_the_arrays_is_checked(name, array, message, tmp_path):
    given = {"all_positive": arrays()["all_positive"], "about": {name: array}}
    with pytest.raises(ValueError, match=message):
        score(config_of("ndcg"), given, tmp_path)


def test_options_of_the_config_reach_their_evaluators(tmp_path):
    config = config_of("nmi", "tsne", "linear_probe")
    config.evaluation.update(nmi_average="max", nmi_label_rule="only", tsne_perplexity=3.0, probe_label_smoothing=0.25)
    found = score(config, arrays(), tmp_path)
    assert (found["nmi"]["average"], found["nmi"]["label_rule"]) == ("max", "only")
    assert found["tsne"]["perplexity"] == 3
    assert found["linear_probe"]["label_smoothing"] == 0.25


def test_own_clips_are_left_out_across_modes_where_the_config_says_so(tmp_path):
    given = {"all_positive": arrays()["all_positive"], "fit": arrays()["fit"]}
    config = config_of("ndcg", "cca")
    config.evaluation.own_item_across = "excluded"
    for found in score(config, given, tmp_path).values():
        assert found["protocol"].startswith(
            "nDCG@30, exponential gain; own item excluded within a mode, excluded across"
        )
        # Of eleven others three are of the same class, in either direction.
        assert found["baselines"]["chance"]["im-aud"] == found["baselines"]["chance"]["im-im"]


def new(name, directory):
    (directory / name).mkdir()
    return name


NEEDED = [(name, field) for name in NAMES for field in by_name(avlearn.evaluators, name, "").NEEDS]


@pytest.mark.parametrize(("name", "field"), NEEDED)
def test_an_array_that_is_missing_or_cut_or_no_numbers_or_not_finite_is_named(name, field):
    config = config_of(name)
    (evaluator,) = registry.build_evaluators(config, np.eye(CLASSES, dtype=int))
    given = arrays()
    of_pairing = given[evaluator.pairing]
    whole = of_pairing.pop(field)
    with pytest.raises(ValueError, match=rf"^{name}: missing \['{field}'\]; it needs .* was given"):
        scoring.run((evaluator,), given, clips={})
    of_pairing[field] = whole.astype(str)
    if field != "image_item":
        with pytest.raises(
            ValueError, match=rf"^{name}: {field} is <U\d+ of shape \({len(whole)},.*; expected numbers"
        ):
            scoring.run((evaluator,), given, clips={})
    of_pairing[field] = whole[:2]
    with pytest.raises(ValueError, match=rf"^{name}: the arrays have different numbers of rows: .*'{field}': 2"):
        scoring.run((evaluator,), given, clips={})
    if whole.dtype.kind == "f" and field != "boxes":
        of_pairing[field] = np.where(np.arange(len(whole)).reshape(-1, *[1] * (whole.ndim - 1)) == 1, np.nan, whole)
        with pytest.raises(ValueError, match=rf"^{name}: {field} is not finite in 1 of {len(whole)} rows"):
            scoring.run((evaluator,), given, clips={})


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_split_and_a_pairing_that_is_not_there(name):
    (evaluator,) = registry.build_evaluators(config_of(name), np.eye(CLASSES, dtype=int))
    given = arrays()
    given[evaluator.pairing] = {field: array[:0] for field, array in given[evaluator.pairing].items()}
    with pytest.raises(ValueError, match=rf"^{name}: no items: .* have 0 rows; is the evaluation split empty"):
        scoring.run((evaluator,), given, clips={})
    del given[evaluator.pairing]
    with pytest.raises(ValueError, match=rf"^{name}: no arrays {evaluator.pairing}/\.\.\., 0 rows; there are"):
        scoring.run((evaluator,), given, clips={})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "cannot be read as an .npz"),
        ({"logit": np.zeros(2)}, r"\['logit'\] are no names like all_positive"),
        ({"avc/logit": np.array([None])}, "arrays.npz: avc/logit cannot be read .*see docs/scoring.md"),
    ],
)
def test_a_file_that_is_none(content, message, tmp_path):
    path = tmp_path / "arrays.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(ValueError, match=message):
        main.run(config_of("ndcg"), tmp_path / "run", "evaluate", None, str(path))


def test_flags_that_do_not_go_together(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"--arrays=.*none.npz is not a file"):
        main.run(config_of("ndcg"), tmp_path, "evaluate", None, str(tmp_path / "none.npz"))
    for mode, checkpoint in (("train", None), ("evaluate", str(tmp_path / "checkpoints"))):
        with pytest.raises(ValueError, match="--arrays goes with --mode=evaluate and without --checkpoint"):
            main.run(config_of("ndcg"), tmp_path, mode, checkpoint, "arrays.npz")
