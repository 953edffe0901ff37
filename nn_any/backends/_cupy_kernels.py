"""CuPy's equals of primitives: CUDA kernels of ours, and whose matrix product multiplies, cuBLAS's or ours."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

import cupy
import cupyx.scipy.special
import numpy as np

from nn_any.backends.cuda import product_operands, product_options, product_tile, source, window_shape
from nn_any.backends.cuda.sources import C_TYPES
from nn_any.core.primitives import definition
from nn_any.core.typing import Array

Pair = tuple[int, int]
_REALS = ("float32", "float64")
_MOST_PRODUCTS = 65_535  # blocks along a grid's third axis

_own_products: ContextVar[str | None] = ContextVar("own_products", default=None)
"""None where cuBLAS multiplies, else the arithmetic in which our kernel does."""


@contextmanager
def own_products(arithmetic: str) -> Iterator[None]:
    """Let our kernel multiply, which graph capture accepts, in one of `nn_any.backends.cuda.MATHS`."""
    token = _own_products.set(arithmetic)
    try:
        yield
    finally:
        _own_products.reset(token)


@contextmanager
def eager_products(arithmetic: str) -> Iterator[None]:
    """Let cuBLAS multiply, in TF32 if asked for; CuPy's way to it knows no bfloat16, so that falls to our kernel."""
    if arithmetic == "tf32":
        from cupy._core import _routines_linalg as linalg  # no public name: nobody else shall depend on it

        before = linalg.get_compute_type(np.dtype("float32"))
        linalg.set_compute_type(np.dtype("float32"), linalg.COMPUTE_TYPE_TF32)
        try:
            yield
        finally:
            linalg.set_compute_type(np.dtype("float32"), before)
    else:
        with own_products(arithmetic) if arithmetic == "bfloat16" else nullcontext():
            yield


@cache
def _kernel(name: str, entry: str, options: tuple[str, ...]) -> Any:
    return cupy.RawKernel(source(name), entry, options)  # which keeps one binary a device


def product(a: Array, b: Array, d: Array | None = None, *, alpha: float = 1.0, beta: float = 1.0) -> Array:
    """``alpha * a @ b + beta * d`` by our kernel, in the arithmetic that `own_products` has set."""
    operands = product_operands(a, b, d, cupy)
    m, n, depth = operands.sizes
    c = cupy.empty(operands.shape, a.dtype)
    tile = product_tile(m, n, operands.batch, cupy.cuda.Device().attributes["MultiProcessorCount"])
    options = product_options(C_TYPES[a.dtype.name], _own_products.get() or "float32", tile)
    matrices = [item for pair in zip(operands.arrays, operands.strides, strict=True) for item in pair]
    real = a.dtype.type
    _kernel("matmul", "matmul", options)(
        (-(-m // tile), -(-n // tile), operands.batch),
        (256,),
        (*matrices, c, np.int32(m), np.int32(n), np.int32(depth), real(alpha), real(beta)),
    )
    return c


def _is_ours(*arrays: Array) -> bool:
    """Whether our kernel shall and can multiply these."""
    first = arrays[0].dtype
    return (
        _own_products.get() is not None
        and first.name in _REALS
        and all(array.dtype == first and array.ndim >= 2 and array.size for array in arrays)
        and max(math.prod(array.shape[:-2]) for array in arrays) <= _MOST_PRODUCTS
    )


def _affine(x: Array, weights: Array, biases: Array, *, xp: Any) -> Array:
    if not _is_ours(x, weights):
        return definition("affine")(x, weights, biases, xp=xp)
    return product(x, weights.mT, biases[..., None, :])


def _sgd_update(weights: Array, delta: Array, inputs: Array, alpha: Any = -1.0, beta: Any = 1.0, *, xp: Any) -> Array:
    if not (_is_ours(weights, delta, inputs) and isinstance(alpha, float) and isinstance(beta, float)):
        return definition("sgd_update")(weights, delta, inputs, alpha, beta, xp=xp)
    return product(delta.mT, inputs, weights, alpha=alpha, beta=beta)


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
    "matmul": lambda a, b, *, xp: product(a, b) if _is_ours(a, b) else a @ b,
    "vecdot": lambda a, b, *, xp: _dot(a, b, axis=-1),
    "affine": _affine,
    "sgd_update": _sgd_update,
    "unfold": _unfold,
    "fold": _fold,
    "max_pool": _max_pool,
    "max_pool_gradient": _max_pool_gradient,
}
"""By the primitive's name."""
