"""The model file: safetensors, with the architecture and a SHA-256 of it all in its metadata."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.files.atomic import write_atomically

FORMAT = 1
_KEY = "nn_any"


def save_model(path: str | os.PathLike[str], description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a model file, whole or not at all.

    Parameters
    ----------
    path : path
        An existing file there is replaced.
    description : mapping that JSON can hold
        The architecture and whatever else makes the network.
    tensors : mapping from names to arrays
        Made contiguous first: safetensors 0.8 writes others wrongly (its issue 825).
    """
    from safetensors.numpy import save

    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    header = {"format": FORMAT, **description}
    header["sha256"] = _digest(header, contiguous)
    # one entry only: safetensors writes several in no fixed order, and equal networks shall be equal files
    content = save(contiguous, metadata={_KEY: json.dumps(header, sort_keys=True)})
    write_atomically(path, content)


def load_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a model file: its description and its tensors. Nothing in it is executed or imported.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model file, is damaged, or was written by a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: expected a model file, found none at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        description = json.loads(metadata[_KEY])
        intact = description.pop("sha256") == _digest(description, tensors)
        written = int(description["format"])
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected a model file of nn_any, got one that is damaged or of another kind "
            f"({type(error).__name__}: {error})"
        ) from error
    if not intact:
        raise ValueError(f"{path}: the content does not match its SHA-256, so the file is damaged; use another copy")
    if written > FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT} or older, got {written}; upgrade nn_any to read it")
    return description, tensors


def _digest(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of the description and of the names, dtypes, shapes and bytes of all tensors, in order of name."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
