"""Model files: written whole or not at all, and executing nothing when read."""

from nn_any.files.atomic import write_atomically
from nn_any.files.model import load_model, save_model

__all__ = ["load_model", "save_model", "write_atomically"]
