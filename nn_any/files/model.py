"""The model file: safetensors, with the architecture and a SHA-256 of it all in its metadata."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nn_any.core.errors import ModelFileError
from nn_any.files.atomic import as_path, write_atomically
from nn_any.files.safetensors import parse, parse_json

FORMAT = 1
ANOTHER_COPY = "use another copy"
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

    Raises
    ------
    ValueError
        If the description is larger than `load_model` reads.
    OSError
        If the file cannot be written.
    """
    from safetensors.numpy import save

    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    header = {"format": FORMAT, **description}
    header["sha256"] = _digest(header, contiguous)
    text = _canonical(header)
    parse_json(text.encode())
    # one entry only: safetensors writes several in no fixed order, and equal networks shall be equal files
    write_atomically(path, save(contiguous, metadata={_KEY: text}))


def load_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a model file: its description and its tensors, which are read-only. Nothing is executed or imported.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is not a model file, is damaged, or was written by a newer version.
    """
    path = as_path(path)
    if not path.is_file():
        inside = path / "model.safetensors"
        remedy = f"; the folder has one, load {str(inside)!r}" if inside.is_file() else ""
        raise FileNotFoundError(f"path: expected a model file, found none at {path}{remedy}")
    content = path.read_bytes()
    try:
        texts, tensors = parse(content)
        text = texts.get(_KEY, "")
        description = parse_json(text.encode())
        if not isinstance(description, dict) or type(description.get("format")) is not int:
            raise ValueError("it does not say which format it has")
        # the very text that this package writes: else a changed bit could leave what it says the same
        intact = text == _canonical(description)
        intact = description.pop("sha256", None) == _digest(description, tensors) and intact
    except ValueError as error:
        raise ModelFileError(
            f"{path}: expected a model file of nn_any, got one that is damaged or of another kind ({error!s:.300}); "
            f"{ANOTHER_COPY}"
        ) from error
    written = description["format"]
    if not intact:
        newer = f", or of format {written}, which needs a newer nn_any" if written > FORMAT else ""
        raise ModelFileError(
            f"{path}: the content does not match its SHA-256, so the file is damaged{newer}; {ANOTHER_COPY}"
        )
    if written > FORMAT:
        raise ModelFileError(f"{path}: expected format {FORMAT} or older, got {written}; upgrade nn_any to read it")
    return description, tensors


@contextmanager
def as_model_file_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any error raised while a file's description becomes a network into a `ModelFileError`."""
    try:
        yield
    except (MemoryError, ModelFileError):
        raise
    except Exception as error:
        raise ModelFileError(
            f"{path}: expected the description of a network, got one that makes none "
            f"({type(error).__name__}: {error!s:.300}); if a layer is your own, import it first, else {ANOTHER_COPY}"
        ) from error


def _canonical(description: Mapping[str, Any]) -> str:
    return json.dumps(description, sort_keys=True)


def _digest(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of the description and of the names, dtypes, shapes and bytes of all tensors, in order of name."""
    digest = hashlib.sha256(_canonical(description).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
