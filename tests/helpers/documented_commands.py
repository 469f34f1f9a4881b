"""Collects the shell commands that pages, docstrings and the headers of scripts offer.

Markdown: the blocks ```sh, and inline code that begins with a program. Python: indented blocks of module docstrings.
Scripts: indented lines of the comment at their beginning. Everywhere: `--config.KEY=VALUE`.
"""

import ast
import dataclasses
import itertools
import pathlib
import re
import shlex
from collections.abc import Iterator, Sequence

from tests.helpers.paths import ROOT

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LANGUAGES = {"sh", "python", "text"}
CODE = re.compile(r"`([^`\n]+)`")
INDENTED = re.compile(r"(?:\A|\n[^\S\n]*\n)((?:    .*\n?)+)")  # a block of four spaces, after an empty line
CHANGES = ROOT / "CHANGELOG.md"  # also names former commands
_SETTING = r"--config\.[a-z]\w*(?:\.[a-z]\w*)*(?:=(?:\"[^\"]*\"|'[^']*'|[\w+:/\[\]%-]+(?:\.[\w+:/\[\]%-]+)*|\.\.\.))?"
SETTINGS = re.compile(rf"{_SETTING}(?:[\s\\]+{_SETTING})*")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, as its words, and the file that offers it."""

    file: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {shlex.join(self.words)}"


def pages() -> list[pathlib.Path]:
    """Return the Markdown pages, except the changelog."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data_builders").rglob("*.md")]
    return sorted(path for path in found if path != CHANGES)


def sources() -> list[pathlib.Path]:
    """Return the Python files."""
    folders = ("avlearn", "configs", "data_builders", "launch", "tests")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def scripts() -> list[pathlib.Path]:
    """Return the files of launch/ that are not Python."""
    return sorted(path for path in (ROOT / "launch").iterdir() if path.is_file() and path.suffix != ".py")


def commands(programs: Sequence[str]) -> Iterator[Command]:
    """Yield every command; `programs` are the first words by which inline code is recognised as a command."""
    for path in pages():
        text = path.read_text()
        for language, block in FENCE.findall(text):
            if language == "sh":
                yield from _of_block(path, block)
        for code in CODE.findall(FENCE.sub("", text)):
            first, _, rest = code.partition(" ")
            if rest and (first in programs or first.startswith(("./", "launch/"))):
                yield from _of_block(path, code)
    for path in sources():
        for block in indented_blocks(path):
            yield from _of_block(path, block)
    for path in scripts():
        yield from _of_block(path, _header_commands(path))


def settings() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every `--config.KEY=VALUE` or `--config.KEY` of prose and configs, those side by side at once."""
    for path in (*pages(), *sorted((ROOT / "configs").glob("*.py"))):
        for found in SETTINGS.findall(FENCE.sub("", path.read_text())):
            yield str(path.relative_to(ROOT)), tuple(shlex.split(found.replace("\\\n", "")))


def indented_blocks(path: pathlib.Path) -> list[str]:
    """Return the indented blocks of a module's docstring, except diagrams with arrows."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return [block for block in INDENTED.findall(docstring) if "->" not in block]


def _header_commands(path: pathlib.Path) -> str:
    """Return the indented lines of a script's first comment, except descriptions of options and settings."""
    header = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    found: list[str] = []
    for line in header:
        text = line.removeprefix("#")
        example = re.match(r"   [\w./]", text) and "  " not in text.strip()
        if example or (found and found[-1].endswith("\\")):
            found.append(text.strip())
    return "\n".join(found)


def _of_block(path: pathlib.Path, block: str) -> Iterator[Command]:
    """Yield the commands of a block: one a line, unless quotes are open or the line ends with a backslash."""
    text = ""
    for line in block.splitlines():
        text = text.removesuffix("\\\n") + line + "\n"
        if not line.endswith("\\") and _is_complete(text):
            for words in _split(text):
                yield Command(str(path.relative_to(ROOT)), words)
            text = ""
    assert not text.strip(), f"{path}: {text!r} does not end"


def _is_complete(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:  # an open quote
        return False
    return True


def _split(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command of a line, once for each way to read its `[OPTIONAL]` words and `a|b`."""
    optional = re.compile(r"(?<!\S)\[(?!\")([^\]\"]*)\]")  # not the lists of JSON
    for without in dict.fromkeys((optional.sub("", text), optional.sub(r"\1", text))):
        lexer = shlex.shlex(without, posix=True, punctuation_chars=";&")
        lexer.whitespace_split = True
        for is_separator, words in itertools.groupby(lexer, key=lambda word: set(word) <= set(";&")):
            if not is_separator:
                yield from itertools.product(*map(_alternatives, words))


def _alternatives(word: str) -> list[str]:
    """Return `--checkpoint=best` and `--checkpoint=latest` for `--checkpoint=best|latest`."""
    name, equals, value = word.rpartition("=")
    return [name + equals + each for each in value.split("|")]
