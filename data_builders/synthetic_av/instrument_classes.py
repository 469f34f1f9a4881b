"""The sixteen classes, and the part of the AudioSet ontology that spans them."""

import json
import pathlib

NAMES = (
    "Acoustic guitar",
    "Electric guitar",
    "Violin, fiddle",
    "Piano",
    "Accordion",
    "Snare drum",
    "Bass drum",
    "Cymbal",
    "Flute",
    "Saxophone",
    "Trumpet",
    "Church bell",
    "Gong",
    "Hammer",
    "Drill",
    "Female singing",
)


def ontology() -> list[dict]:
    """Return nodes (`id`, `name`, `child_ids`) that preserve the classes' shortest paths in the complete ontology.

    "Choir" is among them because it is a child of both "Singing" and "Musical instrument", and so on the shortest path
    from singing to the instruments.
    """
    return json.loads(pathlib.Path(__file__).with_name("ontology.json").read_text(encoding="utf-8"))


def ids() -> list[str]:
    """Return the AudioSet ids of the classes, in label order (that of `NAMES`)."""
    id_of = {node["name"]: node["id"] for node in ontology()}
    return [id_of[name] for name in NAMES]
