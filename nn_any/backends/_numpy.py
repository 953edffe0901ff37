"""NumPy: the host."""

import math
from functools import lru_cache
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
from scipy.special import expit

from nn_any.backends import _numpy_windows as windows
from nn_any.backends._standard import StandardBackend
from nn_any.backends.engine import EagerEngine, Engine
from nn_any.backends.replay import ReplayEngine, record_primitive
from nn_any.core.primitives import definition
from nn_any.core.typing import Array

Pair = tuple[int, int]


def _sigmoid(z: Array, *, xp: Any) -> Array:
    return expit(z)


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
    filters, height, width, _ = kernels.shape
    parts = _unfold(x, window=(height, width), stride=stride, xp=xp)
    patches = parts.reshape(math.prod(parts.shape[:3]), -1)  # a view, however the windows lie
    return (patches @ kernels.reshape(filters, -1).mT).reshape(*parts.shape[:3], filters), patches


def _fold(parts: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    image = np.empty((*parts.shape[:-4], *size, parts.shape[-1]), parts.dtype)
    windows.fold(windows.now, image, parts, window=window, stride=stride)
    return image


def _max_pool(x: Array, *, window: Pair, stride: Pair, xp: Any) -> tuple[Array, Any]:
    shape = (*x.shape[:-3], *windows.counts(x.shape[-3:-1], window, stride), x.shape[-1])
    largest, which = np.empty(shape, x.dtype), np.empty(shape, np.uint8 if math.prod(window) < 256 else np.intp)
    windows.max_pool(windows.now, largest, which, np.empty_like(which), x, window=window, stride=stride)
    return largest, which


def _max_pool_gradient(residual: Any, delta: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    image = np.empty((*delta.shape[:-3], *size, delta.shape[-1]), delta.dtype)
    here = np.empty(delta.shape, np.bool_)
    windows.max_pool_gradient(windows.now, image, here, residual, delta, window=window, stride=stride)
    return image


class NumpyBackend(StandardBackend):
    """NumPy arrays, which live in the host's memory."""

    def __init__(self) -> None:
        super().__init__("numpy", xp)
        self.replacements: dict[str, Any] = {
            "sigmoid": _sigmoid,
            "one_hot": _one_hot,
            "affine": _affine,
            "total": _total,
            "clip": _clip,
            "sgd_update": _sgd_update,
            "unfold": _unfold,
            "convolve": _convolve,
            "fold": _fold,
            "max_pool": _max_pool,
            "max_pool_gradient": _max_pool_gradient,
        }

        for name, function in (self.replacements | {"sigmoid": expit}).items():
            record_primitive(name, function, single=name == "convolve")

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
