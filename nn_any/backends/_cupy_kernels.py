"""CuPy's equals of primitives: CUDA kernels of ours, and matrix products that a graph may capture."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import cupy
import cupyx.scipy.special
import numpy as np

from nn_any.backends._cupy_products import current_products
from nn_any.backends.cuda import source, window_shape
from nn_any.backends.cuda.sources import C_TYPES
from nn_any.core.primitives import definition
from nn_any.core.typing import Array

Pair = tuple[int, int]
_REALS = ("float32", "float64")


@cache
def _kernel(name: str, entry: str, options: tuple[str, ...]) -> Any:
    return cupy.RawKernel(source(name), entry, options)  # which keeps one binary a device


def _matmul(a: Array, b: Array, *, xp: Any) -> Array:
    products, reals = current_products(), a.dtype == b.dtype and a.dtype.name in _REALS
    if products is None or not reals or not (a.ndim and b.ndim and a.size and b.size):
        return a @ b
    left, right = a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    product = products(left, right)
    product = product[..., 0] if b.ndim == 1 else product
    return product if a.ndim > 1 else product[..., 0] if b.ndim == 1 else product[..., 0, :]


_dot = cupy.ReductionKernel("T a, T b", "T c", "a * b", "a + b", "c = a", "0", "nn_any_vecdot")
_slope_of_sigmoid = cupy.ElementwiseKernel("T a, T d", "T out", "out = d * (a * (1 - a))", "nn_any_sigmoid_gradient")
_positive = cupy.ElementwiseKernel("T z", "T out", "out = z < 0 ? T(0) : z", "nn_any_relu")
_slope_of_relu = cupy.ElementwiseKernel("T z, T d", "T out", "out = d * T(z > 0)", "nn_any_relu_gradient")


def _launch(entry: str, arrays: tuple[Array, ...], shape: np.ndarray, out: Array) -> None:
    """A kernel of `windows.cu`, one thread for each element of `out`."""
    if not out.size:
        return
    options = ("--std=c++17", f"-DREAL={C_TYPES[out.dtype.name]}")
    _kernel("windows", entry, options)((-(-out.size // 256),), (256,), (*arrays, shape, np.int64(out.size)))


# CuPy stacks more than eight arrays by way of a table that comes from the host, which no graph may hold: hence these


def _unfold(x: Array, *, window: Pair, stride: Pair, xp: Any) -> Array:
    if x.dtype.name not in _REALS:
        return definition("unfold")(x, window=window, stride=stride, xp=xp)
    x, shape = cupy.ascontiguousarray(x), window_shape(x.shape[-3:-1], x.shape[-1], window, stride)
    places = (int(shape["rows"]), int(shape["columns"]))
    parts = cupy.empty((*x.shape[:-3], *places, math.prod(window), x.shape[-1]), x.dtype)
    _launch("unfold", (x, parts), shape, parts)
    return parts


def _fold(parts: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    if parts.dtype.name not in _REALS:
        return definition("fold")(parts, window=window, stride=stride, size=size, xp=xp)
    images = cupy.empty((*parts.shape[:-4], *size, parts.shape[-1]), parts.dtype)
    shape = window_shape(size, parts.shape[-1], window, stride)
    _launch("fold", (cupy.ascontiguousarray(parts), images), shape, images)
    return images


def _max_pool(x: Array, *, window: Pair, stride: Pair, xp: Any) -> tuple[Array, Any]:
    shape = window_shape(x.shape[-3:-1], x.shape[-1], window, stride)
    largest = cupy.empty((*x.shape[:-3], int(shape["rows"]), int(shape["columns"]), x.shape[-1]), x.dtype)
    places = cupy.empty(largest.shape, np.int32)
    _launch("max_pool", (cupy.ascontiguousarray(x), largest, places), shape, largest)
    return largest, places


def _max_pool_gradient(residual: Any, delta: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    images = cupy.empty((*delta.shape[:-3], *size, delta.shape[-1]), delta.dtype)
    shape = window_shape(size, delta.shape[-1], window, stride)
    _launch("max_pool_gradient", (residual, cupy.ascontiguousarray(delta), images), shape, images)
    return images


REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda z, *, xp: cupyx.scipy.special.expit(z),
    "sigmoid_gradient": lambda a, delta, *, xp: _slope_of_sigmoid(a, delta),
    "relu": lambda z, *, xp: _positive(z),
    "relu_gradient": lambda z, delta, *, xp: _slope_of_relu(z, delta),
    # array-api-compat's own clip reads a mask back to the host
    "clip": lambda x, *, low=None, high=None, xp: cupy.clip(x, low, high),
    "matmul": _matmul,
    "vecdot": lambda a, b, *, xp: _dot(a, b, axis=-1),
    "unfold": _unfold,
    "fold": _fold,
    "max_pool": _max_pool,
    "max_pool_gradient": _max_pool_gradient,
}
"""By the primitive's name."""
