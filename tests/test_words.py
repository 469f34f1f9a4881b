"""Plain English: phrases that a native reader would stumble over stand nowhere in code, scripts and pages."""

import re
import subprocess

from tests.helpers.paths import ROOT

STILTED = {
    "eats": r"\b(eats|is fed|are fed)\b",
    "X is no Y": r"(?<!there )(?<!There )\b(is|are) no\b(?! (longer|more than|less than|fewer than))",
    "where there is": r"\b[Ww]here there (is|are)\b",
    "so many": r"\b[Ss]o (many|long) (?!as\b|that\b)",
    "anew": r"\banew\b",
    "of which": r"\b[Oo]f which\b",
    "goes on": r"\bgoes on\b",
    "mend": r"\bmend(s|ed)?\b",
    "notice to leave": r"\b(notice to leave|told to leave)\b",
}
SELF = "tests/test_words.py"


def test_no_stilted_phrase_is_left():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = []
    for name in listed.splitlines():
        if name == SELF or not name.endswith((".py", ".md", ".sh", ".sbatch", ".yaml", ".html")):
            continue
        for number, line in enumerate((ROOT / name).read_text().splitlines(), start=1):
            found += [
                f"{name}:{number}: {phrase}: {line.strip()}"
                for phrase, pattern in STILTED.items()
                if re.search(pattern, line)
            ]
    assert not found, "\n".join(found)
