import numpy as np
import pytest
from sklearn import metrics

from avlearn import ontology
from avlearn.evaluators import ndcg

LOG3 = np.log2(3)
RELEVANCE = np.array([[2, 1, 0], [1, 2, 0], [0, 0, 2]])  # of three classes


@pytest.fixture
def by_hand():
    """Return three items of one class each, on a line."""
    return {
        "image_embedding": np.array([[0.0], [1.0], [3.0]]),
        "audio_embedding": np.array([[2.9], [0.2], [1.1]]),
        "labels": np.eye(3, dtype=bool),
    }


def random_items(items=60, classes=7, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 5, (classes, classes))
    labels = rng.random((items, classes)) < 0.3
    labels[np.arange(items), rng.integers(classes, size=items)] = True
    arrays = {name: rng.normal(size=(items, dim)).astype(np.float32) for name in ("image_embedding", "audio_embedding")}
    return arrays | {"labels": labels}, np.maximum(distances, distances.T) + 6 * np.eye(classes, dtype=int)


def test_across_modes_by_hand(by_hand):
    found = ndcg.evaluate(by_hand, class_relevance=RELEVANCE, k=2)
    # Frame 0 finds sounds 1, 2 (gains 1, 0), frame 1 sounds 2, 1 (0, 3), frame 2 sounds 0, 2 (0, 3).
    assert found["im-aud"] == pytest.approx((1 / (3 + 1 / LOG3) + (3 / LOG3) / (3 + 1 / LOG3) + (3 / LOG3) / 3) / 3)
    # Sound 0 finds frames 2, 1 (gains 0, 1), sound 1 frames 0, 1 (1, 3), sound 2 frames 1, 0 (0, 0).
    assert found["aud-im"] == pytest.approx(((1 / LOG3) / (3 + 1 / LOG3) + (1 + 3 / LOG3) / (3 + 1 / LOG3) + 0) / 3)
    assert found["queries_without_relevant"]["im-aud"] == 0


def test_within_a_mode_the_query_is_not_a_result(by_hand):
    found = ndcg.evaluate(by_hand, class_relevance=RELEVANCE, k=1, gain="linear")
    # Frame 0 finds 1, frame 1 finds 0 (both right); nothing is relevant to frame 2.
    assert found["im-im"] == pytest.approx(2 / 3)
    # Sound 0 finds 2 (wrong), 1 finds 2 (wrong); nothing is relevant to sound 2.
    assert found["aud-aud"] == 0
    assert found["queries_without_relevant"] == {"im-im": 1, "im-aud": 0, "aud-im": 0, "aud-aud": 1}
    # A random order of two items, one of them relevant, for two of the three queries.
    assert found["baselines"]["chance"]["im-im"] == pytest.approx(1 / 2 * 2 / 3)
    assert found["baselines"]["chance"]["im-aud"] == pytest.approx(((1 / 2) + (1 / 2) + (1 / 3)) / 3)


def test_own_item_across_modes_is_kept_or_excluded_by_name():
    arrays, class_relevance = random_items()
    arrays["audio_embedding"] = arrays["image_embedding"]
    kept = ndcg.evaluate(arrays, class_relevance=class_relevance, k=1)
    assert kept["im-aud"] == kept["aud-im"] == 1  # each finds itself
    excluded = ndcg.evaluate(arrays, class_relevance=class_relevance, k=1, own_item_across="excluded")
    assert excluded["im-aud"] == excluded["im-im"] == kept["im-im"] < 1
    chance = excluded["baselines"]["chance"]
    assert chance["im-aud"] == chance["im-im"] == kept["baselines"]["chance"]["im-im"]
    assert (kept["own_item_across"], excluded["own_item_across"]) == ("kept", "excluded")


@pytest.mark.parametrize("gain", ["exponential", "linear"])
@pytest.mark.parametrize("k", [1, 5, 30, 200])
@pytest.mark.parametrize("own_item_across", ["kept", "excluded"])
def test_agrees_with_scikit_learn(gain, k, own_item_across):
    arrays, class_relevance = random_items()
    found = ndcg.evaluate(arrays, class_relevance=class_relevance, k=k, gain=gain, own_item_across=own_item_across)
    relevance = ontology.relevance(arrays["labels"], arrays["labels"], class_relevance).astype(float)
    gains = 2**relevance - 1 if gain == "exponential" else relevance
    modes = {"im": arrays["image_embedding"].astype(float), "aud": arrays["audio_embedding"].astype(float)}
    for name in ndcg.COMBINATIONS:
        query, database = (modes[mode] for mode in name.split("-"))
        score = -np.linalg.norm(query[:, None] - database[None], axis=-1)
        keep = np.ones_like(score, bool)
        if query is database or own_item_across == "excluded":
            np.fill_diagonal(keep, False)
        truth, score = (array[keep].reshape(60, -1) for array in (gains, score))
        assert found[name] == pytest.approx(metrics.ndcg_score(truth, score, k=k, ignore_ties=True), abs=1e-9)


def test_gain_of_the_papers_relevances_is_exact():
    # 2^20 - 1 at the second rank, 2^18 - 1 at the first.
    arrays = {
        "image_embedding": np.array([[0.0], [9.0]]),
        "audio_embedding": np.array([[1.0], [0.5]]),
        "labels": np.eye(2, dtype=bool),
    }
    found = ndcg.evaluate(arrays, class_relevance=np.array([[20, 18], [18, 20]]))
    low, high = 2**18 - 1, 2**20 - 1
    first = (low + high / LOG3) / (high + low / LOG3)
    second = first  # frame 1 finds sound 0, too
    assert found["im-aud"] == pytest.approx((first + second) / 2, rel=1e-14)


@pytest.mark.parametrize(("gain", "k"), [("exponential", 6), ("linear", 6), ("exponential", 40)])
def test_chance_is_the_mean_over_random_orders(gain, k):
    arrays, class_relevance = random_items(items=25)
    found = ndcg.evaluate(arrays, class_relevance=class_relevance, k=k, gain=gain)["baselines"]["chance"]
    relevance = ontology.relevance(arrays["labels"], arrays["labels"], class_relevance).astype(float)
    gains = 2**relevance - 1 if gain == "exponential" else relevance
    rng = np.random.default_rng(0)
    for name, truth in (("im-aud", gains), ("aud-aud", gains[~np.eye(25, dtype=bool)].reshape(25, 24))):
        draws = [metrics.ndcg_score(truth, rng.random(truth.shape), k=k) for _ in range(150)]
        error = np.std(draws) / np.sqrt(len(draws))
        assert error < 0.004
        assert found[name] == pytest.approx(np.mean(draws), abs=4 * error)


@pytest.mark.parametrize("own_item", ["kept", "excluded"])
def test_equal_distances_come_in_the_order_of_item_numbers(own_item):
    # Points on a coarse grid far from the origin: many equal distances, which a matrix product would round differently.
    rng = np.random.default_rng(0)
    query, database = (1000.1 + rng.integers(0, 3, (200, 40)) * 0.25 for _ in range(2))
    database[rng.integers(200, size=80)] = database[3]
    distances = np.square(query[:, None] - database[None]).sum(axis=-1)
    if own_item == "excluded":
        np.fill_diagonal(distances, np.inf)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :30]
    np.testing.assert_array_equal(ndcg.nearest(query, database, 30, own_item=own_item), expected)


def test_equal_vectors_are_found_in_order():
    same = np.full((50, 8), 1 / 3)
    expected = [[j for j in range(50) if j != i][:30] for i in range(50)]
    np.testing.assert_array_equal(ndcg.nearest(same, same, 30, own_item="excluded"), expected)


def test_size_of_blocks_does_not_matter(monkeypatch):
    arrays, class_relevance = random_items()
    whole = ndcg.evaluate(arrays, class_relevance=class_relevance)
    monkeypatch.setattr(ndcg, "_BLOCK_CELLS", 150)
    monkeypatch.setattr(ndcg, "_BLOCK_VECTORS", 7)
    assert ndcg.evaluate(arrays, class_relevance=class_relevance) == whole


def test_many_values_of_k_in_one_pass():
    arrays, class_relevance = random_items()
    found = ndcg.evaluate(arrays, class_relevance=class_relevance, k=10, curve=(3, 10, 70))
    assert list(found["by_k"]) == ["3", "10", "70"]
    for k, row in found["by_k"].items():
        alone = ndcg.evaluate(arrays, class_relevance=class_relevance, k=int(k))
        assert {name: row[name] for name in ndcg.COMBINATIONS} == {name: alone[name] for name in ndcg.COMBINATIONS}
        assert row["chance"] == alone["baselines"]["chance"]
    assert {name: found[name] for name in ndcg.COMBINATIONS}.items() <= found["by_k"]["10"].items()


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e25])
@pytest.mark.parametrize("kind", ["spread", "far outlier", "nearly equal"])
def test_items_that_are_equal_in_float32_are_ranked_by_float64(length, kind):
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(400, 6))
    if kind == "far outlier":
        vectors[7] *= 1e6
    if kind == "nearly equal":
        vectors = 1 + 1e-9 * vectors
    vectors *= length
    distance = np.square(vectors[:, None] - vectors[None]).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    expected = np.argsort(distance, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(ndcg.nearest(vectors, vectors, 5, own_item="excluded"), expected)


def test_items_without_labels_are_relevant_to_nothing(by_hand):
    by_hand["labels"] = np.zeros((3, 3), bool)
    found = ndcg.evaluate(by_hand, class_relevance=RELEVANCE)
    assert found["im-aud"] == found["baselines"]["chance"]["im-aud"] == 0
    assert found["queries_without_relevant"]["im-aud"] == 3


def test_result_states_its_definition(by_hand):
    found = ndcg.evaluate(by_hand, class_relevance=RELEVANCE, k=2, gain="linear", items_expected=5)
    stated = {key: found[key] for key in ("k", "gain", "own_item_across", "items", "items_expected")}
    assert stated == {"k": 2, "gain": "linear", "own_item_across": "kept", "items": 3, "items_expected": 5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "ndcg: k = 0; at least 1 rank must count"),
        ({"gain": "quadratic"}, "ndcg.gain is 'quadratic'; .* takes exponential, linear"),
        ({"own_item_across": "yes"}, "ndcg.own_item_across is 'yes'; .* takes kept, excluded"),
        ({"class_relevance": np.eye(2, dtype=int)}, "ndcg: labels has 3 classes in 3 rows, class_relevance 2"),
        (
            {"class_relevance": -np.eye(3, dtype=int)},
            "ndcg: class_relevance is -1 in 3 of 3 rows, first in row 0; expected integers from 0 to 1000",
        ),
    ],
)
def test_wrong_options_are_refused(options, message, by_hand):
    with pytest.raises(ValueError, match=message):
        ndcg.evaluate(by_hand, **({"class_relevance": RELEVANCE} | options))


def test_wrong_arrays_are_refused(by_hand):
    with pytest.raises(ValueError, match="ndcg: 1 row in labels"):
        ndcg.evaluate({name: array[:1] for name, array in by_hand.items()}, class_relevance=RELEVANCE)
    with pytest.raises(ValueError, match="ndcg: labels is 2 in 2 of 3 rows, first in row 1; expected true or false"):
        ndcg.evaluate(by_hand | {"labels": np.diag([1, 2, 3])}, class_relevance=RELEVANCE)
    by_hand["audio_embedding"] = np.zeros((3, 2))
    with pytest.raises(ValueError, match="image_embedding has 1 dimensions and audio_embedding 2"):
        ndcg.evaluate(by_hand, class_relevance=RELEVANCE)
