"""What a call on arrays returns, but for the numbers: its shape, dtype and layout, in memory that nobody has touched.

A recording needs no numbers, and a batch's activations with all that is made of them are many times what the loop
itself needs. So large results are zeros, which the operating system only hands out once they are written to. What is
not known here is computed, from zeros if it comes to that.
"""

import math
import mmap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nn_any.backends import _numpy_windows as windows
from nn_any.backends.replay.nodes import is_flipped

_SMALL = 1024  # numbers: such a result is computed


def imagine(name: str, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What ``function(*args, **kwargs)`` has for a result, as far as the layout goes; None if that is not known."""
    ufunc = getattr(function, "ufunc", None)
    if ufunc is not None:
        return _elementwise(ufunc, args)
    if not all(isinstance(arg, np.ndarray) and arg.dtype.kind != "O" for arg in args):
        return None
    if name in windows.ROUTINES:
        return _zeros(*windows.ROUTINES[name][1](*args, **kwargs))
    return _KNOWN[name](*args, **kwargs) if name in _KNOWN else None


def _zeros(shape: tuple[int, ...], dtype: Any, *, flipped: bool = False) -> np.ndarray:
    """Zeros in pages of their own: memory that was in use before would have to be written to."""
    if flipped:
        return _zeros((*shape[:-2], shape[-1], shape[-2]), dtype).mT
    size = math.prod(shape) * np.dtype(dtype).itemsize
    zeros: np.ndarray = np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8, size).view(dtype).reshape(shape)
    return zeros


def _elementwise(ufunc: np.ufunc, args: Any) -> np.ndarray | None:
    shape = np.broadcast_shapes(*[np.shape(arg) for arg in args])
    full = [arg for arg in args if isinstance(arg, np.ndarray) and arg.shape == shape]
    flipped = any(map(is_flipped, full))
    if np.prod(shape, dtype=int) < _SMALL or not (flipped or (full and all(arg.flags.c_contiguous for arg in full))):
        return None
    kinds = [arg.dtype if isinstance(arg, np.ndarray | np.generic) else type(arg) for arg in args]
    return _zeros(shape, ufunc.resolve_dtypes((*kinds, None))[-1], flipped=flipped)


def _affine(x: np.ndarray, weights: np.ndarray, biases: np.ndarray) -> np.ndarray | None:
    if x.ndim != 2 or weights.ndim != 2 or not x.dtype == weights.dtype == biases.dtype:
        return None
    return _zeros((x.shape[0], weights.shape[0]), x.dtype, flipped=True)


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        return None
    return _zeros((a.shape[0], b.shape[1]), np.result_type(a, b), flipped=is_flipped(a))


def _sgd_update(weights: np.ndarray, delta: np.ndarray, inputs: np.ndarray) -> np.ndarray | None:
    alike = weights.dtype == delta.dtype == inputs.dtype and weights.ndim == 2
    return _zeros(weights.shape, weights.dtype) if alike else None


def _relu_gradient(z: np.ndarray, delta: np.ndarray) -> np.ndarray | None:
    same = z.shape == delta.shape and z.strides == delta.strides and z.dtype == delta.dtype
    if not same or not (z.flags.c_contiguous or is_flipped(z)):
        return None
    return _zeros(z.shape, z.dtype, flipped=is_flipped(z))


_KNOWN: dict[str, Callable[..., Any]] = {
    "affine": _affine,
    "matmul": _matmul,
    "sgd_update": _sgd_update,
    "relu_gradient": _relu_gradient,
}
