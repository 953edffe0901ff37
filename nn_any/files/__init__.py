"""Model files: written whole or not at all, and executing nothing when read."""

from nn_any.files.atomic import write_atomically
from nn_any.files.model import describing, load_model, save_model
from nn_any.files.parameters import find_tensors, name_tensors

__all__ = ["describing", "find_tensors", "load_model", "name_tensors", "save_model", "write_atomically"]
