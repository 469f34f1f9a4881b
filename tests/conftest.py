"""Set-up of every test: eight fake CPU devices, no silent broadcasting, shapes checked at run time."""

import atexit
import os
import pathlib
import shutil
import tempfile
import types

# The lower optimisation level compiles several times faster, which is most of the tests' time.
FLAGS = ("--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=1")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])
# Tests in all processes share their compiled programs.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="avlearn_compiled_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("avlearn", "beartype.beartype")

from avlearn.devices import environment

environment.set_variables()

import jax
import psutil
import pytest

from data_builders.synthetic_av.synthetic_av_dataset_builder import Builder

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def on_a_disk(monkeypatch) -> None:
    """Pretend that datasets are on a local disk, wherever the machine keeps temporary files."""
    mounts = [types.SimpleNamespace(mountpoint="/", fstype="ext4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory) -> pathlib.Path:
    """Return the data directory of synthetic_av/tiny, built from its mp4 files once for all tests."""
    data_dir = tmp_path_factory.mktemp("data")
    Builder(config="tiny", data_dir=data_dir).download_and_prepare()
    return data_dir


@pytest.fixture(scope="session")
def trained(tiny_world, tmp_path_factory):
    """Return the miniature runs of the files of configs/, each trained when a test first asks for it."""
    from tests.helpers import every_config  # imports all of avlearn

    return every_config.TrainedConfigs(tmp_path_factory.mktemp("trained"), tiny_world)
