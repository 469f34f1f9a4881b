"""The layers of the design: who may import whom."""

import ast
import os
import pathlib
import re
import subprocess
import sys
from importlib import metadata

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Each layer may import itself where `within` says so, and what stands in the set. Layers are module prefixes.
FOUNDATION = {"avlearn.types", "avlearn.ontology"}
LAYERS = {
    "avlearn.xla_flags": set(),
    "avlearn.types": set(),
    "avlearn.ontology": set(),
    "avlearn.media": FOUNDATION | {"avlearn.media"},
    "avlearn.losses": FOUNDATION | {"avlearn.losses"},
    "avlearn.models.parts": FOUNDATION | {"avlearn.models.parts"},
    "avlearn.data": FOUNDATION | {"avlearn.data", "avlearn.media"},
    "avlearn.evaluators": FOUNDATION | {"avlearn.evaluators"},
    "avlearn.visuals": FOUNDATION | {"avlearn.visuals", "avlearn.media"},
    "avlearn.models": FOUNDATION | {"avlearn.models.parts", "avlearn.losses"},
    "avlearn.parallel": FOUNDATION,
    "avlearn.optimizer": FOUNDATION,
    "avlearn.metrics_log": FOUNDATION | {"avlearn.tensorboard_log", "avlearn.wandb_log"},
    "avlearn.tensorboard_log": FOUNDATION,
    "avlearn.wandb_log": FOUNDATION,
    "avlearn.step": FOUNDATION | {"avlearn.parallel", "avlearn.losses"},
    "avlearn.storage_faults": FOUNDATION,
    "avlearn.checkpoint": FOUNDATION | {"avlearn.step", "avlearn.storage_faults"},
    "avlearn.pretraining": {"avlearn.checkpoint", "avlearn.step"},
    "avlearn.weights": FOUNDATION | {"avlearn.weights", "avlearn.models"},
    "avlearn.import_weights": {"avlearn.checkpoint", "avlearn.parts", "avlearn.step", "avlearn.weights"},
    "avlearn.export_weights": {"avlearn.checkpoint", "avlearn.import_weights", "avlearn.weights"},
    "avlearn.evaluate": FOUNDATION | {"avlearn.parallel", "avlearn.evaluators"},
    "avlearn.report": FOUNDATION
    | {"avlearn.data", "avlearn.evaluate", "avlearn.losses", "avlearn.metrics_log", "avlearn.visuals"},
    "avlearn.inspect_dataset": FOUNDATION | {"avlearn.data", "avlearn.media", "avlearn.visuals"},
    "avlearn.parts": {"avlearn"},
    "avlearn.chosen_evaluators": {"avlearn"},
    "avlearn.evaluation": {"avlearn"},
    "avlearn.experiment": {"avlearn"},
    "avlearn.topology": set(),
    "avlearn.compiled": FOUNDATION,
    "avlearn.preemption": FOUNDATION | {"avlearn.parallel"},
    "avlearn.non_finite": {"avlearn.data", "avlearn.experiment", "avlearn.parallel"},
    "avlearn.train": {
        "avlearn.compiled",
        "avlearn.experiment",
        "avlearn.metrics_log",
        "avlearn.non_finite",
        "avlearn.preemption",
        "avlearn.step",
        "avlearn.wandb_log",
    },
    "avlearn.features": FOUNDATION | {"avlearn.models.parts", "avlearn.step"},
    "avlearn.sources": FOUNDATION
    | {
        "avlearn.data",
        "avlearn.evaluate",
        "avlearn.features",
        "avlearn.parallel",
        "avlearn.preemption",
        "avlearn.step",
    },
    "avlearn.films_and_units": {
        "avlearn.data",
        "avlearn.evaluate",
        "avlearn.features",
        "avlearn.sources",
        "avlearn.step",
        "avlearn.visuals",
    },
    "avlearn.follow": {
        "avlearn.checkpoint",
        "avlearn.evaluate",
        "avlearn.evaluation",
        "avlearn.metrics_log",
        "avlearn.tensorboard_log",
        "avlearn.visuals",
    },
    "avlearn.costs": {"avlearn.parts", "avlearn.step", "avlearn.types"},
    "avlearn.dry_run": {
        "avlearn.chosen_evaluators",
        "avlearn.costs",
        "avlearn.topology",
        "avlearn.parts",
        "avlearn.step",
        "avlearn.evaluate",
        "avlearn.parallel",
        "avlearn.data",
        "avlearn.models.parts",
    },
    "avlearn.main": {"avlearn"},
    "avlearn.write_contents": {"avlearn.data.contents"},
    "data_builders": FOUNDATION
    | {"data_builders", "avlearn.media", "avlearn.data.schema", "avlearn.data.contents", "avlearn.data.tfrecord_file"},
}
PACKAGES = {"avlearn": {"avlearn.xla_flags"}, "data_builders": set()}  # what importing them imports
NOT_IN_EXPERIMENT = {
    "avlearn.main",
    "avlearn.train",
    "avlearn.follow",
    "avlearn.non_finite",
    "avlearn.experiment",
    "avlearn.costs",
    "avlearn.dry_run",
    "avlearn.report",
    "avlearn.inspect_dataset",
    "avlearn.import_weights",
    "avlearn.export_weights",
    "avlearn.write_contents",
}
MAY_IMPORT_TENSORFLOW = ("avlearn.data", "data_builders")
MAY_IMPORT_FLAGS = ("avlearn.main", "data_builders")


def modules():
    for folder in ("avlearn", "data_builders"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.name.endswith("_test.py"):
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                yield pytest.param(name, path, id=name)


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


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def layer_of(name: str) -> str:
    return max((layer for layer in LAYERS if within(name, layer)), key=len)


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_imports_only_lower_layers(name, path):
    if name in PACKAGES:
        assert imports(path) == PACKAGES[name]
        return
    layer = layer_of(name)
    for imported in imports(path):
        if imported.split(".")[0] in ("avlearn", "data_builders"):
            assert any(within(imported, allowed) for allowed in LAYERS[layer]), f"{name} imports {imported}"
            if layer in ("avlearn.parts", "avlearn.chosen_evaluators", "avlearn.evaluation", "avlearn.experiment"):
                assert not any(within(imported, upper) for upper in NOT_IN_EXPERIMENT), f"{name} imports {imported}"
        root = imported.split(".")[0]
        if root in ("tensorflow", "tensorflow_datasets", "apache_beam"):
            assert name.startswith(MAY_IMPORT_TENSORFLOW), f"{name} imports {imported}"
        if within(imported, "absl.flags") or within(imported, "absl.app"):
            assert name.startswith(MAY_IMPORT_FLAGS), f"{name} reads flags"


def test_every_file_belongs_to_a_layer():
    for parameter in modules():
        name = parameter.values[0]
        assert name in PACKAGES or any(within(name, layer) for layer in LAYERS), name


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
    assert owned_by & declared == {"jax", "flax", "optax", "ml-collections", "jaxtyping", "numpy", "absl-py"}
