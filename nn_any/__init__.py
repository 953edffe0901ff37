"""nn_any: neural networks with one copy of the maths, on any array library."""

__version__ = "0.1.0"

from nn_any import datasets
from nn_any.backends import Device, DeviceNotAvailableError, devices, select_device, to_device, to_numpy
from nn_any.callbacks import Callback
from nn_any.core import activations, initializers, layers, losses, optimizers
from nn_any.core.layers import Dense
from nn_any.core.optimizers import SGD
from nn_any.datasets import Dataset
from nn_any.network import Network
from nn_any.training import History, TrainingDivergedError

__all__ = [
    "SGD",
    "Callback",
    "Dataset",
    "Dense",
    "Device",
    "DeviceNotAvailableError",
    "History",
    "Network",
    "TrainingDivergedError",
    "activations",
    "datasets",
    "devices",
    "initializers",
    "layers",
    "losses",
    "optimizers",
    "select_device",
    "to_device",
    "to_numpy",
]
