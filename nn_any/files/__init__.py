"""Model files: written whole or not at all, and executing nothing when read."""

from nn_any.files.atomic import claim, write_atomically
from nn_any.files.model import as_model_file_errors, load_model, save_model
from nn_any.files.network import (
    describe,
    find_params,
    host_snapshot,
    load_host_snapshot,
    name_tensors,
    read_description,
)
from nn_any.files.onnx_model import save_onnx

__all__ = [
    "as_model_file_errors",
    "claim",
    "describe",
    "find_params",
    "host_snapshot",
    "load_host_snapshot",
    "load_model",
    "name_tensors",
    "read_description",
    "save_model",
    "save_onnx",
    "write_atomically",
]
