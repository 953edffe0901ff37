"""Matrix products by cuBLAS, called so that a graph may capture them.

CuPy's own way to cuBLAS refuses while a stream captures (cupy/cupy#6290). cuBLAS itself does not, as long as it need
not allocate: so it gets a handle and a workspace of ours.

Reference: https://docs.nvidia.com/cuda/cublas/#cuda-graphs-support
"""

import ctypes
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import cupy
import numpy as np
from cuda import pathfinder

from nn_any.core.typing import Array

_WORKSPACE = 32 * 2**20  # bytes: what NVIDIA advises for its largest GPUs
_DEFAULT_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
_TYPES = {"float32": 0, "float64": 1}  # CUDA_R_32F, CUDA_R_64F
_COMPUTE_TYPES = {"float32": 68, "tf32": 77, "bfloat16": 75}  # CUBLAS_COMPUTE_32F, _32F_FAST_TF32, _32F_FAST_16BF
_COMPUTE_64F = 70
_SCALARS = {"float32": ctypes.c_float, "float64": ctypes.c_double}
_INT, _LONG, _ADDRESS = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
_SIGNATURES = {
    "cublasCreate_v2": [_ADDRESS],
    "cublasSetStream_v2": [_ADDRESS, _ADDRESS],
    "cublasSetWorkspace_v2": [_ADDRESS, _ADDRESS, ctypes.c_size_t],
    "cublasGemmEx": [
        *(_ADDRESS, _INT, _INT, _INT, _INT, _INT, _ADDRESS),
        *(_ADDRESS, _INT, _INT),
        *(_ADDRESS, _INT, _INT),
        _ADDRESS,
        *(_ADDRESS, _INT, _INT),
        *(_INT, _INT),
    ],
    "cublasGemmStridedBatchedEx": [
        *(_ADDRESS, _INT, _INT, _INT, _INT, _INT, _ADDRESS),
        *(_ADDRESS, _INT, _INT, _LONG),
        *(_ADDRESS, _INT, _INT, _LONG),
        _ADDRESS,
        *(_ADDRESS, _INT, _INT, _LONG),
        *(_INT, _INT, _INT),
    ],
}

_spare: defaultdict[int, list[Any]] = defaultdict(list)
"""Handles that nobody uses any more, by GPU: destroying one would wait for the whole GPU, perhaps in mid-capture."""


@cache
def _library() -> Any:
    """The cuBLAS that CuPy uses as well."""
    library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    for name, arguments in _SIGNATURES.items():
        getattr(library, name).argtypes = arguments
    return library


def _call(name: str, *args: Any) -> None:
    status = getattr(_library(), name)(*args)
    if status:
        raise RuntimeError(f"{name} failed with status {status} of cublasStatus_t")


class Products:
    """Products of the current GPU's arrays, in the stream that is current when each is made.

    Parameters
    ----------
    arithmetic : str
        That of float32 products, one of `nn_any.backends.cuda.MATHS`.
    """

    def __init__(self, arithmetic: str) -> None:
        self._compute_type, self._spare = _COMPUTE_TYPES[arithmetic], _spare[cupy.cuda.Device().id]
        try:
            self._handle = self._spare.pop()
        except IndexError:
            self._handle = ctypes.c_void_p()
            _call("cublasCreate_v2", ctypes.byref(self._handle))
        self._workspace = cupy.empty(_WORKSPACE, np.uint8)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            self._spare.append(handle)

    def __call__(self, a: Array, b: Array) -> Array:
        """``a @ b``: (..., m, k) and (..., k, n) -> (..., m, n), of one dtype, float32 or float64, and not empty."""
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        left, right = _Operand.of(a, lead), _Operand.of(b, lead)
        (m, k), n = a.shape[-2:], b.shape[-1]
        c = cupy.empty((*lead, m, n), a.dtype)
        stream = cupy.cuda.get_current_stream().ptr
        _call("cublasSetStream_v2", self._handle, stream)  # which takes the workspace away
        _call("cublasSetWorkspace_v2", self._handle, self._workspace.data.ptr, self._workspace.nbytes)
        kind, scalar, count = _TYPES[a.dtype.name], _SCALARS[a.dtype.name], math.prod(lead)
        compute_type = self._compute_type if a.dtype.name == "float32" else _COMPUTE_64F
        one, zero = scalar(1.0), scalar(0.0)
        many = count > 1
        _call(  # cuBLAS takes matrices by columns, so the operands change places
            "cublasGemmStridedBatchedEx" if many else "cublasGemmEx",
            *(self._handle, right.transposed, left.transposed, n, m, k, ctypes.byref(one)),
            *(right.array.data.ptr, kind, right.leading, right.stride)[: 4 if many else 3],
            *(left.array.data.ptr, kind, left.leading, left.stride)[: 4 if many else 3],
            ctypes.byref(zero),
            *(c.data.ptr, kind, n, m * n)[: 4 if many else 3],
            *([count] if many else []),
            *(compute_type, _DEFAULT_ALGORITHM),
        )
        return c


class _Operand(NamedTuple):
    """A batch of matrices as cuBLAS takes it."""

    array: Array
    transposed: int
    """Whether the rows lie side by side, rather than the elements of a row."""
    leading: int
    """How many elements one row, or else one column, lies behind the last."""
    stride: int
    """How many elements one matrix lies behind the last: 0 if there is one for all."""

    @classmethod
    def of(cls, array: Array, lead: tuple[int, ...]) -> "_Operand":
        """The operand, copied only where cuBLAS cannot take its strides."""
        if array.ndim > 2 and math.prod(array.shape[:-2]) == 1:
            array = array.reshape(array.shape[-2:])
        elif array.ndim > 3 or (array.ndim == 3 and array.shape[:-2] != lead):
            array = cupy.broadcast_to(array, (*lead, *array.shape[-2:])).reshape(-1, *array.shape[-2:])
        rows, columns = array.shape[-2:]
        *_, down, right = (step // array.itemsize for step in array.strides)
        batch = array.strides[0] // array.itemsize if array.ndim == 3 else 0
        if (right == 1 or columns == 1) and (rows == 1 or down >= columns) and batch >= 0:
            return cls(array, 0, down if rows > 1 else columns, batch)
        if (down == 1 or rows == 1) and (columns == 1 or right >= rows) and batch >= 0:
            return cls(array, 1, right if columns > 1 else rows, batch)
        return cls.of(cupy.ascontiguousarray(array), array.shape[:-2])


_products: ContextVar[Products | None] = ContextVar("products", default=None)


def current_products() -> Products | None:
    """What multiplies at the moment; None where CuPy itself does."""
    return _products.get()


@contextmanager
def using(products: Products | None) -> Iterator[None]:
    """Let `products` multiply, or CuPy itself."""
    token = _products.set(products)
    try:
        yield
    finally:
        _products.reset(token)
