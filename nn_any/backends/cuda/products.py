"""What `matmul.cu` takes: matrices as strides, and how large a square of the result each block makes."""

import math
from typing import Any, NamedTuple

import numpy as np

from nn_any.backends.cuda.sources import MATHS
from nn_any.core.errors import InvalidValueError
from nn_any.core.typing import Array, Shape

TILES = (128, 64, 32)
_MATRIX = np.dtype([("row", "<i8"), ("column", "<i8"), ("batch", "<i8")])


class Operands(NamedTuple):
    """A batch of products C = α A B + β D, as the kernel takes it."""

    arrays: list[Any]
    """A, B and D, the last perhaps None, with at most one leading axis."""
    strides: list[np.ndarray]
    """Of each its strides in elements: a record of the C struct ``Matrix``, 0 along what is broadcast."""
    shape: Shape
    """Of the result, (..., m, n)."""
    sizes: tuple[int, int, int]
    """m, n, and the depth k."""
    batch: int
    """How many products there are."""


def product_operands(a: Array, b: Array, d: Array | None, xp: Any) -> Operands:
    """Lay out A (..., m, k), B (..., k, n) and D (..., m, n), whose leading axes are broadcast, without copying.

    More than one leading axis is copied where it cannot be seen as one. The arrays are of `xp`, and have NumPy's
    ``strides`` in bytes.
    """
    m, depth, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if b.shape[-2] != depth:
        raise InvalidValueError(f"matmul: expected (..., m, k) and (..., k, n), got shapes {a.shape} and {b.shape}")
    if d is not None:
        d = xp.broadcast_to(d, (*d.shape[:-2], m, n))
    given = [a, b] if d is None else [a, b, d]
    lead = np.broadcast_shapes(*[array.shape[:-2] for array in given])
    if len(lead) > 1:
        given = [xp.broadcast_to(array, (*lead, *array.shape[-2:])) for array in given]
        given = [xp.reshape(array, (-1, *array.shape[-2:])) for array in given]
    given = [*given, *[None] * (3 - len(given))]
    return Operands(given, [_strides(array) for array in given], (*lead, m, n), (m, n, depth), math.prod(lead))


def _strides(array: Array | None) -> np.ndarray:
    if array is None:
        return np.zeros((), dtype=_MATRIX)
    row, column = (step // array.itemsize for step in array.strides[-2:])
    batch = array.strides[0] // array.itemsize if array.ndim > 2 and array.shape[0] > 1 else 0
    return np.array((row, column, batch), dtype=_MATRIX)


def product_options(real: str, math: str, tile: int) -> tuple[str, ...]:
    """What NVRTC is told, for a C type, an arithmetic of `MATHS` and a tile; tensor cores take no float64."""
    if real == "double":
        math = MATHS[0]
    return ("--std=c++17", f"-DREAL={real}", f"-DMATH={MATHS.index(math)}", f"-DTILE={tile}")


def product_tile(m: int, n: int, batch: int, multiprocessors: int) -> int:
    """The side of the square that each block makes: the largest that still gives every multiprocessor something to do.

    Examples
    --------
    >>> product_tile(8192, 8192, 1, 132), product_tile(128, 512, 1, 132)
    (128, 32)
    """
    for tile in TILES:
        if -(-m // tile) * -(-n // tile) * batch >= multiprocessors:
            return tile
    return TILES[-1]
