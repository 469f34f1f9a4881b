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


def setup_keywords() -> dict[str, ast.expr]:
    """Return the keyword arguments of the call of `setup` in setup.py."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    [call] = [call for call in calls if getattr(call.func, "id", None) == "setup"]
    return {keyword.arg: keyword.value for keyword in call.keywords}


def declared(*extras: str) -> set[str]:
    """Return the normalised names of setup.py's requirements and those of the extras."""
    keywords = setup_keywords()
    requirements, by_extra = (ast.literal_eval(keywords[name]) for name in ("install_requires", "extras_require"))
    requirements = sum((by_extra[extra] for extra in extras), start=requirements)
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


def test_every_file_is_packaged():
    patterns = ast.literal_eval(setup_keywords()["package_data"])
    for room in ("avlearn", "configs", "data_builders"):
        files = {path for path in (ROOT / room).rglob("*.*") if path.is_file() and path.suffix != ".pyc"}
        for_tests = {path for path in files if "dummy_data" in path.parts}
        code = {path for path in files if path.suffix == ".py" and (path.parent / "__init__.py").exists()}
        packaged = {path for pattern in patterns.get(room, []) for path in (ROOT / room).glob(pattern)}
        assert files - for_tests - code - packaged <= {ROOT / "data_builders" / "README.md"}


def test_there_is_one_version_number():
    assert f'__version__ = "{avlearn.__version__}"' in (ROOT / "avlearn" / "__init__.py").read_text()
    assert f"## [{avlearn.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_files_that_need_pytorch_run_in_continuous_integration():
    script = (ROOT / ".ci" / "run").read_text()
    need = [
        path.stem for path in (ROOT / "tests").rglob("test_*.py") if "\ntorch = pytest.importorskip" in path.read_text()
    ]
    assert len(need) > 1
    assert [name for name in need if name not in script] == []
