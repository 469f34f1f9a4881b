import numpy as np
import pytest

from avlearn.evaluators import avc_accuracy, cca, ciou, ndcg, nmi, pointing, tsne, unit_preference
from avlearn.evaluators.numerics import array_checks

EVALUATORS = {"avc_accuracy": (avc_accuracy, {}), "pointing": (pointing, {}), "ciou": (ciou, {})}
EVALUATORS["ndcg"] = (ndcg, {"class_relevance": np.eye(3, dtype=int)})
FIT = {name: np.random.default_rng(1).normal(size=(9, 5)) for name in cca.FIT_NEEDS}
EVALUATORS["cca"] = (cca, {"class_relevance": np.eye(3, dtype=int), "fit": FIT})
EVALUATORS["nmi"] = (nmi, {"clusters": 2, "restarts": 1})
EVALUATORS["tsne"] = (tsne, {"perplexity": 2.0, "neighbours": 2})
EVALUATORS["unit_preference"] = (unit_preference, {"top": 3, "agree": (2,), "random_draws": 1})
OF_POSITIVES = ("pointing", "ciou")  # they score the pairs that correspond
FIELDS = [(name, field) for name, (module, _) in EVALUATORS.items() for field in module.NEEDS]
CAN_BE_NAN = ("logit", "image_embedding", "audio_embedding", "heat_map", "image_pool4", "audio_pool4")


@pytest.fixture
def good():
    rng = np.random.default_rng(0)
    return {
        "corresponds": np.array([True, True, False, False]),
        "logit": rng.normal(size=4),
        "image_item": np.array([0, 1, 0, 1]),
        "labels": np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]], bool),
        "image_embedding": rng.normal(size=(4, 5)),
        "audio_embedding": rng.normal(size=(4, 5)),
        "heat_map": rng.normal(size=(4, 2, 2)),
        "image_pool4": rng.random((4, 6)),
        "audio_pool4": rng.random((4, 6)),
        "boxes": np.full((4, 1, 4), [0.0, 0.0, 0.6, 0.6]),
        "box_sounding": np.ones((4, 1), bool),
        "box_annotator": np.zeros((4, 1), int),
        "clip_id": np.array(["a", "b", "a", "b"]),
    }


def evaluate(name, arrays):
    module, options = EVALUATORS[name]
    return module.evaluate(arrays, **options)


@pytest.mark.parametrize("name", EVALUATORS)
def test_good_arrays_pass_and_coverage_is_stated(name, good):
    module, options = EVALUATORS[name]
    rows = 2 if name in OF_POSITIVES else 4
    assert evaluate(name, good)["items"] == rows
    assert evaluate(name, good)["items_expected"] == rows
    covered = module.evaluate(good, items_expected=10, **options)
    assert covered["items_expected"] == (20 if name == "avc_accuracy" else 10)  # a positive and a negative a clip


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_missing_array(name, field, good):
    del good[field]
    with pytest.raises(ValueError, match=rf"^{name}: missing \['{field}'\]; it needs .*given .*'clip_id'"):
        evaluate(name, good)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_array_of_another_length(name, field, good):
    good[field] = good[field][:3]
    with pytest.raises(ValueError, match=rf"^{name}: the arrays have different numbers of rows: .*'{field}': 3"):
        evaluate(name, good)


@pytest.mark.parametrize("name", EVALUATORS)
def test_no_rows(name, good):
    empty = {field: array[:0] for field, array in good.items()}
    with pytest.raises(ValueError, match=rf"^{name}: no items: .* have 0 rows"):
        evaluate(name, empty)


@pytest.mark.parametrize(("name", "field"), [each for each in FIELDS if each[1] in CAN_BE_NAN])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(name, field, value, good):
    good[field].reshape(4, -1)[[1, 3], 0] = value
    with pytest.raises(ValueError, match=rf"^{name}: {field} is not finite in 2 of 4 rows"):
        evaluate(name, good)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_another_number_of_dimensions(name, field, good):
    good[field] = good[field][..., None]
    with pytest.raises(ValueError, match=rf"^{name}: {field} has shape .*expected {good[field].ndim - 1} dimensions"):
        evaluate(name, good)


def test_arrays_come_in_the_order_asked_for(good):
    logit, item = array_checks.arrays("x", good, ("logit", "image_item"))
    assert logit is good["logit"]
    assert item is good["image_item"]
