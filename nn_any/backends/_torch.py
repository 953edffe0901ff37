"""PyTorch: CPUs, CUDA GPUs, and whatever other device a tensor can be made on."""

from collections.abc import Iterable
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch

from nn_any.backends._standard import StandardBackend
from nn_any.core.primitives import definition
from nn_any.core.typing import Array


def _sigmoid(z: Array, *, xp: Any) -> Array:
    return torch.sigmoid(z)


def _affine(x: Array, weights: Array, biases: Array, *, xp: Any) -> Array:
    if weights.ndim > 2:
        return definition("affine")(x, weights, biases, xp=xp)
    return torch.nn.functional.linear(x, weights, biases)


def _sgd_update(weights: Array, delta: Array, inputs: Array, *factors: Array | float, xp: Any) -> Array:
    if factors or weights.ndim > 2:
        return definition("sgd_update")(weights, delta, inputs, *factors, xp=xp)
    return torch.addmm(weights, delta.mT, inputs, alpha=-1.0)


class TorchBackend(StandardBackend):
    """PyTorch tensors; gradients are ours, so tensors are detached when they come in."""

    def __init__(self) -> None:
        super().__init__("torch", xp)
        self.replacements = {"sigmoid": _sigmoid, "affine": _affine, "sgd_update": _sgd_update}

    @property
    def version(self) -> str:
        """PyTorch's version."""
        return str(torch.__version__)

    def raw_devices(self) -> Iterable[Any]:
        """None in advance: `torch.device` makes them from their names."""
        return []

    def names(self) -> list[str]:
        """CUDA GPUs first, then Apple's, then the CPU."""
        names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        if torch.backends.mps.is_available():
            names.append("mps")
        return [*names, "cpu"]

    def canonical(self, name: str) -> str:
        """``"cuda"`` is the first GPU, ``"1"`` the second."""
        if name.isdecimal():
            return f"cuda:{name}"
        if name == "":
            return self.names()[0]
        return {"cuda": "cuda:0", "cpu:0": "cpu", "mps:0": "mps"}.get(name, name)

    def raw(self, name: str) -> Any:
        """A `torch.device`; PyTorch itself says why it has none of that name."""
        device = torch.device(name)
        torch.empty(0, device=device)
        return device

    def name_of(self, raw: Any) -> str:
        """``"cpu"``, ``"cuda:0"``, ``"mps"``."""
        return self.canonical(str(raw))

    def supports(self, dtype: str, name: str) -> bool:
        """Apple's GPUs have no float64."""
        return dtype != "float64" or not name.startswith("mps")

    def from_host(self, array: np.ndarray, name: str) -> Array:
        """A tensor; PyTorch cannot share read-only memory or negative strides, so those are copied."""
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        return torch.asarray(array, device=torch.device(name))

    def to_host(self, array: Array) -> np.ndarray:
        """The tensor's values."""
        host: np.ndarray = array.detach().cpu().numpy()
        return host

    def move(self, array: Array, name: str) -> Array:
        """The detached tensor on another device."""
        return array.detach().to(torch.device(name))

    def synchronize(self, name: str) -> None:
        """Wait for the GPU's streams."""
        if name.startswith("cuda"):
            torch.cuda.synchronize(torch.device(name))
        elif name.startswith("mps"):
            torch.mps.synchronize()


def create() -> TorchBackend:
    """The backend for PyTorch."""
    return TorchBackend()
