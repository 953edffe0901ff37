"""NumPy: the host."""

from functools import lru_cache
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
from scipy.special import expit

from nn_any.backends._standard import StandardBackend
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
    views = np.lib.stride_tricks.sliding_window_view(x, window, axis=(-3, -2))
    views = np.moveaxis(views[..., :: stride[0], :: stride[1], :, :, :], -3, -1)
    return views.reshape(*views.shape[:-3], window[0] * window[1], views.shape[-1])


def _places(image: Array, element: int, window: Pair, stride: Pair, shape: tuple[int, ...]) -> Array:
    """The view of the pixels that are number `element` of their windows."""
    i, j = divmod(element, window[1])
    (down, right), (rows, columns) = stride, shape
    return image[..., i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right, :]


def _fold(parts: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    *lead, rows, columns, area, channels = parts.shape
    image = np.zeros((*lead, *size, channels), dtype=parts.dtype)
    for element in range(area):
        view = _places(image, element, window, stride, (rows, columns))
        np.add(view, parts[..., element, :], out=view)
    return image


def _max_pool(x: Array, *, window: Pair, stride: Pair, xp: Any) -> tuple[Array, Any]:
    shape = tuple((x.shape[axis] - window[axis + 3]) // stride[axis + 3] + 1 for axis in (-3, -2))
    largest = _places(x, 0, window, stride, shape).copy()
    which = np.zeros(largest.shape, dtype=np.uint8 if window[0] * window[1] < 256 else np.intp)
    for element in range(1, window[0] * window[1]):
        part = _places(x, element, window, stride, shape)
        larger = part > largest
        np.copyto(which, element, where=larger)
        np.maximum(largest, part, out=largest)
    return largest, which


def _max_pool_gradient(residual: Any, delta: Array, *, window: Pair, stride: Pair, size: Pair, xp: Any) -> Array:
    *lead, rows, columns, channels = delta.shape
    image = np.zeros((*lead, *size, channels), dtype=delta.dtype)
    for element in range(window[0] * window[1]):
        view = _places(image, element, window, stride, (rows, columns))
        view += delta * (residual == element)
    return image


class NumpyBackend(StandardBackend):
    """NumPy arrays, which live in the host's memory."""

    def __init__(self) -> None:
        super().__init__("numpy", xp)
        self.replacements = {
            "sigmoid": _sigmoid,
            "one_hot": _one_hot,
            "affine": _affine,
            "total": _total,
            "clip": _clip,
            "sgd_update": _sgd_update,
            "unfold": _unfold,
            "fold": _fold,
            "max_pool": _max_pool,
            "max_pool_gradient": _max_pool_gradient,
        }

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
