"""Which room may import which: one line for each directory."""

import ast
import collections
import os
import pathlib
import re
import subprocess
import sys
from importlib import metadata

import pytest

from tests.helpers.paths import ROOT

# Each room may import itself, `config`, `storage`, and the rooms named on its line, and no others.
LEAVES = "types ontology devices"
ROOMS = {
    "types": "",
    "ontology": "",
    "config": "",
    "storage": "",
    "devices": "",
    "logs": "",
    "losses": "types",
    "media": "types",
    "evaluators": "types ontology config",
    "data": "types ontology media",
    "visuals": "types ontology media",
    "models/layers": "types",
    "models": "types losses models/layers",
    "weights": "types models models/layers",
    "training": "types losses devices",
    "runs": "types devices training",
    "build": f"{LEAVES} losses data models training runs",
    "evaluation": f"{LEAVES} losses data models models/layers training runs build evaluators visuals logs",
    "experiment": f"{LEAVES} logs losses data models training runs build evaluation visuals",
    "train": "devices logs training runs experiment",
    "commands": f"{LEAVES} losses data models models/layers training runs build evaluation visuals logs media weights",
    "main": "devices logs runs evaluation experiment train commands",
    "cli": "devices commands",
}
BUILDERS_IMPORT = ("avlearn.media", "avlearn.ontology", "avlearn.devices.environment")
BUILDERS_IMPORT += tuple(f"avlearn.data.{name}" for name in ("schema", "contents", "tfrecord_file"))
AT_THE_TOP = 10  # modules at most


def sources(folder: str) -> list[pathlib.Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if not path.stem.endswith(("_test", "conftest")))


def room_of(module: str) -> str:
    """`avlearn.models.layers.resnet` to `models/layers`: the longest name in the table that it lies in."""
    path = module.removeprefix("avlearn.").replace(".", "/") + "/"
    return max((room for room in ROOMS if path.startswith(room + "/")), key=len, default="")


def imports(path: pathlib.Path) -> set[str]:
    """Every imported name, as a dotted path; `from a import b` counts as a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", sources("avlearn"), ids=name_of)
def test_rooms_import_only_rooms_of_their_line(path):
    room = room_of(name_of(path).removesuffix(".__init__"))
    for imported in imports(path):
        if imported.startswith(("avlearn.", "data_builders", "configs")):
            other = room_of(imported)
            if room == other == "models":
                assert name_of(path) == imported, f"models do not import each other: {imported}"
            assert other in (room, "config", "storage", *ROOMS[room].split()), f"{path} imports {imported}"
        root = imported.split(".")[0]
        if root in ("tensorflow", "tensorflow_datasets", "apache_beam"):
            assert room == "data", f"{path} imports {imported}"
        if imported.startswith(("absl.flags", "absl.app")):
            assert room == "main", f"{path} reads flags"


@pytest.mark.parametrize("path", sources("data_builders"), ids=name_of)
def test_builders_import_what_writes_records(path):
    for imported in imports(path):
        if imported.startswith("avlearn"):
            assert imported.startswith(BUILDERS_IMPORT), f"{path} imports {imported}"
        assert not imported.startswith(("configs", "tests")), f"{path} imports {imported}"


def test_every_module_belongs_to_a_room():
    unknown = [
        name_of(path) for path in sources("avlearn") if not room_of(name_of(path)) and path.parent.name != "avlearn"
    ]
    assert not unknown
    top = {path.stem for path in (ROOT / "avlearn").glob("*.py")}
    assert top - {"__init__"} <= ROOMS.keys()
    assert len(top) <= AT_THE_TOP


def test_names_are_used_once():
    """No two modules and no two classes share a name, except for those that a registry finds by it."""
    modules, classes = collections.Counter(), collections.Counter()
    for path in sources("avlearn") + sources("data_builders"):
        modules[path.stem] += path.stem != "__init__"
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name not in ("Model", "Builder", "Config"):
                classes[node.name] += 1
    assert [name for name, count in (modules + classes).items() if count > 1] == []
    assert not [path for path in sources("avlearn") + sources("data_builders") if "parts" in path.with_suffix("").parts]


def test_importing_configures_nothing():
    """Entry points set environment variables; a library that is imported leaves them as they are."""
    code = "import os, importlib; before = dict(os.environ)\n"
    entry_points = ("avlearn.main",)
    for path in sources("avlearn"):
        if name_of(path) not in entry_points:
            code += f"importlib.import_module({name_of(path).removesuffix('.__init__')!r})\n"
    code += "changed = {k for k in os.environ if os.environ[k] != before.get(k)}\n"
    code += "print(*changed & {'XLA_FLAGS', 'TF_ENABLE_ONEDNN_OPTS', 'PJRT_NPROC', 'JAX_PLATFORMS'})"
    hidden = ("XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    assert run.stdout.split() == []


def test_steps_are_timed_with_few_packages():
    """A machine with an accelerator may have little else than JAX."""
    code = "import importlib, sys, train_step\n"
    code += "for name in train_step.NETWORKS:\n"
    code += "    importlib.import_module(f'avlearn.models.{name}'), importlib.import_module(f'configs.{name}')\n"
    code += "print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "benchmarks")])}
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    declared = {re.match(r"[\w-]+", line)[0] for line in metadata.requires("avlearn") if "extra ==" not in line}
    owners = metadata.packages_distributions()
    owned_by = {owner.replace("_", "-") for name in loaded for owner in owners.get(name.partition(".")[0], [])}
    declared -= {"etils", "filelock", "ml-dtypes", "scipy"}  # JAX imports them itself if they are installed
    assert owned_by & declared == {"jax", "flax", "optax", "ml-collections", "jaxtyping", "numpy", "absl-py"}
