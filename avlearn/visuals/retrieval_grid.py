"""Finds the nearest clips for some queries, across modes and within one mode (OtS figure 3)."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

MODES = {"im": "image", "aud": "audio"}
COMBINATIONS = (("im", "aud"), ("aud", "im"), ("im", "im"), ("aud", "aud"))


@dataclasses.dataclass(frozen=True)
class Row:
    """One query and the clips found for it.

    Attributes:
      query: row of the query in the arrays.
      results: rows of the nearest clips, nearest first.
      correct: for each result, whether it shares a class with the query.
    """

    query: int
    results: tuple[int, ...]
    correct: tuple[bool, ...]


def nearest(
    queries: Float[np.ndarray, "queries dim"], database: Float[np.ndarray, "clips dim"], count: int
) -> Int[np.ndarray, "queries found"]:
    """Return the nearest database rows by Euclidean distance in double precision; in a tie, the lower row is first."""
    database = database.astype(np.float64)
    squares = np.stack([((database - query[None]) ** 2).sum(axis=1) for query in queries.astype(np.float64)])
    return np.argsort(squares, axis=1, kind="stable")[:, :count]


def grid(
    arrays: Mapping[str, np.ndarray], query_mode: str, database_mode: str, queries: tuple[int, ...], count: int = 5
) -> tuple[Row, ...]:
    """Find the `count` nearest clips for each query.

    Within one mode the query itself is left out of the database; across modes its own clip can be found.

    Args:
      arrays: an evaluation's arrays with each clip once: `image_embedding`, `audio_embedding`, `labels`.
      query_mode: `im` or `aud`.
      database_mode: `im` or `aud`.
      queries: rows of the queries.
      count: number of results for each query.
    """
    embedding = {"im": arrays["image_embedding"], "aud": arrays["audio_embedding"]}
    found = nearest(embedding[query_mode][list(queries)], embedding[database_mode], count + 1)
    rows = []
    for query, results in zip(queries, found.tolist(), strict=True):
        kept = [row for row in results if query_mode != database_mode or row != query][:count]
        correct = (arrays["labels"][kept] & arrays["labels"][query][None]).any(axis=1)
        rows.append(Row(query, tuple(kept), tuple(correct.tolist())))
    return tuple(rows)
