"""What setup.py declares: every package that is imported, and one version number."""

import ast
import importlib.metadata
import pathlib
import re
import sys

import pytest

import avlearn
from tests.helpers.paths import ROOT

OURS = {"avlearn", "configs", "data_builders", "tests"}
OPTIONAL = {"imageio_ffmpeg"}  # one benchmark compares with it


def declared(*extras: str) -> set[str]:
    """Return the normalised names of setup.py's requirements and those of the extras."""
    [call] = [node.value for node in ast.parse((ROOT / "setup.py").read_text()).body if isinstance(node, ast.Expr)][1:]
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    by_extra = ast.literal_eval(keywords["extras_require"])
    requirements = ast.literal_eval(keywords["install_requires"]) + [
        name for extra in extras for name in by_extra[extra]
    ]
    return {normalised(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def normalised(name: str) -> str:
    """Return the name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(path: pathlib.Path) -> set[str]:
    """Return the top-level names that a file imports from outside the standard library and this repository."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    beside = {file.stem for file in path.parent.glob("*.py")}  # benchmarks import each other
    return names - OURS - beside - OPTIONAL - sys.stdlib_module_names


def is_test(path: pathlib.Path) -> bool:
    return "tests" in path.relative_to(ROOT).parts or path.name == "conftest.py" or path.name.endswith("_test.py")


@pytest.mark.parametrize(("tests", "extras"), [(False, ("torch", "wandb")), (True, ("torch", "wandb", "test"))])
def test_every_imported_package_is_declared(tests, extras):
    distributions = importlib.metadata.packages_distributions()
    allowed = declared(*extras)
    files = [path for room in (*OURS, "launch") for path in (ROOT / room).rglob("*.py") if is_test(path) == tests]
    assert len(files) > 50
    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path)
        if not allowed & {normalised(each) for each in distributions.get(name, [name])}
    }
    assert not undeclared


def test_there_is_one_version_number():
    assert f'__version__ = "{avlearn.__version__}"' in (ROOT / "avlearn" / "__init__.py").read_text()
    assert f"## [{avlearn.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
