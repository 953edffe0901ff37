"""PyTorch: CPUs, CUDA GPUs, and whatever other device a tensor can be made on."""

from collections.abc import Iterable
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch

from nn_any.backends._standard import StandardBackend
from nn_any.backends._torch_engine import CompiledEngine, GraphEngine, TorchEngine
from nn_any.backends._torch_replay import TorchReplayEngine
from nn_any.backends.engine import Engine
from nn_any.core.primitives import definition
from nn_any.core.typing import Array


def _sigmoid(z: Array, *, xp: Any) -> Array:
    return torch.sigmoid(z)


def _sigmoid_gradient(a: Array, delta: Array, *, xp: Any) -> Array:
    return torch.ops.aten.sigmoid_backward(delta, a)


def _relu(z: Array, *, xp: Any) -> Array:
    return torch.relu(z)


def _relu_gradient(z: Array, delta: Array, *, xp: Any) -> Array:
    return torch.ops.aten.threshold_backward(delta, z, 0)


def _one_hot(labels: Array, *, classes: int, dtype: Any, xp: Any) -> Array:
    places = torch.arange(classes, dtype=labels.dtype, device=labels.device)
    return (labels[..., None] == places).to(dtype)  # torch's own one_hot reads the labels back to check them


def _total(x: Array, *, axis: int, xp: Any) -> Array:
    return x.sum(axis)


def _vecdot(a: Array, b: Array, *, xp: Any) -> Array:
    return (a * b).sum(-1)  # by one product and one sum; the standard's vecdot makes a dozen calls of it


def _affine(x: Array, weights: Array, biases: Array, *, xp: Any) -> Array:
    if weights.ndim > 2:
        return definition("affine")(x, weights, biases, xp=xp)
    return torch.nn.functional.linear(x, weights, biases)


def _sgd_update(weights: Array, delta: Array, inputs: Array, *factors: Array | float, xp: Any) -> Array:
    if factors or weights.ndim > 2:
        return definition("sgd_update")(weights, delta, inputs, *factors, xp=xp)
    return torch.addmm(weights, delta.mT, inputs, alpha=-1.0)


def _convolve(x: Array, kernels: Array, *, stride: tuple[int, int], xp: Any) -> tuple[Array, Any]:
    if max(x.ndim, kernels.ndim) > 4:
        z, residual = definition("convolve")(x, kernels, stride=stride, xp=xp)
        return z, residual
    # PyTorch wants channels first; the permuted views are its channels-last memory format, so nothing is copied
    z = torch.nn.functional.conv2d(_channels_first(x), _channels_first(kernels), stride=stride)
    return _channels_last(z), x


def _convolve_kernels_gradient(
    residual: Any, delta: Array, *, kernel_size: tuple[int, int], stride: tuple[int, int], xp: Any
) -> Array:
    if delta.ndim > 4:
        return definition("convolve_kernels_gradient")(residual, delta, kernel_size=kernel_size, stride=stride, xp=xp)
    shape = (delta.shape[-1], residual.shape[-1], *kernel_size)
    return _channels_last(
        torch.nn.grad.conv2d_weight(_channels_first(residual), shape, _channels_first(delta), stride=stride)
    )


def _convolve_inputs_gradient(
    delta: Array, kernels: Array, *, stride: tuple[int, int], size: tuple[int, int], xp: Any
) -> Array:
    if delta.ndim > 4:
        return definition("convolve_inputs_gradient")(delta, kernels, stride=stride, size=size, xp=xp)
    shape = (delta.shape[0], kernels.shape[-1], *size)
    return _channels_last(
        torch.nn.grad.conv2d_input(shape, _channels_first(kernels), _channels_first(delta), stride=stride)
    )


def _max_pool(x: Array, *, window: tuple[int, int], stride: tuple[int, int], xp: Any) -> tuple[Array, Any]:
    images = _channels_first(x.reshape(-1, *x.shape[-3:]))
    largest, places = torch.nn.functional.max_pool2d(images, window, stride, return_indices=True)
    largest = _channels_last(largest)
    return largest.reshape(*x.shape[:-3], *largest.shape[1:]), (images, places)


def _max_pool_gradient(
    residual: Any,
    delta: Array,
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    size: tuple[int, int],
    xp: Any,
) -> Array:
    images, places = residual
    flat = _channels_first(delta.reshape(-1, *delta.shape[-3:]))
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    gradient = _channels_last(backward(flat, images, window, stride, (0, 0), (1, 1), False, places))
    return gradient.reshape(*delta.shape[:-3], *gradient.shape[1:])


def _channels_first(images: Array) -> Array:
    return images.permute(0, 3, 1, 2)


def _channels_last(images: Array) -> Array:
    return images.permute(0, 2, 3, 1)


def _clip(x: Array, *, low: float | None = None, high: float | None = None, xp: Any) -> Array:
    return torch.clamp(x, low, high)


class TorchBackend(StandardBackend):
    """PyTorch tensors; gradients are ours, so tensors are detached when they come in."""

    def __init__(self) -> None:
        super().__init__("torch", xp)
        self.replacements = {
            "sigmoid": _sigmoid,
            "sigmoid_gradient": _sigmoid_gradient,
            "relu": _relu,
            "relu_gradient": _relu_gradient,
            "one_hot": _one_hot,
            "total": _total,
            "vecdot": _vecdot,
            "affine": _affine,
            "sgd_update": _sgd_update,
            "clip": _clip,
            "convolve": _convolve,
            "convolve_kernels_gradient": _convolve_kernels_gradient,
            "convolve_inputs_gradient": _convolve_inputs_gradient,
            "max_pool": _max_pool,
            "max_pool_gradient": _max_pool_gradient,
        }

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

    def engine(self, name: str, mode: str = "auto") -> Engine:
        """CUDA graphs on a CUDA GPU, NumPy's loop on the CPU; compiled steps, or the plain loop, if asked for."""
        if mode == "auto" and name == "cpu":
            return TorchReplayEngine()
        if mode == "eager" or (mode == "auto" and not name.startswith("cuda")):
            return TorchEngine()
        return GraphEngine(mode, name) if name.startswith("cuda") else CompiledEngine(mode)

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

    def is_out_of_memory(self, error: BaseException) -> bool:
        """PyTorch's own error for GPUs; on the CPU it is told by its text alone."""
        torchs = isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
        return torchs or super().is_out_of_memory(error)

    def free_memory(self, name: str) -> int | None:
        """What CUDA has to give, once PyTorch's cache has given back what it keeps."""
        if not name.startswith("cuda"):
            return super().free_memory(name)
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(torch.device(name))[0])

    def synchronize(self, name: str) -> None:
        """Wait for the GPU's streams."""
        if name.startswith("cuda"):
            torch.cuda.synchronize(torch.device(name))
        elif name.startswith("mps"):
            torch.mps.synchronize()


def create() -> TorchBackend:
    """The backend for PyTorch."""
    return TorchBackend()
