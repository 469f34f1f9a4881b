"""Check that docs/reference/differences.md lists every `DIFFERS: ...` comment in the code."""

import re

from tests.helpers.paths import ROOT

INTRODUCTION = """# Where avlearn departs from the papers

Each line is a comment `DIFFERS: ...` in the code that it applies to. `python tests/test_differences.py` collects them
here, and a test keeps the page up to date. [papers.md](../papers.md) maps the papers to the code.

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
    assert page == collected(), "run: python tests/test_differences.py"
    assert page.count("\n* ") >= 1


if __name__ == "__main__":
    (ROOT / "docs" / "reference" / "differences.md").write_text(collected())
