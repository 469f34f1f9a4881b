"""Reads weight files of other frameworks as named NumPy arrays, and writes safetensors."""

import json
import pathlib
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import h5py
import ml_dtypes  # noqa: F401  # makes bfloat16 known to NumPy, and so to safetensors
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts store a state dict
PARALLEL = "module."  # prefix that torch.nn.DataParallel adds to every name
LARGEST_BYTES = 4 * 2**30  # of the arrays of a file, checked before they are read; VGG16 has half a GiB
FLOATS = "float16, bfloat16, float32 or float64"
INSTALL_TORCH = (
    "it is a PyTorch file, but PyTorch is not installed. Either install it (pip install torch --index-url "
    "https://download.pytorch.org/whl/cpu) or save the state dict as safetensors elsewhere: "
    "safetensors.torch.save_file(state_dict, FILE)"
)
SAVE_STATE_DICT = "save one with torch.save(model.state_dict(), FILE)"

Contents = tuple[dict[str, np.ndarray], dict[str, str]]  # arrays by name, and metadata


def read(path: pathlib.Path) -> Contents:
    """Read the arrays of a file by name, and its metadata (safetensors only).

    The suffix selects the format. Names are those of the state dict, or of Keras's layers with `.kernel` and `.bias`.
    Floats of 16 bits are converted to float32.

    Raises:
      ValueError: the file does not exist or cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"--from={path} is not a file.")
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"--from={path}: {suffix!r} is unknown; use one of {', '.join(READERS)}.")
    kind, read_file = READERS[suffix]
    try:
        _check_size([path.stat().st_size])
        arrays, metadata = read_file(path)
        if not arrays:
            raise ValueError("it contains no arrays")
    except Exception as error:  # the libraries raise many kinds on damaged files
        lines = str(error).strip().splitlines()
        raise ValueError(f"--from={path} cannot be read as {kind}: {lines[0] if lines else repr(error)}") from error
    if all(name.startswith(PARALLEL) for name in arrays):
        arrays = {name.removeprefix(PARALLEL): array for name, array in arrays.items()}
    return arrays, metadata


def write_safetensors(path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write named arrays to a file with the suffix `.safetensors`, by which `read` recognises the format.

    Raises:
      ValueError: the path has another suffix, or its directory does not exist.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"--to={path}: name a file that ends in .safetensors.")
    if not path.parent.is_dir():
        raise ValueError(f"--to={path}: the directory {path.parent} does not exist.")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata=dict(metadata))


def _check_size(sizes: Iterable[int]) -> None:
    """Check the size of what a file declares, in bytes, before it is read.

    Raises:
      ValueError: it is more than `LARGEST_BYTES`.
    """
    total = sum(sizes)
    if total > LARGEST_BYTES:
        raise ValueError(f"its arrays take {total / 2**30:,.1f} GiB; at most {LARGEST_BYTES // 2**30} are read")


def _read_safetensors(path: pathlib.Path) -> Contents:
    with safe_open(path, framework="np") as stored:
        names = list(stored.keys())
        for name in names:
            kind = stored.get_slice(name).get_dtype()
            if kind not in SAFETENSORS_TYPES:
                raise ValueError(f"its entry {name!r} is {kind}; expected {FLOATS}")
        arrays = {name: stored.get_tensor(name) for name in names}
        metadata = stored.metadata()
    arrays = {name: np.asarray(array, _readable_type(array.dtype)) for name, array in arrays.items()}
    return arrays, {} if metadata is None else metadata


def _read_pytorch(path: pathlib.Path) -> Contents:
    try:
        import torch
    except ImportError as error:
        raise ValueError(INSTALL_TORCH) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _check_size(entry.file_size for entry in archive.infolist())
    try:
        # The file is a pickle, and loading any other pickle could run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The rest of the message advises how to load the file all the same.
        found = re.search(r"Unsupported (?:global: GLOBAL|class|operand) \S+", str(error))
        reason = f"it holds Python objects ({found[0]})" if found else "it is damaged, or not of PyTorch"
        raise ValueError(f"{reason}; {SAVE_STATE_DICT}") from error
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds one {type(state).__name__}; {SAVE_STATE_DICT}")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(
                f"its entry {name!r} is {type(tensor).__name__}; a state dict has names and tensors: {SAVE_STATE_DICT}"
            )
        if reason := _unreadable(tensor):
            raise ValueError(f"its entry {name!r} {reason}; expected {FLOATS}")
    _check_size(4 * tensor.numel() for tensor in state.values())
    converted = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    return {name: tensor.detach().numpy() for name, tensor in converted.items()}, {}


def _unreadable(tensor: Any) -> str | None:
    """Return why a tensor of PyTorch is not an array of numbers; None if it is."""
    import torch

    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    integers = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
    if tensor.is_meta:
        return "has no values (device meta)"
    if tensor.layout is not torch.strided or tensor.is_nested:
        return "is sparse or nested"
    return None if tensor.dtype in floats + integers else f"is {tensor.dtype}"


def _read_keras(path: pathlib.Path) -> Contents:
    """Read `layer.kernel` and `layer.bias` from HDF5 weights (Keras 1 to 3) or complete models."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Group):
            _check_links(item)
        elif "optimizer" not in name and item.shape != ():
            # Keras 3 numbers layers by class and stores the name as an attribute; earlier versions name the group.
            parents = name.removeprefix("model_weights/").split("/")
            layer = item.parent.attrs.get("name", parents[0])
            layer = layer.decode() if isinstance(layer, bytes) else str(layer)
            key = f"{layer}.{'bias' if item.ndim == 1 else 'kernel'}"
            if key in found:
                raise ValueError(f"both {found[key].name} and {item.name} would be {key}")
            _check_stored(item)
            found[key] = item

    with h5py.File(path) as stored:
        _check_links(stored)
        stored.visititems(visit)
        _check_size(item.nbytes for item in found.values())
        arrays = {name: np.asarray(item) for name, item in found.items()}
    return {name: np.asarray(array, _readable_type(array.dtype)) for name, array in arrays.items()}, {}


def _check_links(group: h5py.Group) -> None:
    """Refuse links in an HDF5 group, which can lead to other files and are not visited."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"its entry {group.name.rstrip('/')}/{name} is a link; only arrays in the file are read")


def _check_stored(item: h5py.Dataset) -> None:
    """Refuse an HDF5 array whose values are not numbers, or not in the file."""
    if item.external or item.is_virtual:
        raise ValueError(f"its entry {item.name} is stored in other files; only arrays in the file are read")
    if item.dtype.kind not in "biuf" or item.dtype.itemsize > 8:
        raise ValueError(f"its entry {item.name} is {item.dtype}; expected {FLOATS}")
    if item.size and not item.id.get_storage_size():
        raise ValueError(f"its entry {item.name} declares {list(item.shape)} values, but none are stored")


def _readable_type(kind: np.dtype) -> np.dtype:
    """Return float32 for floats of 16 bits, which NumPy knows only in part, and other types unchanged."""
    return np.dtype(np.float32) if kind.itemsize == 2 and kind.kind not in "biu" else kind


SAFETENSORS_TYPES = ("F16", "BF16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")
# Suffix to the format in words, and its reader, which raises any error with the reason alone.
READERS: Mapping[str, tuple[str, Callable[[pathlib.Path], Contents]]] = {
    **dict.fromkeys((".pth", ".pt", ".bin"), ("a state dict", _read_pytorch)),
    ".safetensors": ("safetensors", _read_safetensors),
    **dict.fromkeys((".h5", ".hdf5"), ("HDF5", _read_keras)),
}


def config_of(path: pathlib.Path, metadata: Mapping[str, str]) -> dict | None:
    """Return the config that an exported file was trained with, or None if avlearn did not export the file.

    Raises:
      ValueError: the metadata name avlearn as the writer, but hold no config.
    """
    if metadata.get("format") != "avlearn":
        return None
    try:
        config = json.loads(metadata.get("config", ""))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--from={path}: its config is not JSON ({error}).") from error
    try:
        network = config["model"]["name"]
    except (KeyError, TypeError):
        network = None
    if not isinstance(network, str):
        raise ValueError(f"--from={path}: its config names no network.")
    return config
