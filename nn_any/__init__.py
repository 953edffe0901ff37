"""nn_any: neural networks with one copy of the maths, on any array library."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from nn_any import datasets, metrics
from nn_any.backends import Device, DeviceNotAvailableError, EngineError, devices, select_device, to_device, to_numpy
from nn_any.core import activations, initializers, layers, losses, optimizers, schedules
from nn_any.core.errors import (
    DataFileError,
    InvalidTypeError,
    InvalidValueError,
    ModelFileError,
    NetworkBusyError,
    NnAnyError,
    OutOfMemoryError,
    TrainingDivergedError,
)
from nn_any.core.layers import (
    Activation,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    ElasticDistortion,
    Flatten,
    LayerNorm,
    MaxPool2D,
    RandomAffine,
    Standardize,
)
from nn_any.core.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from nn_any.core.schema import Schema
from nn_any.core.state import Snapshot, TrainState
from nn_any.datasets import Dataset
from nn_any.ensemble import Ensemble
from nn_any.measuring import DeviceTiming, fastest_device, time_devices
from nn_any.network import Network
from nn_any.training import (
    LBFGS,
    Callback,
    Checkpoint,
    EarlyStopping,
    History,
    TrainingInterrupted,
    measure,
    train_step,
    train_steps,
)

if TYPE_CHECKING:
    from nn_any.estimators import MLPClassifier, MLPRegressor

__all__ = [
    "LBFGS",
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "AveragePool2D",
    "BatchNorm",
    "Callback",
    "Checkpoint",
    "Conv2D",
    "DataFileError",
    "Dataset",
    "Dense",
    "Device",
    "DeviceNotAvailableError",
    "DeviceTiming",
    "Dropout",
    "EarlyStopping",
    "ElasticDistortion",
    "EngineError",
    "Ensemble",
    "Flatten",
    "History",
    "InvalidTypeError",
    "InvalidValueError",
    "LayerNorm",
    "MLPClassifier",
    "MLPRegressor",
    "MaxPool2D",
    "ModelFileError",
    "Network",
    "NetworkBusyError",
    "NnAnyError",
    "OutOfMemoryError",
    "RMSprop",
    "RandomAffine",
    "Schema",
    "Snapshot",
    "Standardize",
    "TrainState",
    "TrainingDivergedError",
    "TrainingInterrupted",
    "activations",
    "datasets",
    "devices",
    "fastest_device",
    "initializers",
    "layers",
    "losses",
    "measure",
    "metrics",
    "optimizers",
    "schedules",
    "select_device",
    "time_devices",
    "to_device",
    "to_numpy",
    "train_step",
    "train_steps",
]


def __getattr__(name: str) -> Any:
    """The estimators, which bring scikit-learn along, once they are asked for."""
    if name in ("MLPClassifier", "MLPRegressor"):
        from nn_any import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


del TYPE_CHECKING, Any  # dir(nn_any) is a table of contents
