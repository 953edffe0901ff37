"""NumPy: the host."""

import math
from functools import lru_cache
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
from scipy.special import expit

from nn_any.backends import _numpy_windows as windows
from nn_any.backends._numpy_sigmoid import sigmoid
from nn_any.backends._standard import StandardBackend
from nn_any.backends.engine import EagerEngine, Engine
from nn_any.backends.replay import ReplayEngine, record_convolution, record_primitive
from nn_any.core.primitives import definition
from nn_any.core.typing import Array

Pair = tuple[int, int]


def _sigmoid(z: Array, *, xp: Any) -> Array:
    a = np.empty_like(z)
    with np.errstate(over="ignore"):
        sigmoid(windows.now, a, z)
    return a


def _relu_gradient(z: Array, delta: Array, *, xp: Any) -> Array:
    return np.multiply(delta, z > 0, dtype=delta.dtype)


@lru_cache(maxsize=32)
def _identity(classes: int, dtype: Any) -> np.ndarray:
    rows = np.eye(classes, dtype=dtype)
    rows.flags.writeable = False
    return rows


def _one_hot(labels: Array, *, classes: int, dtype: Any, xp: Any) -> Array:
    return np.take(_identity(classes, dtype), labels, axis=0)


def _affine(x: Array, weights: Array, biases: Array, *, xp: Any) -> Array:
    z = (weights @ x.mT).mT  # OpenBLAS takes this order a quarter faster than x @ weights.mT for small batches
    z += biases[..., None, :]
    return z


def _clip(x: Array, *, low: float | None = None, high: float | None = None, xp: Any) -> Array:
    return np.clip(x, low, high)


def _total(x: Array, *, axis: int, xp: Any) -> Array:
    return np.add.reduce(x, axis=axis)


def _sgd_update(weights: Array, delta: Array, inputs: Array, *factors: Array | float, xp: Any) -> Array:
    if factors:
        return definition("sgd_update")(weights, delta, inputs, *factors, xp=xp)
    gradient = delta.mT @ inputs
    return np.subtract(weights, gradient, out=gradient)


def _unfold(x: Array, *, window: Pair, stride: Pair, xp: Any) -> Array:
    out = windows.unfolded(x, window=window, stride=stride)
    windows.unfold(windows.now, out, x, window=window, stride=stride)
    return out


def _convolve(x: Array, kernels: Array, *, stride: Pair, xp: Any) -> tuple[Array, Any]:
    if max(x.ndim, kernels.ndim) > 4:
        z, residual = definition("convolve")(x, kernels, stride=stride, xp=xp)
        return z, residual
    return _convolved(x, kernels, stride=stride), x


def _convolved(x: Array, kernels: Array, *, stride: Pair) -> Array:
    places = windows.counts(x.shape[1:3], kernels.shape[1:3], stride)
    z = np.empty((len(x), *places, len(kernels)), x.dtype)
    windows.convolve(windows.now, windows.AtOnce(), z, x, kernels, stride=stride)
    return z


def _kernels_gradient(residual: Any, delta: Array, *, kernel_size: Pair, stride: Pair, xp: Any) -> Array:
    if delta.ndim > 4:
        define = definition("convolve_kernels_gradient")
        gradient: Array = define(residual, delta, kernel_size=kernel_size, stride=stride, xp=xp)
        return gradient
    out = np.empty((delta.shape[-1], *kernel_size, residual.shape[-1]), delta.dtype)
    windows.kernels_gradient(windows.now, windows.AtOnce(), out, residual, delta, stride=stride)
    return out


def _inputs_gradient(delta: Array, kernels: Array, *, stride: Pair, size: Pair, xp: Any) -> Array:
    if max(delta.ndim, kernels.ndim) > 4:
        gradient: Array = definition("convolve_inputs_gradient")(delta, kernels, stride=stride, size=size, xp=xp)
        return gradient
    image = np.empty((len(delta), *size, kernels.shape[-1]), delta.dtype)
    windows.inputs_gradient(windows.now, windows.AtOnce(), image, delta, kernels, stride=stride)
    return image


def _fold(parts: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    image = np.empty((*parts.shape[:-4], *size, parts.shape[-1]), parts.dtype)
    windows.fold(windows.now, image, parts, window=window, stride=stride)
    return image


def _max_pool(x: Array, *, window: Pair, stride: Pair, xp: Any) -> tuple[Array, Any]:
    shape = (*x.shape[:-3], *windows.counts(x.shape[-3:-1], window, stride), x.shape[-1])
    largest, which = np.empty(shape, x.dtype), np.empty(shape, np.uint8 if math.prod(window) < 256 else np.intp)
    windows.max_pool(windows.now, np.empty, largest, which, x, window=window, stride=stride)
    return largest, which


def _max_pool_gradient(residual: Any, delta: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    image = np.empty((*delta.shape[:-3], *size, delta.shape[-1]), delta.dtype)
    windows.max_pool_gradient(windows.now, np.empty, image, residual, delta, window=window, stride=stride)
    return image


class NumpyBackend(StandardBackend):
    """NumPy arrays, which live in the host's memory."""

    def __init__(self) -> None:
        super().__init__("numpy", xp)
        self.replacements: dict[str, Any] = {
            "sigmoid": _sigmoid,
            "relu_gradient": _relu_gradient,
            "one_hot": _one_hot,
            "affine": _affine,
            "total": _total,
            "clip": _clip,
            "sgd_update": _sgd_update,
            "unfold": _unfold,
            "convolve": _convolve,
            "convolve_kernels_gradient": _kernels_gradient,
            "convolve_inputs_gradient": _inputs_gradient,
            "fold": _fold,
            "max_pool": _max_pool,
            "max_pool_gradient": _max_pool_gradient,
        }

        for name, function in (self.replacements | {"sigmoid": expit}).items():
            record_primitive(name, function, single=name.startswith("convolve"))
        record_convolution(_convolved)

    def engine(self, name: str, mode: str = "auto") -> Engine:
        """The replaying engine, unless the plain loop is asked for."""
        return EagerEngine() if mode == "eager" else ReplayEngine(mode)

    @property
    def version(self) -> str:
        """NumPy's version."""
        return np.__version__

    def from_host(self, array: np.ndarray, name: str) -> Array:
        """The array itself."""
        return array

    def to_host(self, array: Array) -> np.ndarray:
        """The array itself."""
        return np.asarray(array)


def create() -> NumpyBackend:
    """The backend for NumPy."""
    return NumpyBackend()
