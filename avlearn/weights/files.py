"""Reads weight files of other frameworks as named NumPy arrays, and writes safetensors."""

import json
import pathlib
import pickle
from collections.abc import Mapping

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

PYTORCH = (".pth", ".pt", ".bin")
SAFETENSORS = (".safetensors",)
KERAS = (".h5", ".hdf5")
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts store a state dict
PARALLEL = "module."  # prefix that torch.nn.DataParallel adds to every name


def read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays of a file by name, and its metadata (safetensors only).

    The suffix selects the format. Names are those of the state dict, or of Keras's layers with `.kernel` and `.bias`.

    Raises:
      ValueError: the file does not exist or cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"--from={path} is not a file.")
    suffix = path.suffix.lower()
    if suffix in SAFETENSORS:
        return _read_safetensors(path)
    if suffix in PYTORCH:
        return _read_pytorch(path), {}
    if suffix in KERAS:
        return _read_keras(path), {}
    raise ValueError(f"--from={path}: {suffix!r} is unknown; use one of {', '.join((*PYTORCH, *SAFETENSORS, *KERAS))}.")


def write_safetensors(path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write named arrays to a file with the suffix `.safetensors`, by which `read` recognises the format.

    Raises:
      ValueError: the path has another suffix, or its directory does not exist.
    """
    if path.suffix not in SAFETENSORS:
        raise ValueError(f"--to={path}: name a file that ends in {SAFETENSORS[0]}.")
    if not path.parent.is_dir():
        raise ValueError(f"--to={path}: the directory {path.parent} does not exist.")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata=dict(metadata))


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, framework="np") as stored:
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata()
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"--from={path} cannot be read as safetensors: {error}") from error
    return _without_wrapping(path, arrays), {} if metadata is None else metadata


def _read_pytorch(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"--from={path} is a PyTorch file, but PyTorch is not installed. Either install it (pip install torch "
            "--index-url https://download.pytorch.org/whl/cpu) or save the state dict as safetensors elsewhere: "
            "safetensors.torch.save_file(state_dict, FILE)."
        ) from error
    try:
        # weights_only: the file is a pickle, and loading any other pickle could run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"--from={path} cannot be read as a state dict ({reason[0] if reason else error!r}). Save one with "
            "torch.save(model.state_dict(), FILE)."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            f"--from={path} does not contain a state dict. Save one with torch.save(model.state_dict(), FILE)."
        )
    arrays = {name: tensor.to(torch.float32).numpy() for name, tensor in state.items()}
    return _without_wrapping(path, arrays)


def _read_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read `layer.kernel` and `layer.bias` from HDF5 weights (Keras 1 to 3) or complete models."""
    arrays = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(item, h5py.Dataset) or "optimizer" in name or item.shape == ():
            return
        # Keras 3 numbers layers by class and stores the name as an attribute; earlier versions name the group.
        parents = name.removeprefix("model_weights/").split("/")
        layer = item.parent.attrs.get("name", parents[0])
        layer = layer.decode() if isinstance(layer, bytes) else str(layer)
        arrays[f"{layer}.{'bias' if item.ndim == 1 else 'kernel'}"] = np.asarray(item)

    try:
        with h5py.File(path) as stored:
            stored.visititems(visit)
    except OSError as error:
        raise ValueError(f"--from={path} cannot be read as HDF5: {error}") from error
    if not arrays:
        raise ValueError(f"--from={path} contains no arrays.")
    return arrays


def _without_wrapping(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not arrays:
        raise ValueError(f"--from={path} contains no arrays.")
    if all(name.startswith(PARALLEL) for name in arrays):
        return {name.removeprefix(PARALLEL): array for name, array in arrays.items()}
    return arrays


def config_of(metadata: Mapping[str, str]) -> dict | None:
    """Return the config that an exported file was trained with, or None if avlearn did not export the file."""
    return json.loads(metadata["config"]) if metadata.get("format") == "avlearn" else None
