"""Retrieval within and across modes, scored by nDCG@k (Objects that Sound 3.2, table 1).

The relevance of a database item to a query comes from their labels; DCG@k is the sum of `gain(relevance) / log2(i + 1)`
over the first k items (i = 1, 2, ...), and nDCG divides it by the DCG of the best order of the same database. The
published chance level fits the gain `2^relevance - 1` best, but not exactly: compare a score with its chance level.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from avlearn import ontology
from avlearn.config import one_of
from avlearn.evaluators.numerics import array_checks
from avlearn.types import TableRow

NEEDS = ("image_embedding", "labels")
OPTIONAL = ("audio_embedding",)  # absent if the network takes no audio
PAIRING = "all_positive"
COMBINATIONS = {"im-im": (0, 0), "im-aud": (0, 1), "aud-im": (1, 0), "aud-aud": (1, 1)}  # query-database
GAINS = {"exponential": lambda relevance: 2.0**relevance - 1, "linear": lambda relevance: 1.0 * relevance}
OWN_ITEM = ("kept", "excluded")
TABLE = (
    TableRow("im-im", "nDCG@{k} image → image", "chance", "chance"),
    TableRow("im-aud", "nDCG@{k} image → audio", "chance", "chance"),
    TableRow("aud-im", "nDCG@{k} audio → image", "chance", "chance"),
    TableRow("aud-aud", "nDCG@{k} audio → audio", "chance", "chance"),
)
LARGEST_RELEVANCE = 1000  # the gain 2^relevance stays finite, also summed over the ranks
_BLOCK_CELLS = 4_000_000  # query-database pairs to process at a time: 32 MB
_GROUPS = 8  # groups of items for each rank: their minima bound the distance of the last rank
_MANY = 64  # with more candidates than this for each rank, float64 picks them again
_BLOCK_VECTORS = 2000  # pairs of vectors in one block of exact distances: 2 MB at 128 dimensions, fits into a cache


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    class_relevance: np.ndarray | None = None,
    k: int = 30,
    curve: Sequence[int] = (),
    gain: str = "exponential",
    own_item_across: str = "kept",
    items_expected: int | None = None,
    evaluator: str = "ndcg",
) -> dict[str, Any]:
    """Compute mean nDCG@k of the four combinations of query and database, ranked by Euclidean distance.

    A network that takes no audio has one combination, im-im.

    Row i of both embeddings is item i. Within a mode the query is left out of the database. At equal distance the
    lower item number comes first. A database of fewer than k items is ranked in full. A query without relevant items
    in the database scores 0, as in scikit-learn, and counts.

    Args:
      test: arrays of `NEEDS`, and `audio_embedding` unless the network takes no audio (see
        `numerics/array_checks.py`).
      fit: not used.
      class_relevance: relevance between classes, 0 to `LARGEST_RELEVANCE` (`Ontology.class_relevance`); None: 1 for
        equal classes, else 0. The relevance of two items is the maximum over their labels.
      k: number of ranks that count.
      curve: further values of k for `by_k` (OtS figure 10), from the same ranking.
      gain: `exponential` (2^relevance - 1) or `linear`.
      own_item_across: across modes, the query's own item is `kept` in the database or `excluded`.
      items_expected: clips of the split; None: the items given.
      evaluator: name of the evaluator in messages.

    Returns:
      im-im, im-aud, aud-im, aud-aud (query-database), or im-im alone; baselines.chance with the same keys: the
      expectation over random orders of the same database; queries_without_relevant with the same keys; by_k: k to
      the metrics and their chance level; k, gain, own_item_across, items, items_expected.

    Raises:
      ValueError: arrays that are missing or wrong, labels that do not fit `class_relevance`, an unknown option.
    """
    check_options(k=k, curve=curve, gain=gain, own_item_across=own_item_across, evaluator=evaluator)
    audio = [name for name in OPTIONAL if name in test]
    labels, *embeddings = array_checks.arrays(evaluator, test, ("labels", "image_embedding", *audio))
    class_relevance = _relevance(evaluator, class_relevance, labels)
    _check_embeddings(evaluator, embeddings[0], embeddings[-1])
    depths = sorted({k, *curve})
    modes = [embedding.astype(np.float64) for embedding in embeddings]
    levels = GAINS[gain](np.arange(class_relevance.max() + 1))
    counts = {"kept": relevance_counts(labels, class_relevance)}
    counts["excluded"] = counts["kept"] - _own(labels, class_relevance, len(levels))
    by_k: dict[int, dict[str, Any]] = {each: {"chance": {}} for each in depths}
    without: dict[str, int] = {}
    for name, (query, database) in COMBINATIONS.items():
        if not audio and name != "im-im":
            continue
        own_item = "excluded" if query == database else own_item_across
        items = nearest(modes[query], modes[database], depths[-1], own_item=own_item)
        gains = levels[relevance_of(items, labels, class_relevance)]
        for each in depths:
            ideal = ideal_dcg(counts[own_item], levels, each)
            by_k[each][name] = _mean_ratio(discounted(gains[:, :each]), ideal)
            by_k[each]["chance"][name] = _mean_ratio(chance_dcg(counts[own_item], levels, each), ideal)
            without[name] = int((ideal == 0).sum())  # the same at every depth
    metrics = {name: value for name, value in by_k[k].items() if name != "chance"}
    return metrics | {
        "baselines": {"chance": by_k[k]["chance"]},
        "by_k": {str(each): row for each, row in by_k.items()},
        "queries_without_relevant": without,
        "k": k,
        "gain": gain,
        "own_item_across": own_item_across,
        "protocol": f"nDCG@{k}, {gain} gain; own item excluded within a mode, {own_item_across} across",
        "items": len(labels),
        "items_expected": array_checks.expected(len(labels), items_expected),
    }


def nearest(
    query: Float[np.ndarray, "n dim"], database: Float[np.ndarray, "n dim"], k: int, *, own_item: str
) -> Int[np.ndarray, "n places"]:
    """Find the k database items nearest to each query, nearest first; at equal distance the lower number first.

    Memory beyond one block is queries x k.

    Args:
      query: float64; row i is item i.
      database: float64; row i is item i.
      k: number of items to find; at most the items of the database.
      own_item: whether item i is `kept` in the database of query i or `excluded`.
    """
    excluded = own_item == "excluded"
    k = min(k, len(database) - excluded)
    # A matrix product computes the squared distances fast, but its rounding depends on the position in the block: equal
    # vectors can differ in the last bits. So it only picks the candidates that may be among the first k, and exact
    # differences order them. Picking in float32 takes half the time.
    coarse, fine = _scaled(query, database, np.float32), None
    found = np.empty((len(query), k), np.int64)
    for block in np.array_split(np.arange(len(query)), 1 + len(query) * len(database) // _BLOCK_CELLS):
        left_out = block if excluded else None
        rows, items = _candidates(coarse, block, k, left_out)
        if len(rows) > _MANY * k * len(block):  # float32 hardly distinguishes them
            fine = _scaled(query, database, np.float64) if fine is None else fine
            rows, items = _candidates(fine, block, k, left_out)
        found[block] = _first(query[block], database, rows, items, k)
    return found


@dataclasses.dataclass(frozen=True)
class _Scaled:
    """Vectors divided by the longest one, so that no square overflows, and terms that all blocks share."""

    query: Float[np.ndarray, "n dim"]
    minus_twice: Float[np.ndarray, "dim n"]  # the database, transposed
    squares: Float[np.ndarray, " n"]  # squared lengths of the database vectors


def _scaled(query: Float[np.ndarray, "n dim"], database: Float[np.ndarray, "n dim"], kind: type) -> _Scaled:
    longest = np.sqrt(max(np.square(each).sum(axis=1).max() for each in (query, database)))
    factor = 1 / longest if longest > 0 else 1.0
    scaled = (database * factor).astype(kind)
    return _Scaled((query * factor).astype(kind), -2 * scaled.T, np.square(scaled).sum(axis=1))


def _candidates(
    scaled: _Scaled, block: Int[np.ndarray, " block"], k: int, left_out: Int[np.ndarray, " block"] | None
) -> tuple[Int[np.ndarray, " candidates"], Int[np.ndarray, " candidates"]]:
    """Return rows of the block and the database items that may be among the row's first k."""
    query = scaled.query[block]
    distance = query @ scaled.minus_twice  # squared, minus the square of the query
    distance += scaled.squares[None, :]
    if left_out is not None:
        distance[np.arange(len(query)), left_out] = np.inf
    # At least k items are within the k-th smallest of the groups' minima, since k groups have such an item.
    size = max(1, distance.shape[1] // (_GROUPS * k))
    whole = distance.shape[1] // size * size
    minima = distance[:, :whole].reshape(len(query), size, -1).min(axis=1)
    minima = np.concatenate([minima, distance[:, whole:]], axis=1)
    rounding = 16 * (query.shape[1] + 4) * np.finfo(query.dtype).eps
    farthest = np.partition(minima, k - 1, axis=1)[:, k - 1] + query.dtype.type(rounding)
    # Forty times as fast as `np.nonzero` on rows and columns.
    return np.divmod(np.flatnonzero(distance <= farthest[:, None]), distance.shape[1])


def _first(
    query: Float[np.ndarray, "block dim"],
    database: Float[np.ndarray, "n dim"],
    rows: Int[np.ndarray, " candidates"],
    items: Int[np.ndarray, " candidates"],
    k: int,
) -> Int[np.ndarray, "block places"]:
    """Return the first k candidates of each row, by their exact distance."""
    pieces = np.array_split(np.arange(len(rows)), 1 + len(rows) // _BLOCK_VECTORS)
    exact = np.concatenate([np.square(query[rows[p]] - database[items[p]]).sum(axis=1) for p in pieces])
    items = items[np.lexsort((items, exact, rows))]
    first = np.searchsorted(rows, np.arange(len(query)))
    return items[first[:, None] + np.arange(k)[None, :]]


def relevance_of(
    items: Int[np.ndarray, "n places"],
    labels: Bool[np.ndarray, "n classes"],
    class_relevance: Int[np.ndarray, "classes classes"],
) -> Int[np.ndarray, "n places"]:
    """Look up the relevance of the found items to their queries."""
    found = np.empty(items.shape, class_relevance.dtype)
    for block in np.array_split(np.arange(len(items)), 1 + items.size * labels.shape[1] // _BLOCK_CELLS):
        to_class = ontology.best_over_labels(labels[block], class_relevance)
        found[block] = (labels[items[block]] * to_class[:, None, :]).max(axis=-1)
    return found


def relevance_counts(
    labels: Bool[np.ndarray, "n classes"], class_relevance: Int[np.ndarray, "classes classes"]
) -> Int[np.ndarray, "n levels"]:
    """Count, for each item, the items (itself included) with relevance 0, 1, 2, ... to it."""
    levels = int(class_relevance.max()) + 1
    sets, set_of_item = ontology.label_sets(labels)
    items_of_set = np.bincount(set_of_item)
    counts = np.empty((len(sets), levels), np.int64)
    for block in np.array_split(np.arange(len(sets)), 1 + len(sets) ** 2 // _BLOCK_CELLS):
        relevance = ontology.label_set_relevance(sets[block], sets, class_relevance)
        cells = relevance + levels * np.arange(len(block))[:, None]
        weights = np.broadcast_to(items_of_set, cells.shape)
        counted = np.bincount(cells.ravel(), weights.ravel(), minlength=len(block) * levels)
        counts[block] = counted.reshape(-1, levels)
    return counts[set_of_item]


def discounted(gains: Float[np.ndarray, "n places"]) -> Float[np.ndarray, " n"]:
    """Compute the DCG of gains that are in the order of retrieval."""
    return gains @ _discounts(gains.shape[1])


def ideal_dcg(
    counts: Int[np.ndarray, "n levels"], gains: Float[np.ndarray, " levels"], k: int
) -> Float[np.ndarray, " n"]:
    """Compute the DCG@k of the best order from `relevance_counts`: the most relevant items fill the first ranks."""
    filled = np.minimum(np.cumsum(counts[:, ::-1], axis=1), k)
    up_to = np.concatenate([[0.0], np.cumsum(_discounts(k))])[filled]
    return np.diff(up_to, axis=1, prepend=0) @ gains[::-1]


def chance_dcg(
    counts: Int[np.ndarray, "n levels"], gains: Float[np.ndarray, " levels"], k: int
) -> Float[np.ndarray, " n"]:
    """Compute the expected DCG@k over all orders: every rank has the mean gain of the database."""
    items = counts.sum(axis=1)
    return counts @ gains / items * _discounts(min(k, int(items[0]))).sum()


def _discounts(k: int) -> Float[np.ndarray, " k"]:
    return 1 / np.log2(np.arange(2, k + 2))


def _own(
    labels: Bool[np.ndarray, "n classes"], class_relevance: Int[np.ndarray, "classes classes"], levels: int
) -> Int[np.ndarray, "n levels"]:
    """Return 1 for the relevance of each item to itself, 0 for every other level."""
    own = relevance_of(np.arange(len(labels))[:, None], labels, class_relevance)
    return (own == np.arange(levels)[None, :]).astype(np.int64)


def _mean_ratio(dcg: Float[np.ndarray, " n"], ideal: Float[np.ndarray, " n"]) -> float:
    return float(np.divide(dcg, ideal, out=np.zeros_like(dcg), where=ideal > 0).mean())


def check_options(
    *, k: int, curve: Sequence[int] = (), gain: str, own_item_across: str, evaluator: str = "ndcg"
) -> None:
    """Check the options of the config; `evaluator` names the section.

    Raises:
      ValueError: an option is unknown or out of range.
    """
    one_of(gain, GAINS, f"evaluation.{evaluator}.gain")
    one_of(own_item_across, OWN_ITEM, f"evaluation.{evaluator}.own_item_across")
    least = min((k, *curve))
    if least < 1:
        raise ValueError(
            f"{evaluator}: k = {least}; at least 1 rank must count (--config.evaluation.{evaluator}.k, "
            f"--config.evaluation.{evaluator}.curve)"
        )


def check_clips(clips: int, *_: int, **options: Any) -> None:
    """Check that a query has other items to retrieve.

    Raises:
      ValueError: it has none.
    """
    if clips < 2:
        raise ValueError(f"ndcg: {clips} row in labels; retrieval within a mode needs at least 2 items")


def _check_embeddings(
    evaluator: str, image: Float[np.ndarray, "n image_dim"], audio: Float[np.ndarray, "n audio_dim"]
) -> None:
    if image.shape != audio.shape:
        raise ValueError(
            f"{evaluator}: image_embedding has {image.shape[1]} dimensions and audio_embedding {audio.shape[1]}; they "
            "are compared with each other, so both need the same number"
        )
    check_clips(len(image))


def _relevance(
    evaluator: str, relevance: np.ndarray | None, labels: Bool[np.ndarray, "n classes"]
) -> Int[np.ndarray, "classes classes"]:
    """Return the relevance between classes, checked; the identity matrix for None."""
    if relevance is None:
        return np.eye(labels.shape[1], dtype=np.int64)
    if relevance.dtype.kind not in "iu" or relevance.ndim != 2 or len(relevance) != relevance.shape[1]:
        raise ValueError(
            f"{evaluator}: class_relevance is {relevance.dtype} {list(relevance.shape)}; it holds integers, with a row "
            "and a column for each class (docs/metrics/scoring.md)"
        )
    if labels.shape[1] != len(relevance):
        raise ValueError(
            f"{evaluator}: labels has {labels.shape[1]} classes in {len(labels)} rows, class_relevance {len(relevance)}"
        )
    outside = (relevance < 0) | (relevance > LARGEST_RELEVANCE)
    if outside.any():
        raise ValueError(
            f"{evaluator}: class_relevance is {relevance[outside][0]} {array_checks.in_rows(np.any(outside, axis=1))}; "
            f"expected integers from 0 to {LARGEST_RELEVANCE}"
        )
    return relevance.astype(np.int64, copy=False)
