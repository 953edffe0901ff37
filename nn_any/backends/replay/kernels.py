"""Whose functions a replay loop calls for matrix products, and for large arrays.

NumPy's products are called faster, SciPy's can add to an array as well; but the threads of two BLAS would fight for the
cores, so the two together are for one thread. Other libraries may bring their own.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import blas
from scipy.special import expit

from nn_any.backends._numpy_sigmoid import sigmoid

if TYPE_CHECKING:
    from nn_any.backends.replay.emitter import Emitter

_GEMM = {np.dtype("float32"): blas.sgemm, np.dtype("float64"): blas.dgemm}
_LARGE = 2**18  # numbers
_GEMV = {np.dtype("float32"): blas.sgemv, np.dtype("float64"): blas.dgemv}


class Form(NamedTuple):
    """How a call is made into an array."""

    emit: Callable[..., None]
    overwrites: bool
    """Whether the result may lie where an argument of the same layout lies."""


class Kernels(Protocol):
    """Writes the calls for arrays that stay where they are.

    Attributes
    ----------
    one_by_one : bool
        Whether a product for each member of an ensemble is quicker than one call for all.
    biases_first : bool
        Whether biases are better copied to where the product is added to them, than added to the product.
    biases_joined : bool
        Whether biases are better kept as a column of the weights: products take matrices whose rows lie apart.
    forms : dict
        Forms of calls, by their names, that are quicker than those of `lowering`.
    """

    one_by_one: bool
    biases_first: bool
    biases_joined: bool
    forms: Mapping[str, Form]

    def product(self, emit: "Emitter", out: Any, a: Any, b: Any) -> None:
        """``a @ b`` into `out`, which is C-contiguous."""

    def added(self, emit: "Emitter", out: Any, alpha: float, a: Any, b: Any, beta: float) -> bool:
        """``out = alpha * a @ b + beta * out``, if that can be done in one call; whether it can."""

    def many(self, emit: "Emitter", out: Any, a: Any, b: Any) -> None:
        """``a @ b`` into `out`, of many matrices, or of such as do not lie in one piece."""

    def sums(self, emit: "Emitter", out: Any, rows: Any) -> None:
        """The sum of each row, (m, n) -> (m,), of float32 or float64."""

    def elementwise(self, emit: "Emitter", ufunc: np.ufunc, out: Any, operands: Sequence[Any]) -> bool:
        """An elementwise function of arrays into `out`, if it has a quicker one than NumPy's; whether it has."""


class NumpyKernels:
    """NumPy's alone: they let go of Python's lock."""

    one_by_one = biases_first = biases_joined = False
    forms: Mapping[str, Form] = MappingProxyType({})

    def product(self, emit: "Emitter", out: Any, a: Any, b: Any) -> None:
        """By the method `dot`, which is called faster than `matmul` or the function."""
        emit(a.dot, b, out)

    def added(self, emit: "Emitter", out: Any, alpha: float, a: Any, b: Any, beta: float) -> bool:
        """NumPy's cannot."""
        return False

    def many(self, emit: "Emitter", out: Any, a: Any, b: Any) -> None:
        """By `matmul`."""
        emit(np.matmul, a, b, out)

    def sums(self, emit: "Emitter", out: Any, rows: Any) -> None:
        """By a product with ones, which takes half the time of a reduction."""
        emit(rows.dot, np.ones(rows.shape[1], rows.dtype), out)

    def elementwise(self, emit: "Emitter", ufunc: np.ufunc, out: Any, operands: Sequence[Any]) -> bool:
        """Only the logistic function has one."""
        if ufunc is not expit or not all(isinstance(x, np.ndarray) and x.shape == out.shape for x in (out, *operands)):
            return False
        sigmoid(emit, out, *operands)
        return True


class BothKernels(NumpyKernels):
    """NumPy's, and SciPy's to add: for one thread."""

    one_by_one = True

    def added(self, emit: "Emitter", out: Any, alpha: float, a: Any, b: Any, beta: float) -> bool:
        """By SciPy's gemm, if all are matrices in one piece."""
        if not (a.ndim == b.ndim == out.ndim == 2 and out.flags.c_contiguous and out.dtype in _GEMM):
            return False
        # BLAS counts columns first, so it is told of the transposes: out.mT = b.mT @ a.mT
        factors = [(x.mT, 0) if x.flags.c_contiguous else (x, 1) for x in (b, a)]
        (left, across), (right, over) = factors
        if not (left.flags.f_contiguous and right.flags.f_contiguous):
            return False
        emit(_GEMM[out.dtype], alpha, left, right, beta, out.mT, across, over, 1)
        return True


class ScipyKernels(BothKernels):
    """SciPy's alone, whatever they can do: for several threads."""

    one_by_one, biases_first = False, True

    def product(self, emit: "Emitter", out: Any, a: Any, b: Any) -> None:
        """By SciPy's gemm."""
        if not self.added(emit, out, 1.0, a, b, 0.0):
            super().product(emit, out, a, b)

    def sums(self, emit: "Emitter", out: Any, rows: Any) -> None:
        """By SciPy's gemv; of a few long rows many short ones are made first, between which threads share the work."""
        parts = next((k for k in (64, 16, 4) if rows.shape[1] % k == 0 and len(rows) * k < 2048), 1)
        if parts > 1 and rows.size >= _LARGE and rows.mT.flags.c_contiguous:
            some = emit.scratch((parts * len(rows),), rows.dtype)
            self.sums(emit, some, rows.mT.reshape(-1, parts * len(rows)).mT)
            rows = some.reshape(parts, len(rows)).mT
        across = int(rows.flags.c_contiguous)
        matrix = rows.mT if across else rows
        if matrix.flags.f_contiguous:
            ones = np.ones(rows.shape[1], rows.dtype)
            emit(_GEMV[out.dtype], 1.0, matrix, ones, 0.0, out, 0, 1, 0, 1, across, 1)
        else:
            super().sums(emit, out, rows)


class LeftAsideError(Exception):
    """The library has a quicker way of its own for such steps."""


def numpys(*, serial: bool, alone: bool, matrices: bool, windows: int) -> Kernels:
    """The quickest of NumPy's and SciPy's.

    Parameters
    ----------
    serial : bool
        Whether BLAS is kept to one thread.
    alone : bool
        Whether no other thread runs a loop: SciPy's BLAS keeps Python's lock, NumPy's lets go of it.
    matrices : bool
        Whether all products are of two matrices, rather than of many at once.
    windows : int
        How many numbers there are in the windows of the largest convolution; the same to NumPy.
    """
    if serial:
        return BothKernels() if alone else NumpyKernels()
    return ScipyKernels() if matrices else NumpyKernels()
