"""Each departure from a paper is in the code as `DIFFERS: ...`, and they are all in docs/reference/differences.md."""

import re

from tests.helpers.paths import ROOT

INTRODUCTION = """# Where avlearn departs from the papers

Each line stands in the code, where it applies, as a comment `DIFFERS: ...`; `python tests/test_differences.py` collects
them here, and a test keeps this page in step.

"""


def collected() -> str:
    lines = []
    for folder in ("avlearn", "configs", "data_builders"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for text in re.findall(r"# DIFFERS: (.*)", path.read_text()):
                lines.append(f"* `{path.relative_to(ROOT)}`: {text}")
    return INTRODUCTION + "\n".join(lines) + "\n"


def test_page_is_in_step_with_the_code():
    page = (ROOT / "docs" / "reference" / "differences.md").read_text()
    assert page == collected(), "run: python tests/test_differences.py"
    assert page.count("\n* ") >= 1


if __name__ == "__main__":
    (ROOT / "docs" / "reference" / "differences.md").write_text(collected())
