"""Whose functions a replay loop calls for matrix products, and for large arrays.

NumPy's products are called faster, SciPy's can add to an array as well; but the threads of two BLAS would fight for the
cores, so the two together are for one thread. Other libraries may bring their own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import blas

from nn_any.backends.replay.emitter import Emitter, Kernels

Chooser = Callable[..., Kernels]
"""Chooses the kernels of a loop, as `numpys` does, or raises `LibraryIsFasterError`."""
_LARGE = 2**18  # numbers
_GEMM = {np.dtype("float32"): blas.sgemm, np.dtype("float64"): blas.dgemm}
_GEMV = {np.dtype("float32"): blas.sgemv, np.dtype("float64"): blas.dgemv}


class BothKernels(Kernels):
    """NumPy's, and SciPy's to add: for one thread."""

    one_by_one = True

    def added(self, emit: Emitter, out: Any, alpha: float, a: Any, b: Any, beta: float) -> bool:
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

    def product(self, emit: Emitter, out: Any, a: Any, b: Any) -> None:
        """By SciPy's gemm."""
        if not self.added(emit, out, 1.0, a, b, 0.0):
            super().product(emit, out, a, b)

    def sums(self, emit: Emitter, out: Any, rows: Any) -> None:
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


class LibraryIsFasterError(Exception):
    """The library runs such steps faster by its own functions than a replay loop does."""


def numpys(*, serial: bool, alone: bool, matrices: bool, windows: int) -> Kernels:
    """The quickest of NumPy's and SciPy's, for a plan that is `serial`, and so on, as `Plan` has it.

    SciPy's BLAS keeps Python's lock, NumPy's lets go of it: that counts unless a loop is `alone`, on the only thread.
    """
    if serial:
        return BothKernels() if alone else Kernels()
    return ScipyKernels() if matrices else Kernels()
