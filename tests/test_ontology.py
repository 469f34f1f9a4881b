import csv
import json

import numpy as np
import pytest

from avlearn import ontology
from avlearn.evaluators import ndcg
from avlearn.ontology import UNREACHABLE, Ontology
from tests.helpers.paths import SHARED

AUDIOSET = SHARED / "audioset"
needs_audioset = pytest.mark.skipif(not AUDIOSET.exists(), reason="AudioSet's annotation files are not here")

# Music - Guitar - (Acoustic, Electric); Choir below both Music and Voice; Animal - Dog stands apart.
NODES = [
    {"id": "m", "name": "Music", "child_ids": ["g", "c"], "restrictions": []},
    {"id": "g", "name": "Guitar", "child_ids": ["ga", "ge"], "restrictions": []},
    {"id": "ga", "name": "Acoustic guitar", "child_ids": [], "restrictions": []},
    {"id": "ge", "name": "Electric guitar", "child_ids": [], "restrictions": []},
    {"id": "v", "name": "Voice", "child_ids": ["c"], "restrictions": ["abstract"]},
    {"id": "c", "name": "Choir", "child_ids": [], "restrictions": []},
    {"id": "a", "name": "Animal", "child_ids": ["d"], "restrictions": []},
    {"id": "d", "name": "Dog", "child_ids": [], "restrictions": []},
]


@pytest.fixture(scope="module")
def audioset():
    return Ontology.from_json(AUDIOSET / "ontology.json")


@pytest.mark.parametrize(
    ("a", "b", "edges"),
    [
        ("Music", "Music", 0),
        ("Acoustic guitar", "Electric guitar", 2),
        ("ga", "Music", 2),
        ("Choir", "Electric guitar", 3),
        ("Voice", "Music", 2),  # through their common child
        ("Voice", "Acoustic guitar", 4),
        ("Animal", "Dog", 1),
        ("Dog", "Music", UNREACHABLE),
    ],
)
def test_distance_by_hand(a, b, edges):
    graph = Ontology.from_nodes(NODES)
    assert graph.distance(a, b) == edges
    assert graph.distance(b, a) == edges


def test_distances_agree_with_floyd_and_warshall():
    rng = np.random.default_rng(0)
    size = 25
    nodes = [
        {"id": str(i), "name": f"class {i}", "child_ids": [str(j) for j in range(i + 1, size) if rng.random() < 0.06]}
        for i in range(size)
    ]
    expected = np.full((size, size), np.inf)
    np.fill_diagonal(expected, 0)
    for node in nodes:
        for child in node["child_ids"]:
            expected[int(node["id"]), int(child)] = expected[int(child), int(node["id"])] = 1
    for via in range(size):
        expected = np.minimum(expected, expected[:, via, None] + expected[None, via])
    graph = Ontology.from_nodes(nodes)
    some = rng.integers(size, size=40)  # unordered, with repeats
    found = graph.distances([str(i) for i in some])
    np.testing.assert_array_equal(np.where(found == UNREACHABLE, np.inf, found), expected[some][:, some])
    assert np.isinf(expected).any()
    assert graph.longest_distance() == expected[np.isfinite(expected)].max()


def test_longest_distance_counts_classes_without_restrictions_only():
    assert Ontology.from_nodes(NODES).longest_distance() == 3  # Choir - Electric guitar
    free = [{key: node[key] for key in ("id", "name", "child_ids")} for node in NODES]
    assert Ontology.from_nodes(free).longest_distance() == 4  # Voice - Electric guitar


def test_descendants_include_the_class_itself_and_classes_of_two_parents():
    graph = Ontology.from_nodes(NODES)
    assert graph.descendants("Music") == {"m", "g", "ga", "ge", "c"}
    assert graph.descendants("v") == {"v", "c"}
    assert graph.descendants("Dog") == {"d"}


def test_a_part_of_an_ontology_is_an_ontology():
    part = Ontology.from_nodes(NODES[:4])  # without Choir, a child of Music
    assert part.ids == ("m", "g", "ga", "ge")
    assert part.distance("m", "ge") == 2


def test_class_relevance_by_hand():
    found = Ontology.from_nodes(NODES).class_relevance(["Acoustic guitar", "ge", "Choir", "Dog"], max_relevance=2)
    np.testing.assert_array_equal(found, [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2]])
    found = Ontology.from_nodes(NODES).class_relevance(["Acoustic guitar", "ge", "Choir", "Dog"])
    np.testing.assert_array_equal(found, [[20, 18, 17, 0], [18, 20, 17, 0], [17, 17, 20, 0], [0, 0, 0, 20]])


@pytest.mark.parametrize("block_cells", [1, 300, 10**7])
def test_relevance_is_the_best_pair_of_labels(block_cells, monkeypatch):
    monkeypatch.setattr(ontology, "_BLOCK_CELLS", block_cells)
    rng = np.random.default_rng(1)
    labels_a, labels_b = rng.random((30, 8)) < 0.2, rng.random((41, 8)) < 0.3
    labels_a[4] = False
    graph = Ontology.from_nodes(NODES)
    expected = np.zeros((30, 41), int)
    for i, j in np.ndindex(30, 41):
        pairs = [(a, b) for a in np.flatnonzero(labels_a[i]) for b in np.flatnonzero(labels_b[j])]
        relevances = [max(3 - graph.distance(graph.ids[a], graph.ids[b]), 0) for a, b in pairs]
        expected[i, j] = max(relevances, default=0)
    assert set(np.unique(expected)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(graph.relevance(labels_a, labels_b, max_relevance=3), expected)
    order = rng.permutation(8)
    ids = [graph.ids[i] for i in order]
    found = graph.relevance(labels_a[:, order], labels_b[:, order], ids, max_relevance=3)
    np.testing.assert_array_equal(found, expected)


def test_relevance_of_asymmetric_classes_keeps_the_sides_apart():
    class_relevance = np.array([[0, 5], [1, 2]])
    found = ontology.relevance(np.array([[True, False]]), np.array([[False, True], [True, False]]), class_relevance)
    np.testing.assert_array_equal(found, [[5, 0]])


def test_unknown_class_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"'acustic guitar' is neither.*8 classes; nearest names: 'Acoustic guitar'"):
        Ontology.from_nodes(NODES).distance("acustic guitar", "Dog")
    with pytest.raises(ValueError, match=r"'/m/0000' is neither the id nor the name.*no name is near"):
        Ontology.from_nodes(NODES).descendants("/m/0000")


def test_malformed_nodes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'id': 'x'.*has no \['child_ids', 'name'\]"):
        Ontology.from_nodes([{"id": "x"}])
    with pytest.raises(ValueError, match=r"ids occur twice.*\['m'\]"):
        Ontology.from_nodes([NODES[0], NODES[0]])
    (tmp_path / "broken.json").write_text("[{")
    with pytest.raises(ValueError, match=r"broken\.json is not JSON"):
        Ontology.from_json(tmp_path / "broken.json")


@needs_audioset
def test_audioset_instruments_are_the_papers_110_classes(audioset):
    expected = json.loads((AUDIOSET / "audioset_instruments_110.json").read_text())
    parts = [audioset.descendants(name) for name in ("Musical instrument", "Singing", "Tools")]
    assert [len(part) for part in parts] == [92, 10, 9]
    assert set.union(*parts) == {node["id"] for node in expected}
    assert len(expected) == 110


@needs_audioset
def test_audioset_has_the_papers_distances(audioset):
    assert len(audioset.ids) == 632
    assert audioset.longest_distance() == ontology.MAX_RELEVANCE == 20
    assert audioset.distance("Acoustic guitar", "Electric guitar") == 2
    assert audioset.distance("Acoustic guitar", "Drum") == 5
    assert audioset.distance("Waves, surf", "Television") == 20
    instruments = [node["id"] for node in json.loads((AUDIOSET / "audioset_instruments_110.json").read_text())]
    assert audioset.distances(instruments).max() == 9


def chance(graph, clips, gain):
    """Return the expected nDCG@30 of random orders."""
    labels = np.array([[class_id in clip for class_id in graph.ids] for clip in clips])
    gains = ndcg.GAINS[gain](np.arange(21))
    counts = ndcg.relevance_counts(labels, graph.class_relevance(graph.ids))
    return np.mean(ndcg.chance_dcg(counts, gains, 30) / ndcg.ideal_dcg(counts, gains, 30))


@needs_audioset
def test_chance_of_the_audioset_instruments_test_clips(audioset):
    instruments = {node["id"] for node in json.loads((AUDIOSET / "audioset_instruments_110.json").read_text())}
    with open(AUDIOSET / "eval_segments.csv", newline="") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if not row[0].startswith("#")]
    clips = [labels for labels in (set(row[3].split(",")) for row in rows) if labels & instruments]
    assert len(clips) == 4361
    only_instruments = [labels & instruments for labels in clips]
    assert chance(audioset, only_instruments, "exponential") == pytest.approx(0.188, abs=5e-4)
    assert chance(audioset, only_instruments, "linear") == pytest.approx(0.837, abs=5e-4)
    assert chance(audioset, clips, "exponential") == pytest.approx(0.350, abs=6e-4)
    assert chance(audioset, clips, "linear") == pytest.approx(0.886, abs=5e-4)
    # With a root above the seven top classes the longest distance would be 11, in place of the paper's 20, and the
    # chance level with C = 20 a little higher.
    nodes = json.loads((AUDIOSET / "ontology.json").read_text())
    top = {node["id"] for node in nodes} - {child for node in nodes for child in node["child_ids"]}
    rooted = Ontology.from_nodes([*nodes, {"id": "root", "name": "root", "child_ids": sorted(top)}])
    assert len(top) == 7
    assert chance(rooted, clips, "exponential") == pytest.approx(0.352, abs=5e-4)
    assert chance(rooted, clips, "linear") == pytest.approx(0.889, abs=5e-4)
