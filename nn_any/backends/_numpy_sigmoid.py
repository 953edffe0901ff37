"""The logistic function in NumPy, written into an array that is given.

SciPy's is the most exact, and the quickest for few numbers. For many, NumPy's exponential has the wider instructions.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import special

expit: np.ufunc = getattr(special.expit, "__wrapped__", special.expit)
"""SciPy's own function; with SCIPY_ARRAY_API=1, as scikit-learn's dispatch wants it, SciPy wraps it in another."""

MANY = 512  # numbers
_PORTION = 2**15  # numbers, which stay in the cache from one call to the next


def sigmoid(call: Callable[..., None], out: np.ndarray, z: np.ndarray) -> None:
    """``1 / (1 + exp(-z))`` into `out`, by calls that `call` makes or notes; exp(-z) may be infinite, which gives 0."""
    if out.size < MANY:
        call(expit, z, out)
        return
    one = np.ones((), out.dtype)
    for y, x in _portions(out, z):
        call(np.negative, x, y)
        call(np.exp, y, y)
        call(np.add, y, one, y)
        call(np.divide, one, y, y)


def _portions(out: np.ndarray, z: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of two arrays that lie alike; others are left whole."""
    if out.ndim > 1 and out.mT.flags.c_contiguous:
        out, z = out.mT, z.mT
    if not (out.flags.c_contiguous and z.flags.c_contiguous and out.shape == z.shape):
        yield out, z
        return
    out, z = out.reshape(-1), z.reshape(-1)
    for start in range(0, len(out), _PORTION):
        yield out[start : start + _PORTION], z[start : start + _PORTION]
