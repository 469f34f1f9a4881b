"""Weight files that hold something else than arrays of floats are refused with one line, before they cost memory."""

import argparse
import pathlib
import sys
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from avlearn import cli
from avlearn.weights import files, layouts
from avlearn.weights.layouts import SAME, Entry

torch = pytest.importorskip("torch")
from safetensors.torch import save_file as save_tensors  # noqa: E402

ONES = torch.ones(2, 3)
FLOATS = "expected float16, bfloat16, float32 or float64"
SAVE = "save one with torch.save(model.state_dict(), FILE)"
STATES = {
    "integer keys": (lambda: {0: ONES}, f"its entry 0 is Tensor; a state dict has names and tensors: {SAVE}"),
    "metadata": (
        lambda: {"a": ONES, "epoch": 3},
        f"its entry 'epoch' is int; a state dict has names and tensors: {SAVE}",
    ),
    "arguments": (
        lambda: {"state_dict": {"a": ONES}, "args": argparse.Namespace(lr=1)},
        f"it holds Python objects (Unsupported global: GLOBAL argparse.Namespace); {SAVE}",
    ),
    "a tensor": (lambda: ONES, f"it holds one Tensor; {SAVE}"),
    "no tensors": (lambda: {}, "it contains no arrays"),
    "sparse": (lambda: {"a": ONES.to_sparse()}, f"its entry 'a' is sparse or nested; {FLOATS}"),
    "nested": (lambda: {"a": torch.nested.nested_tensor([ONES, ONES])}, f"its entry 'a' is sparse or nested; {FLOATS}"),
    "meta": (lambda: {"a": ONES.to("meta")}, f"its entry 'a' has no values (device meta); {FLOATS}"),
    "quantised": (
        lambda: {"a": torch.quantize_per_tensor(ONES, 0.1, 0, torch.qint8)},
        f"its entry 'a' is torch.qint8; {FLOATS}",
    ),
    "float8": (lambda: {"a": ONES.to(torch.float8_e4m3fn)}, f"its entry 'a' is torch.float8_e4m3fn; {FLOATS}"),
    "complex": (lambda: {"a": ONES.to(torch.complex64)}, f"its entry 'a' is torch.complex64; {FLOATS}"),
    "one value as many": (
        lambda: {"a": torch.zeros(1, dtype=torch.float16).expand(10**6, 10**6)},
        "its arrays take 3,725.3 GiB; at most 4 are read",
    ),
}


def refusal(path: pathlib.Path) -> str:
    """Return the message of `files.read` after the name of the file."""
    with pytest.raises(ValueError, match=r"^--from=") as refused:
        files.read(path)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"--from={path} cannot be read as ")


@pytest.mark.filterwarnings("ignore")  # PyTorch's, about types that it gives up
@pytest.mark.parametrize("name", STATES)
def test_state_dicts_of_something_else_are_refused(tmp_path, name):
    make, expected = STATES[name]
    torch.save(make(), tmp_path / "w.pth")
    assert refusal(tmp_path / "w.pth") == f"a state dict: {expected}"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_of_every_size_are_read(tmp_path, kind):
    torch.save({"a": torch.nn.Parameter(1.5 * ONES.to(kind))}, tmp_path / "w.pth")
    save_tensors({"a": 1.5 * ONES.to(kind)}, tmp_path / "w.safetensors")
    for path in (tmp_path / "w.pth", tmp_path / "w.safetensors"):
        found, _ = files.read(path)
        assert found["a"].dtype in (np.float32, np.float64)
        np.testing.assert_array_equal(found["a"], np.full((2, 3), 1.5))


@pytest.mark.parametrize(("kind", "stored"), [(torch.float8_e4m3fn, "F8_E4M3"), (torch.complex64, "C64")])
def test_safetensors_of_other_types_are_refused(tmp_path, kind, stored):
    save_tensors({"a": ONES.to(kind)}, tmp_path / "w.safetensors")
    assert refusal(tmp_path / "w.safetensors") == f"safetensors: its entry 'a' is {stored}; {FLOATS}"


def test_integers_are_no_weights(tmp_path):
    torch.save({"a": ONES.to(torch.int8), "steps": torch.tensor(3)}, tmp_path / "w.pth")
    found, _ = files.read(tmp_path / "w.pth")
    lines = layouts.mismatches(found, [Entry("a", "a", SAME)], {"a": (2, 3)}, lambda name: name == "steps")
    assert lines == ["type: a is int8, expected floats"]


def test_a_zip_that_inflates_beyond_the_bound_is_not_read(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(300_000)}, tmp_path / "stored.pth")
    stored = zipfile.ZipFile(tmp_path / "stored.pth")
    with stored, zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as inflating:
        for name in stored.namelist():
            inflating.writestr(name, stored.read(name))
    assert (tmp_path / "w.pth").stat().st_size < 10_000
    np.testing.assert_array_equal(files.read(tmp_path / "w.pth")[0]["a"], np.zeros(300_000))
    assert files.LARGEST_BYTES == 4 * 2**30
    monkeypatch.setattr(files, "LARGEST_BYTES", 2**20)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    assert refusal(tmp_path / "w.pth").startswith("a state dict: its arrays take 0.0 GiB; at most")


def external(file, folder):
    (folder / "secret").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    file.create_dataset("fc/kernel", (2, 3), np.float32, external=[(str(folder / "secret"), 0, 24)])


def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["a"] = np.ones((2, 3), np.float32)
    layout = h5py.VirtualLayout((2, 3), np.float32)
    layout[:] = h5py.VirtualSource(folder / "other.h5", "a", shape=(2, 3))
    file.create_virtual_dataset("fc/kernel", layout)


def link(file, folder):
    file["fc/kernel"] = np.ones((2, 3), np.float32)
    file["fc/bias"] = h5py.ExternalLink("other.h5", "/a")


def soft_link(file, folder):
    file["fc/kernel"] = np.ones((2, 3), np.float32)
    file["fc2"] = h5py.SoftLink("/fc")


def terabytes(file, folder):
    declared = file.create_dataset("fc/kernel", (10**6, 10**6), np.float32, chunks=(10, 10))
    declared[:10, :10] = 1


def never_written(file, folder):
    file.create_dataset("fc/kernel", (2, 3), np.float32)


def text(file, folder):
    file["fc/kernel"] = np.array([b"a", b"b"])


def two_of_a_name(file, folder):
    file["fc/kernel:0"], file["fc/inner/kernel:0"] = np.ones((2, 3)), np.ones((2, 3))


KERAS = {
    external: "its entry /fc/kernel is stored in other files; only arrays in the file are read",
    virtual: "its entry /fc/kernel is stored in other files; only arrays in the file are read",
    link: "its entry /fc/bias is a link; only arrays in the file are read",
    soft_link: "its entry /fc2 is a link; only arrays in the file are read",
    terabytes: "its arrays take 3,725.3 GiB; at most 4 are read",
    never_written: "its entry /fc/kernel declares [2, 3] values, but none are stored",
    text: f"its entry /fc/kernel is |S1; {FLOATS}",
    two_of_a_name: "both /fc/inner/kernel:0 and /fc/kernel:0 would be fc.kernel",
}


@pytest.mark.parametrize("write", KERAS, ids=lambda write: write.__name__)
def test_keras_files_read_nothing_else(tmp_path, write):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write(file, tmp_path)
    assert refusal(tmp_path / "w.h5") == f"HDF5: {KERAS[write]}"


def test_without_pytorch_the_other_formats_are_read(tmp_path, monkeypatch):
    torch.save({"a": ONES}, tmp_path / "w.pth")
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "w.safetensors")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refusal(tmp_path / "w.pth").startswith("a state dict: it is a PyTorch file, but PyTorch is not installed.")
    assert files.read(tmp_path / "w.safetensors")[0].keys() == {"a"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "its config is not JSON"),
        ({"config": "[1]"}, "its config names no network"),
        ({"config": '{"model": {"name": 3}}'}, "its config names no network"),
        ({"config": '{"model": {"name": "avenet"}}'}, "its config is not one of avlearn"),
    ],
)
def test_metadata_that_avlearn_did_not_write_are_refused(tmp_path, metadata, message):
    path = tmp_path / "w.safetensors"
    save_file({"a": np.ones(2, np.float32)}, path, metadata={"format": "avlearn", **metadata})
    with pytest.raises(SystemExit, match=rf"^error: --from={path}: {message}") as refused:
        cli.main(["import", f"--from={path}", f"--to={tmp_path / 'run'}"])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
