"""Departures from the papers are `DIFFERS: ...` comments in the code, collected in docs/reference/differences.md."""

import re

from tests.helpers.paths import ROOT

INTRODUCTION = """# Where avlearn departs from the papers

`python -m tests.test_differences` collects the comments `DIFFERS: ...` of the code; a test keeps this page current.

"""


def collected() -> str:
    lines = []
    for folder in ("avlearn", "configs", "data_builders"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for text in re.findall(r"# DIFFERS: (.*)", path.read_text()):
                lines.append(f"* `{path.relative_to(ROOT)}`: {text}")
    return INTRODUCTION + "\n".join(lines) + "\n"


def test_page_lists_what_the_code_says():
    page = (ROOT / "docs" / "reference" / "differences.md").read_text()
    assert page == collected(), "run: python -m tests.test_differences"
    assert page.count("\n* ") >= 1


if __name__ == "__main__":
    (ROOT / "docs" / "reference" / "differences.md").write_text(collected())
