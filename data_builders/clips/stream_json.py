"""Writes JSON piece by piece, so that a list of two million clips is never held in memory."""

import json
from collections.abc import Collection, Mapping
from typing import TextIO


def write(value: object, file: TextIO, indent: str = "") -> None:
    """Write a value as `json.dump(value, file, indent=1)` does, from any mapping and any collection.

    Args:
      value: mappings become objects, other collections arrays; they are iterated once, and their items not kept.
      file: file that is open for writing.
      indent: indentation of the line that the value begins on.

    Raises:
      TypeError: a value that JSON does not have.
    """
    if isinstance(value, Mapping):
        items = ((f"{json.dumps(key)}: ", item) for key, item in value.items())
        _write_items(items, "{}", file, indent)
    elif isinstance(value, Collection) and not isinstance(value, str | bytes):
        _write_items((("", item) for item in value), "[]", file, indent)
    else:
        file.write(json.dumps(value))


def _write_items(items, brackets: str, file: TextIO, indent: str) -> None:
    file.write(brackets[0])
    empty = True
    for prefix, item in items:
        file.write(f"\n{indent} {prefix}" if empty else f",\n{indent} {prefix}")
        write(item, file, f"{indent} ")
        empty = False
    file.write(brackets[1] if empty else f"\n{indent}{brackets[1]}")
