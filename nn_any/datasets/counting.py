"""What a data set finds out about its labels, and about the sizes of its parts."""

import numpy as np
from array_api_compat import array_namespace

from nn_any.backends import is_host
from nn_any.core.errors import InvalidValueError
from nn_any.core.typing import Array, Namespace


def label_range(labels: Array) -> tuple[int, int]:
    """The lowest and the highest label."""
    xp = array_namespace(labels)
    return int(xp.min(labels)), int(xp.max(labels))


def cheapest(given: Array, placed: Array) -> Array:
    """Which of two arrays of the same numbers to look through: the host's, where no library has to compile for it."""
    same = is_host(given) and given.ndim == placed.ndim and str(given.dtype) in str(placed.dtype)
    return given if same else placed


def is_one_hot(targets: Array, xp: Namespace) -> bool:
    """Whether each row, (n, outputs), is 0 but for one 1."""
    return bool(xp.all((targets == 0) | (targets == 1)) & xp.all(xp.sum(targets, axis=1) == 1))


def check_count(size: float, n: int) -> int:
    """A number of examples of n, given as such or as a fraction."""
    if isinstance(size, float | np.floating) and 0 < size < 1:
        return max(1, round(size * n))
    if isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1:
        return int(size)
    raise InvalidValueError(f"sizes: expected numbers of examples or fractions between 0 and 1, got {size!r}")
