import numpy as np
import pytest

from avlearn.evaluators import avc_accuracy, cca, ciou, ndcg, nmi, pointing, tsne, unit_preference
from avlearn.evaluators.numerics import array_checks
from tests.helpers.paths import ROOT

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


OTHER_TYPES = {
    "float": (np.uint8, bool, np.longdouble, np.complex64, "S3", object),
    "integer": (float, bool, "U3"),
    "true or false": (float, "U3", object),
    "integer or text": (float, bool, "S3", object),
}


@pytest.mark.parametrize("field", array_checks.ARRAYS)
def test_other_types_than_documented_are_refused(field):
    wanted = array_checks.ARRAYS[field]
    _, words = array_checks.TYPES[wanted.type]
    for kind in OTHER_TYPES[wanted.type]:
        array = np.ones([4 for _ in wanted.axes]).astype(kind)
        with pytest.raises(ValueError, match=f"^x: {field} is ") as refused:
            array_checks.arrays("x", {field: array}, (field,))
        assert str(refused.value) == f"x: {field} is {array.dtype} of shape {array.shape}; expected {words}"


@pytest.mark.parametrize("field", array_checks.ARRAYS)
def test_every_documented_type_is_accepted_and_converted(field):
    wanted = array_checks.ARRAYS[field]
    kinds = {
        "float": {"f2": "f2", "f4": "f4", "f8": "f8", ">f4": "f4"},
        "integer": {"u1": "i8", "u8": "i8", "i1": "i8", ">i4": "i8"},
        "true or false": {"?": "?", "i8": "?", "u1": "?"},
        "integer or text": {"i8": "i8", "U3": "U3", ">i4": "i4"},
    }[wanted.type]
    for given, expected in kinds.items():
        array = np.ones([4 for _ in wanted.axes]).astype(given)
        [found] = array_checks.arrays("x", {f"untrained_{field}": array}, (f"untrained_{field}",))
        assert found.dtype == np.dtype(expected)
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("field", "place", "value", "message"),
    [
        ("corresponds", 2, -1, "corresponds is -1 in 2 of 4 rows, first in row 2; expected true or false: whether"),
        ("labels", (1, 2), 3, "labels is 3 in 1 of 4 rows, first in row 1; expected true or false: true for"),
        ("pair_draw", 3, -2, "pair_draw is -2 in 1 of 4 rows, first in row 3; expected integer from -1: draw"),
        ("fold", 2, 0, "fold is 0 in 2 of 4 rows, first in row 2; expected integer from 1: cross-validation"),
        (
            "boxes",
            (1, 0, 2),
            30,
            "boxes is 30 in 1 of 4 rows, first in row 1; expected float from 0 to 1, or NaN: ymin",
        ),
        ("boxes", (3, 0, 1), -0.01, "boxes is -0.01 in 1 of 4 rows, first in row 3; expected float from 0 to 1"),
        ("boxes", (1, 0, 3), np.nan, "boxes is nan in 1 of 4 rows, first in row 1; .*; all four NaN for an absent box"),
        ("boxes", (1, 0, 3), np.inf, "boxes is inf in 1 of 4 rows, first in row 1; "),
        (
            "logit",
            1,
            -2e15,
            r"logit is -2e\+15 in 1 of 4 rows, first in row 1; expected float of at most 1e\+15: log-odds",
        ),
        (
            "heat_map",
            (2, 0, 1),
            np.nan,
            "heat_map is not finite in 1 of 4 rows, first in row 2; did the training diverge",
        ),
    ],
)
def test_the_first_row_of_a_wrong_value_is_named(field, place, value, message, good, monkeypatch):
    good |= {"pair_draw": np.array([-1, -1, 0, 0]), "fold": np.array([1, 1, 2, 2])}
    kind = float if good[field].dtype.kind == "f" else int
    good[field] = good[field].astype(kind)
    good[field][place] = value
    if value in (-1, 0):
        good[field][3] = value
    for cells in (4_000_000, 1):  # all at once, and row by row
        monkeypatch.setattr(array_checks, "_BLOCK_VALUES", cells)
        with pytest.raises(ValueError, match=f"^x: {message}"):
            array_checks.arrays("x", good, (field,))


def test_boxes_of_other_columns_and_of_another_number_are_refused(good):
    five = good | {"boxes": np.zeros((4, 1, 5))}
    with pytest.raises(ValueError, match=r"^pointing: boxes has shape \(4, 1, 5\); expected rows, boxes, 4$"):
        evaluate("pointing", five)
    # One flag for each row would be taken for all boxes of the row.
    two = good | {"boxes": np.zeros((4, 2, 4))}
    with pytest.raises(ValueError, match=r"different numbers of boxes: \{'boxes': 2, 'box_sounding': 1\}"):
        evaluate("ciou", two)


@pytest.mark.parametrize("shape", [(4, 0, 2), (4, 2, 0)])
def test_empty_maps_are_refused(shape, good):
    good["heat_map"] = np.zeros(shape)
    with pytest.raises(ValueError, match=r"^ciou: heat_map has shape .*; expected rows, map rows, map columns$"):
        evaluate("ciou", good)


def test_rows_without_any_box_are_not_an_error_of_the_array(good):
    good |= {"boxes": np.zeros((4, 0, 4)), "box_sounding": np.zeros((4, 0), bool)}
    with pytest.raises(ValueError, match="ciou: none of 2 corresponding pairs has a usable sounding box"):
        evaluate("ciou", good)


def test_the_page_shows_the_table():
    page = (ROOT / "docs" / "metrics" / "scoring.md").read_text()
    assert f"\n{array_checks.table()}\n" in page
    words = [words for _, words in array_checks.TYPES.values()]
    assert words == ["float16, float32 or float64", "integers", "bool, or the integers 0 and 1", "integers or text"]
