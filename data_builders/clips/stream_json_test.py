"""JSON that is written piece by piece against JSON's own writer."""

import io
import json
import sqlite3

import pytest

from data_builders.clips import stream_json
from data_builders.clips.listing import QueryColumn, QueryMapping


def written(value):
    file = io.StringIO()
    stream_json.write(value, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        'é " \\ \n',
        {"a": {}, "b": [], "c": {"d": [1, 2.5, 1e-7, None, True], "é": "\u2028"}},
        [[], [[]], {"a": [{"b": (1, 2)}]}],
    ],
)
def test_the_text_is_that_of_the_standard_library(value):
    assert written(value) == json.dumps(value, indent=1)


def test_columns_and_mappings_of_a_database_become_arrays_and_objects():
    database = sqlite3.connect("")
    database.execute("CREATE TABLE notes (clip_id TEXT, detail TEXT)")
    database.executemany("INSERT INTO notes VALUES (?, ?)", [("b", "x"), ("a", 'says "é"')])
    ids = QueryColumn(database, "SELECT clip_id FROM notes ORDER BY clip_id")
    notes = QueryMapping(database, "SELECT clip_id AS key, detail AS value FROM notes ORDER BY clip_id")
    none = QueryColumn(database, "SELECT clip_id FROM notes WHERE clip_id = ?", "c")
    value = {"ids": ids, "notes": notes, "none": none}
    plain = {"ids": ["a", "b"], "notes": {"a": 'says "é"', "b": "x"}, "none": []}
    assert written(value) == json.dumps(plain, indent=1)
    assert (list(ids), dict(notes), bool(none)) == (plain["ids"], plain["notes"], False)
    for lazy in (ids, notes):
        with pytest.raises(TypeError, match="not JSON serializable"):
            json.dumps(lazy)


def test_what_json_does_not_have_is_refused():
    with pytest.raises(TypeError, match="bytes is not JSON serializable"):
        written({"a": [b"bytes"]})
