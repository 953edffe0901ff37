"""NumPy: the host."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from nn_any.backends import _numpy_windows as windows
from nn_any.backends._numpy_sigmoid import expit, sigmoid
from nn_any.backends._standard import StandardBackend, for_images
from nn_any.backends.engine import Engine
from nn_any.backends.programs import ProgramCache
from nn_any.backends.replay import ReplayEngine, record_convolution, record_primitive
from nn_any.core.primitives import definition
from nn_any.core.typing import Array

Pair = tuple[int, int]


def _sigmoid(z: Array, *, xp: Any) -> Array:
    a = np.empty_like(z)
    with np.errstate(over="ignore"):
        sigmoid(windows.now, a, z)
    return a


@lru_cache(maxsize=32)
def _identity(classes: int, dtype: Any) -> np.ndarray:
    rows = np.eye(classes, dtype=dtype)
    rows.flags.writeable = False
    return rows


def _affine(x: Array, weights: Array, biases: Array, *, xp: Any) -> Array:
    z = (weights @ x.mT).mT  # OpenBLAS takes this order a quarter faster than x @ weights.mT for small batches
    z += biases[..., None, :]
    return z


def _sgd_update(weights: Array, delta: Array, inputs: Array, *factors: Array | float, xp: Any) -> Array:
    if factors:
        return definition("sgd_update")(weights, delta, inputs, *factors, xp=xp)
    gradient = delta.mT @ inputs
    return np.subtract(weights, gradient, out=gradient)


def _unfold(x: Array, *, window: Pair, stride: Pair, xp: Any) -> Array:
    out = windows.unfolded(windows.now, x, window=window, stride=stride)
    windows.unfold(windows.now, out, x, window=window, stride=stride)
    return out


def _windows(name: str) -> Callable[..., Array]:
    """A primitive whose routine writes into a given array, with an array made for it."""
    write, result = windows.ROUTINES[name]

    def call(*args: Array, xp: Any, **how: Any) -> Array:
        out = np.empty(*result(*args, **how))
        write(windows.now, out, *args, **how)
        return out

    return call


_convolved = _windows("convolve")


def _convolve(x: Array, kernels: Array, *, stride: Pair, xp: Any) -> tuple[Array, Any]:
    return _convolved(x, kernels, stride=stride, xp=xp), x


def _max_pool(x: Array, *, window: Pair, stride: Pair, xp: Any) -> tuple[Array, Any]:
    shape = (*x.shape[:-3], *windows.counts(x.shape[-3:-1], window, stride), x.shape[-1])
    largest, which = np.empty(shape, x.dtype), np.empty(shape, np.uint8 if math.prod(window) < 256 else np.intp)
    windows.max_pool(windows.now, (largest, which), x, window=window, stride=stride)
    return largest, which


_REPLACEMENTS: dict[str, Any] = {
    "sigmoid": _sigmoid,
    "relu_gradient": lambda z, delta, *, xp: np.multiply(delta, z > 0, dtype=delta.dtype),
    "one_hot": lambda labels, *, classes, dtype, xp: np.take(_identity(classes, dtype), labels, axis=0),
    "affine": _affine,
    "total": lambda x, *, axis, xp: np.add.reduce(x, axis=axis),
    "clip": lambda x, *, low=None, high=None, xp: np.clip(x, low, high),
    "sgd_update": _sgd_update,
    "unfold": _unfold,
    "fold": _windows("fold"),
    "convolve": for_images("convolve", _convolve),
    "convolve_kernels_gradient": for_images("convolve_kernels_gradient", _windows("convolve_kernels_gradient")),
    "convolve_inputs_gradient": for_images("convolve_inputs_gradient", _windows("convolve_inputs_gradient")),
    "max_pool": _max_pool,
    "max_pool_gradient": _windows("max_pool_gradient"),
}


class Backend(StandardBackend):
    """NumPy arrays, which live in the host's memory."""

    replacements = _REPLACEMENTS

    def __init__(self) -> None:
        super().__init__("numpy", xp)
        for name, function in (_REPLACEMENTS | {"sigmoid": expit}).items():
            record_primitive(name, function)
        record_convolution(_convolved)

    def engine(self, name: str, mode: str = "auto", programs: ProgramCache | None = None) -> Engine:
        return Engine() if mode == "eager" else ReplayEngine(mode, programs)
