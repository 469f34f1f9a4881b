"""Check the pages: links and paths exist, every page is in the index, every module is in the API reference."""

import functools
import pathlib
import re

import pytest

from tests.helpers.paths import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "data_builders").rglob("README.md"))
ROOTS = ("avlearn", "configs", "data_builders", "docs", "launch", "tests", ".ci")
README_WORDS = 900

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CHANGES = ROOT / "CHANGELOG.md"  # also names former paths


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: pathlib.Path) -> str:
    """Return the text of a page without its fenced code."""
    return FENCE.sub("", page.read_text())


def links(page: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """Return the file and the anchor of each link of a page to this repository."""
    found = []
    for link in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            found.append(((page.parent / path).resolve() if path else page, anchor))
    return found


@functools.cache
def anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def paths(text: str) -> list[str]:
    """Return the paths of this repository that a text names as code, such as `avlearn/build.py`."""
    found = []
    for code in CODE.findall(text):
        for word in re.split(r"[\s=:]+", code):
            path = word.rstrip(".,/")
            if path.partition("/")[0] in ROOTS and "/" in word and not re.search(r"[*<]|NAME|\.\.\.", word):
                found.append(path)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target, anchor in links(page):
        assert target.exists(), f"{page} links to {target}"
        if anchor:
            assert anchor in anchors(target), f"{page} links to {target}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != CHANGES], ids=name_of)
def test_named_paths_exist(page):
    missing = [path for path in paths(page.read_text()) if not (ROOT / path).exists()]
    assert not missing


def test_paths_of_a_text():
    text = "`avlearn/a.py`, `python launch/b.py --config=configs/c.py:miniature`, `configs/NAME.py`, `configs/*.py`"
    assert paths(text) == ["avlearn/a.py", "launch/b.py", "configs/c.py"]


def test_map_of_the_papers_names_code_config_and_test():
    rows = re.findall(r"^\| (?!In the paper|What)(\S.*) \|$", (ROOT / "docs" / "papers.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        _, code, config, test = row.split(" | ")
        assert any(path.startswith("avlearn/") for path in paths(code)), row
        assert CODE.search(config), row
        assert any(path.startswith("tests/") for path in paths(test)), row


def test_index_leads_to_every_page():
    seen, todo = set(), [ROOT / "docs" / "README.md"]
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            todo += [target for target, _ in links(page) if target.suffix == ".md"]
    assert [page for page in PAGES if page.is_relative_to(ROOT / "docs") and page not in seen] == []


def test_reference_of_the_api_has_every_room():
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference" / "api").glob("*.md"))
    listed = set(re.findall(r"^::: avlearn\.(\w+)$", text, re.MULTILINE))
    rooms = {
        path.stem for path in (ROOT / "avlearn").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} == listed


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= README_WORDS
