"""PyTorch: CPUs, CUDA GPUs, and whatever other device a tensor can be made on."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch

from nn_any.backends._standard import StandardBackend, for_images
from nn_any.backends._torch_engine import CompiledEngine, GraphEngine, TorchEngine
from nn_any.backends._torch_replay import TorchReplayEngine
from nn_any.backends._torch_scope import PlainTorch
from nn_any.backends.engine import Engine
from nn_any.backends.programs import ProgramCache
from nn_any.core.primitives import definition
from nn_any.core.typing import Array

Pair = tuple[int, int]


def _one_hot(labels: Array, *, classes: int, dtype: Any, xp: Any) -> Array:
    places = torch.arange(classes, dtype=labels.dtype, device=labels.device)
    return (labels[..., None] == places).to(dtype)  # torch's own one_hot reads the labels back to check them


def _affine(x: Array, weights: Array, biases: Array, *, xp: Any) -> Array:
    if weights.ndim > 2:
        return definition("affine")(x, weights, biases, xp=xp)
    return torch.nn.functional.linear(x, weights, biases)


def _sgd_update(weights: Array, delta: Array, inputs: Array, *factors: Array | float, xp: Any) -> Array:
    if factors or weights.ndim > 2:
        return definition("sgd_update")(weights, delta, inputs, *factors, xp=xp)
    return torch.addmm(weights, delta.mT, inputs, alpha=-1.0)


def _convolve(x: Array, kernels: Array, *, stride: Pair, xp: Any) -> tuple[Array, Any]:
    # PyTorch wants channels first; the permuted views are its channels-last memory format, so nothing is copied
    z = torch.nn.functional.conv2d(_channels_first(x), _channels_first(kernels), stride=stride)
    return _channels_last(z), x


def _kernels_gradient(residual: Any, delta: Array, *, kernel_size: Pair, stride: Pair, xp: Any) -> Array:
    shape = (delta.shape[-1], residual.shape[-1], *kernel_size)
    gradient = torch.nn.grad.conv2d_weight(_channels_first(residual), shape, _channels_first(delta), stride=stride)
    return _channels_last(gradient)


def _inputs_gradient(delta: Array, kernels: Array, *, stride: Pair, size: Pair, xp: Any) -> Array:
    shape = (delta.shape[0], kernels.shape[-1], *size)
    gradient = torch.nn.grad.conv2d_input(shape, _channels_first(kernels), _channels_first(delta), stride=stride)
    return _channels_last(gradient)


def _max_pool(x: Array, *, window: Pair, stride: Pair, xp: Any) -> tuple[Array, Any]:
    images = _channels_first(x.reshape(-1, *x.shape[-3:]))
    largest, places = torch.nn.functional.max_pool2d(images, window, stride, return_indices=True)
    largest = _channels_last(largest)
    return largest.reshape(*x.shape[:-3], *largest.shape[1:]), (images, places)


def _max_pool_gradient(residual: Any, delta: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    images, places = residual
    flat = _channels_first(delta.reshape(-1, *delta.shape[-3:]))
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    gradient = _channels_last(backward(flat, images, window, stride, (0, 0), (1, 1), False, places))
    return gradient.reshape(*delta.shape[:-3], *gradient.shape[1:])


def _channels_first(images: Array) -> Array:
    return images.permute(0, 3, 1, 2)


def _channels_last(images: Array) -> Array:
    return images.permute(0, 2, 3, 1)


def _plain(tensor: Array) -> Array:
    """The numbers themselves: without gradients, and without a sign or a conjugation that is still to be applied."""
    return tensor.detach().resolve_conj().resolve_neg()


_NUMPYS = torch.float16, torch.float32, torch.float64
_aten = torch.ops.aten
_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda z, *, xp: torch.sigmoid(z),
    "sigmoid_gradient": lambda a, delta, *, xp: _aten.sigmoid_backward(delta, a),
    "relu": lambda z, *, xp: torch.relu(z),
    "relu_gradient": lambda z, delta, *, xp: _aten.threshold_backward(delta, z, 0),
    "one_hot": _one_hot,
    "total": lambda x, *, axis, xp: x.sum(axis),
    "vecdot": lambda a, b, *, xp: (a * b).sum(-1),  # the standard's vecdot makes a dozen calls of it
    "affine": _affine,
    "sgd_update": _sgd_update,
    "clip": lambda x, *, low=None, high=None, xp: torch.clamp(x, low, high),
    "convolve": for_images("convolve", _convolve),
    "convolve_kernels_gradient": for_images("convolve_kernels_gradient", _kernels_gradient),
    "convolve_inputs_gradient": for_images("convolve_inputs_gradient", _inputs_gradient),
    "max_pool": _max_pool,
    "max_pool_gradient": _max_pool_gradient,
}


class Backend(StandardBackend):
    """PyTorch tensors; gradients are ours, so tensors are detached when they come in."""

    replacements = _REPLACEMENTS
    aliases = MappingProxyType({"cuda": "cuda:0", "cpu:0": "cpu", "mps:0": "mps"})

    def __init__(self) -> None:
        super().__init__("torch", xp)
        self._programs = ProgramCache(64)

    def raw_devices(self) -> Iterable[Any]:
        return []  # `torch.device` makes them from their names

    def names(self) -> list[str]:
        names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        if torch.backends.mps.is_available():
            names.append("mps")
        return [*names, "cpu"]

    def raw(self, name: str) -> Any:
        device = torch.device(name)  # PyTorch itself says why it has none of that name
        torch.empty(0, device=device)
        return device

    def name_of(self, raw: Any) -> str:
        return self.canonical(str(raw))

    def scope(self, name: str) -> AbstractContextManager[Any]:
        return PlainTorch(name)

    def engine(self, name: str, mode: str = "auto", programs: ProgramCache | None = None) -> Engine:
        """CUDA graphs on a CUDA GPU, NumPy's loop on the CPU; compiled steps, or the plain loop, if asked for."""
        if mode == "auto" and name == "cpu":
            return TorchReplayEngine(programs)
        if mode == "eager" or (mode == "auto" and not name.startswith("cuda")):
            return TorchEngine(name)
        if name.startswith("cuda"):
            return GraphEngine(mode, self._programs, name)
        return CompiledEngine(mode, self._programs, name)

    def index_dtype(self, name: str) -> str:
        return "int32" if name.startswith("cuda") else super().index_dtype(name)

    def supports(self, dtype: str, name: str) -> bool:
        return dtype != "float64" or not name.startswith("mps")

    def from_host(self, array: np.ndarray, name: str) -> Array:
        """A tensor; PyTorch cannot share read-only memory or negative strides, so those are copied."""
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        return torch.asarray(array, device=torch.device(name))

    def to_host(self, array: Array) -> np.ndarray:
        array = _plain(array)
        if array.is_floating_point() and array.dtype not in _NUMPYS:
            array = array.to(torch.float32)  # which holds every bfloat16
        host: np.ndarray = array.cpu().numpy()
        return host

    def objection(self, array: Array) -> tuple[str, str] | None:
        if array.is_quantized:
            return "a quantized tensor", "use .dequantize()"
        if array.is_nested:
            return "a nested tensor", "use .to_padded_tensor(0.0)"
        if array.layout != torch.strided:
            return "a sparse tensor", (
                "use .to_dense(), or for a large one SciPy's: x = x.cpu().to_sparse_coo().coalesce(), and "
                "scipy.sparse.coo_array((x.values(), x.indices()), shape=x.shape)"
            )
        return None

    def move(self, array: Array, name: str) -> Array:
        return _plain(array).to(torch.device(name))

    def is_out_of_memory(self, error: BaseException) -> bool:
        """PyTorch's own error for GPUs; on the CPU it is told by its text alone."""
        torchs = isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
        return torchs or super().is_out_of_memory(error)

    def free_memory(self, name: str) -> int | None:
        if not name.startswith("cuda"):
            return super().free_memory(name)
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(torch.device(name))[0])

    def synchronize(self, name: str) -> None:
        if name.startswith("cuda"):
            torch.cuda.synchronize(torch.device(name))
        elif name.startswith("mps"):
            torch.mps.synchronize()
