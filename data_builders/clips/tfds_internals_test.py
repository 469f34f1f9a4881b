"""Private interfaces of TFDS: those that the builders use exist, and only `tfds_internals` uses them."""

import ast
import importlib

import pytest
import tensorflow_datasets as tfds

from tests.helpers.paths import ROOT

CHECKED_VERSIONS = ("4.9.9", "4.9.10")
INTERFACES = (
    ("tensorflow_datasets.core.download.download_manager", "NonMatchingChecksumError"),
    ("tensorflow_datasets.core.example_serializer", "ExampleSerializer.get_tf_example"),
    ("tensorflow_datasets.core.dataset_builder", "FileReaderBuilder._download_and_prepare"),
    ("tensorflow_datasets.core.dataset_builder", "FileReaderBuilder._get_filename_template"),
    ("tensorflow_datasets.core.dataset_builder", "FileReaderBuilder._post_download_and_prepare_hook"),
    ("tensorflow_datasets.core.dataset_builder", "GeneratorBasedBuilder._download_and_prepare"),
    ("tensorflow_datasets.core.utils.version", "list_all_versions"),  # used by avlearn.data, which reads the datasets
)
HELP = f"The builders were checked with TFDS {' and '.join(CHECKED_VERSIONS)}, this is {tfds.__version__}."


@pytest.mark.parametrize(("module", "path"), INTERFACES)
def test_classes_and_methods_exist(module, path):
    owner = importlib.import_module(module)
    for name in path.split("."):
        assert hasattr(owner, name), f"{module} has no {path}. {HELP}"
        owner = getattr(owner, name)


@pytest.mark.parametrize("name", ["_manual_dir", "_download", "_url_infos", "_recorded_url_infos"])
def test_attributes_of_a_download_manager_exist(tmp_path, name):
    manager = tfds.download.DownloadManager(download_dir=tmp_path, manual_dir=tmp_path)
    assert hasattr(manager, name), f"a DownloadManager has no {name}. {HELP}"


def test_no_other_module_uses_private_interfaces():
    found = []
    for path in (ROOT / "data_builders").rglob("*.py"):
        if path.name.startswith("tfds_internals") or path.name.endswith("_test.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("tensorflow_datasets."):
                found.append(f"{path}, line {node.lineno}: from {node.module} import ...")
            private = isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
            if private and ast.unparse(node) != "os._exit" and ast.unparse(node.value) != "self":
                found.append(f"{path}, line {node.lineno}: {ast.unparse(node)}")
    assert found == []
