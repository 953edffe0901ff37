"""The model that a command uses: a model file, or the folder of a run."""

from pathlib import Path
from typing import Any

import nn_any as nn
from nn_any.cli.options import UsageError
from nn_any.datasets.new_examples import SUFFIXES
from nn_any.files import load_model

MODEL = "model.safetensors"


def find_model(path: Path) -> Path:
    """The model file that `path` is, or that a run has left in this folder.

    Raises
    ------
    FileNotFoundError
        If there is none.
    UsageError
        If the name is that of a file of data.
    """
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"model: expected a model file, or the folder of a run, found none at {path}")
        if path.suffix.lower() in SUFFIXES:
            raise UsageError(
                f"model: expected a model, got {path}, a file of data; name the model first, then the data"
            )
        return path
    if (path / MODEL).is_file():
        return path / MODEL
    runs = sorted(path.glob(f"*/{MODEL}"), key=lambda file: file.stat().st_mtime)
    remedy = f"name a run in it, such as {runs[-1].parent}" if runs else "name the folder of a run"
    raise FileNotFoundError(f"model: expected {MODEL} in the folder, found none in {path}; {remedy}")


def open_model(path: Path, device: str | None = None) -> nn.Network | nn.Ensemble:
    """The network or the ensemble in a model file, on a device."""
    kind: Any = nn.Ensemble if "ensemble" in load_model(path)[0] else nn.Network
    model: nn.Network | nn.Ensemble = kind.load(path, device)
    return model


def class_names(model: nn.Network | nn.Ensemble) -> list[Any]:
    """What the classes of a classifier are called: their numbers if they have no names."""
    return list(model.class_names or range(model.specification.classes))


def output_names(model: nn.Network | nn.Ensemble) -> list[str]:
    """What the outputs of another network are called."""
    names, usual = model.schema.target_names, "output" if model.task == "multilabel" else "prediction"
    if names is not None and len(names) == model.outputs:
        return list(names)
    return [usual] if model.outputs == 1 else [f"{usual}_{i + 1}" for i in range(model.outputs)]


def target_name(model: nn.Network | nn.Ensemble) -> str:
    """What a classifier predicts: the name of the column of its classes."""
    names = model.schema.target_names
    return names[0] if names is not None and len(names) == 1 else "prediction"
