"""The ontology of sound classes: distances between classes, and the relevance of clips to each other.

Objects that Sound 3.2 grades retrieval by the AudioSet ontology. The relevance of two classes is `C - d`, where `d` is
the shortest path between them and `C` the longest distance in the ontology (20); the relevance of two clips is that of
their best pair of labels. The undirected graph of all classes, with all their parents and without a root, reproduces
the published distances; `C` is the longest distance among the classes without `restrictions`.
"""

import dataclasses
import difflib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from scipy import sparse

MAX_RELEVANCE = 20  # C of Objects that Sound 3.2
UNREACHABLE = np.iinfo(np.int32).max  # distance of classes without a path: beyond every C, so relevance 0
_BLOCK_CELLS = 16_000_000


@dataclasses.dataclass(frozen=True)
class Ontology:
    """A graph of classes, built by `from_json` or `from_nodes`; methods take a class by its id or its display name.

    Attributes:
      ids: ids of the classes, in the order of the file.
      names: display names, in the same order.
      children: positions of each class's children.
      restricted: whether a class has `restrictions` (AudioSet: abstract, or not to be used as a label).
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    children: tuple[tuple[int, ...], ...]
    restricted: tuple[bool, ...]

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> "Ontology":
        """Read AudioSet's `ontology.json`, or a file of the same form.

        Raises:
          ValueError: the file is not a list of classes (see `from_nodes`).
        """
        with open(path, encoding="utf-8") as file:
            try:
                nodes = json.load(file)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path} is not JSON ({error}); expected AudioSet's ontology.json") from error
        return cls.from_nodes(nodes)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Mapping[str, Any]]) -> "Ontology":
        """Build the graph from objects with `id`, `name`, `child_ids` and optionally `restrictions`.

        Children that are not among the nodes are left out, so a part of an ontology is an ontology too. Its distances
        are the same if it contains the classes on the shortest paths.

        Raises:
          ValueError: a node lacks one of the keys, or an id occurs twice.
        """
        for node in nodes:
            missing = {"id", "name", "child_ids"} - set(node)
            if missing:
                raise ValueError(f"class {dict(node)!r} of the ontology has no {sorted(missing)}")
        ids = tuple(node["id"] for node in nodes)
        position = {class_id: index for index, class_id in enumerate(ids)}
        if len(position) < len(ids):
            raise ValueError(f"ids occur twice in the ontology: {sorted({i for i in ids if ids.count(i) > 1})}")
        return cls(
            ids=ids,
            names=tuple(node["name"] for node in nodes),
            children=tuple(tuple(position[child] for child in n["child_ids"] if child in position) for n in nodes),
            restricted=tuple(bool(node.get("restrictions")) for node in nodes),
        )

    def nodes(self) -> list[dict]:
        """Return the classes as objects with `id`, `name` and `child_ids`, as `from_nodes` takes them."""
        return [
            {"id": class_id, "name": name, "child_ids": [self.ids[child] for child in below]}
            for class_id, name, below in zip(self.ids, self.names, self.children, strict=True)
        ]

    def id_of(self, name_or_id: str) -> str:
        """Return the id of a class.

        Raises:
          ValueError: the class is not in the ontology; names the nearest ones.
        """
        return self.ids[self._position(name_or_id)]

    def descendants(self, name_or_id: str) -> set[str]:
        """Return the ids of a class and of all its descendants; AudioSet-Instruments is such a set."""
        found, waiting = set(), [self._position(name_or_id)]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting.extend(self.children[index])
        return {self.ids[index] for index in found}

    def distance(self, a: str, b: str) -> int:
        """Return the length of the shortest path between two classes, in edges; `UNREACHABLE` without a path."""
        return int(self.distances([a, b])[0, 1])

    def distances(self, classes: Sequence[str]) -> Int[np.ndarray, "n n"]:
        """Return `distance` for all pairs of classes, int32.

        Raises:
          ValueError: a class is not in the ontology; names the nearest ones.
        """
        positions = [self._position(each) for each in classes]
        edges = [(parent, child) for parent, below in enumerate(self.children) for child in below]
        rows, columns = np.array(edges, int).reshape(-1, 2).T
        graph = sparse.csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(self.ids), len(self.ids)))
        sources, where = np.unique(np.array(positions, int), return_inverse=True)
        lengths = sparse.csgraph.shortest_path(graph, directed=False, unweighted=True, indices=sources)
        lengths = lengths[where][:, positions]
        return np.where(np.isfinite(lengths), lengths, UNREACHABLE).astype(np.int32)

    def longest_distance(self) -> int:
        """Return `C`, the longest shortest path between two classes without restrictions: 20 for AudioSet."""
        lengths = self.distances([i for i, restricted in zip(self.ids, self.restricted, strict=True) if not restricted])
        return int(lengths[lengths != UNREACHABLE].max(initial=0))

    def class_relevance(
        self, classes: Sequence[str], *, max_relevance: int = MAX_RELEVANCE
    ) -> Int[np.ndarray, "classes classes"]:
        """Return the relevance `C - d` of all pairs of classes; 0 if they are farther apart than `C` or have no path.

        Args:
          classes: ids (or names) in the order of a dataset's labels.
          max_relevance: `C`.
        """
        return np.maximum(max_relevance - self.distances(classes), 0).astype(np.int32)

    def relevance(
        self,
        labels_a: Bool[np.ndarray, "n classes"],
        labels_b: Bool[np.ndarray, "m classes"],
        classes: Sequence[str] | None = None,
        *,
        max_relevance: int = MAX_RELEVANCE,
    ) -> Int[np.ndarray, "n m"]:
        """Return the relevance between n and m clips: the maximum of `C - d` over their labels, 0 without labels.

        Args:
          labels_a: labels of n clips.
          labels_b: labels of m clips.
          classes: ids (or names) of the columns; None: all classes, in the order of `ids`.
          max_relevance: `C`.
        """
        classes = self.ids if classes is None else classes
        return relevance(labels_a, labels_b, self.class_relevance(classes, max_relevance=max_relevance))

    def _position(self, name_or_id: str) -> int:
        for known in (self.ids, self.names):
            if name_or_id in known:
                return known.index(name_or_id)
        lowered = {name.lower(): name for name in self.names}
        near = difflib.get_close_matches(name_or_id.lower(), lowered, n=3, cutoff=0.5)
        hint = f"nearest names: {', '.join(repr(lowered[each]) for each in near)}" if near else "no name is near"
        raise ValueError(f"{name_or_id!r} is neither the id nor the name of one of the {len(self.ids)} classes; {hint}")


def relevance(
    labels_a: Bool[np.ndarray, "n classes"],
    labels_b: Bool[np.ndarray, "m classes"],
    class_relevance: Int[np.ndarray, "classes classes"],
) -> Int[np.ndarray, "n m"]:
    """Return the relevance between n and m clips: the maximum over pairs of their labels, 0 for a clip without labels.

    Clips with equal labels are computed once, so 20,000 x 20,000 AudioSet clips take seconds.

    Args:
      labels_a: labels of n clips.
      labels_b: labels of m clips.
      class_relevance: relevance between classes, at least 0; the result has its dtype.
    """
    sets_a, index_a = label_sets(labels_a)
    sets_b, index_b = label_sets(labels_b)
    result = np.empty((len(labels_a), len(labels_b)), class_relevance.dtype)
    by_set = np.argsort(index_a, kind="stable")  # so that a block has few sets
    for block in np.array_split(by_set, 1 + result.size // _BLOCK_CELLS):
        sets, index = np.unique(index_a[block], return_inverse=True)
        rows = np.take(label_set_relevance(sets_a[sets], sets_b, class_relevance), index_b, axis=1)
        result[block] = np.take(rows, index, axis=0)
    return result


def label_sets(
    labels: Bool[np.ndarray, "n classes"],
) -> tuple[Bool[np.ndarray, "sets classes"], Int[np.ndarray, " n"]]:
    """Return the distinct label sets of clips, and the index of each clip's set."""
    _, first, index = np.unique(np.packbits(labels, axis=1), axis=0, return_index=True, return_inverse=True)
    return labels[first], index


def label_set_relevance(
    labels_a: Bool[np.ndarray, "n classes"],
    labels_b: Bool[np.ndarray, "m classes"],
    class_relevance: Int[np.ndarray, "classes classes"],
) -> Int[np.ndarray, "n m"]:
    """Compute `relevance` for every pair of rows, which should all be distinct."""
    return best_over_labels(labels_b, best_over_labels(labels_a, class_relevance).T).T


def best_over_labels(
    labels: Bool[np.ndarray, "n classes"], rows: Int[np.ndarray, "classes values"]
) -> Int[np.ndarray, "n values"]:
    """Return the elementwise maximum of the rows of each clip's labels; 0 for a clip without labels."""
    counts = labels.sum(axis=1)
    starts = np.cumsum(counts) - counts
    classes = np.nonzero(labels)[1]
    rows = np.ascontiguousarray(rows)
    best = np.zeros((len(labels), rows.shape[1]), rows.dtype)
    for nth in range(counts.max(initial=0)):
        has_nth = np.flatnonzero(counts > nth)
        best[has_nth] = np.maximum(best[has_nth], rows[classes[starts[has_nth] + nth]])
    return best
