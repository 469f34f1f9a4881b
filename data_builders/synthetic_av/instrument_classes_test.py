"""The embedded ontology against values counted by hand, and against AudioSet's if available."""

import collections
import itertools
import json

import pytest

from data_builders.synthetic_av import instrument_classes, silhouettes, synthesise
from tests.helpers.paths import SHARED

AUDIOSET = SHARED / "audioset" / "ontology.json"


def distance(nodes, start, end):
    """Return the number of steps between two names, up or down."""
    name_of = {node["id"]: node["name"] for node in nodes}
    neighbours = collections.defaultdict(set)
    for node in nodes:
        for child in node["child_ids"]:
            neighbours[node["name"]].add(name_of[child])
            neighbours[name_of[child]].add(node["name"])
    reached, edge, steps = {start}, {start}, 0
    while end not in reached:
        edge = set().union(*(neighbours[name] for name in edge)) - reached
        reached, steps = reached | edge, steps + 1
    return steps


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        ("Piano", "Piano", 0),
        ("Acoustic guitar", "Electric guitar", 2),  # Guitar
        ("Acoustic guitar", "Piano", 5),  # Guitar, Plucked string instrument, Musical instrument, Keyboard (musical)
        ("Snare drum", "Bass drum", 2),  # Drum
        ("Church bell", "Hammer", 4),  # Bell, Sounds of things, Tools
        ("Female singing", "Accordion", 4),  # Singing, Choir, Musical instrument
    ],
)
def test_distance_by_hand(one, other, steps):
    assert distance(instrument_classes.ontology(), one, other) == steps


@pytest.mark.skipif(not AUDIOSET.exists(), reason="AudioSet's ontology.json is not available")
def test_distances_are_those_of_the_complete_ontology():
    complete, part = json.loads(AUDIOSET.read_text()), instrument_classes.ontology()
    for one, other in itertools.combinations(instrument_classes.NAMES, 2):
        assert distance(part, one, other) == distance(complete, one, other), (one, other)
    id_of = {node["name"]: node["id"] for node in complete}
    assert instrument_classes.ids() == [id_of[name] for name in instrument_classes.NAMES]


def test_the_ontology_is_closed():
    part = instrument_classes.ontology()
    known = {node["id"] for node in part}
    assert all(set(node["child_ids"]) <= known for node in part)
    assert len(known) == len(part) == 31


def test_every_class_has_an_image_and_a_sound():
    assert set(silhouettes.DRAW) == set(instrument_classes.NAMES)
    assert len(set(instrument_classes.ids())) == len(instrument_classes.NAMES) == 16
    for name in instrument_classes.NAMES:
        assert callable(synthesise.sound), name
