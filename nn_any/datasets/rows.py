"""Rows of inputs that stay on the host, and come to the device some at a time."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from nn_any import validation as check
from nn_any.backends import Device, is_host
from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.typing import Array, Shape


class Rows(ABC):
    """Inputs of examples that stay where they are; some of them at a time come to a device.

    In a data set they stand where an array (n, ...) stands otherwise. Training and evaluation ask for `shape`, `dtype`
    and `dense`; ``rows[start:stop]`` gives what it gives of an array.

    Attributes
    ----------
    shape : tuple of int
        (n, *shape of an example), n the number of examples.
    dtype : dtype of the device's library
        What the arrays on the device have.
    device : Device
        Where the arrays go.
    """

    shape: Shape
    dtype: Any
    device: Device

    @abstractmethod
    def dense(self, rows: np.ndarray, *, at: int = 0, size: int | None = None) -> Array:
        """The rows with these numbers as a new array on the device.

        Parameters
        ----------
        rows : NumPy array of integers, (k,), each within 0 … n - 1
        at : int
            The place of the first of them in the array that is returned.
        size : int, optional
            How many rows that array has, k by default. Those that nobody asked for hold zeros.

        Returns
        -------
        array, (size, *shape of an example), `dtype`, on the device
        """

    @abstractmethod
    def take(self, rows: np.ndarray) -> Self:
        """The examples with these numbers, integers (k,), as rows of the same kind."""

    @abstractmethod
    def columns(self, places: np.ndarray) -> Self:
        """The same examples, of one axis, with the numbers at these places only, integers (k,), in this order."""

    @abstractmethod
    def to(self, device: Device, dtype: str | None = None) -> Self:
        """The same rows for another device; real numbers in `dtype`, by default their own where the device has it."""

    @abstractmethod
    def reshaped(self, shape: Shape) -> Self:
        """The same rows with examples of another shape, of as many numbers."""

    @abstractmethod
    def check_finite(self, name: str, dtype: str | None = None) -> None:
        """Raise InvalidValueError unless all numbers are finite, in `dtype` as well."""

    @property
    def ndim(self) -> int:
        """The number of axes, that of the examples included."""
        return len(self.shape)

    @property
    def description(self) -> str:
        """The dtype, and how the rows are stored, for people."""
        return f"{options.dtype_name(self.dtype)} in parts"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        """Rows on the device: ``rows[2:5]``, ``rows[2:5, ...]``, ``rows[7]``, ``rows[[0, 7]]``."""
        first, *others = key if isinstance(key, tuple) else (key,)
        chosen = np.arange(len(self))[slice(None) if first is Ellipsis else first]
        found = self.dense(np.atleast_1d(chosen))
        with self.device.scope():
            return found[(slice(None) if chosen.ndim else 0, *(others or [...]))]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Refuse to be made one dense array unasked."""
        raise InvalidTypeError(
            f"array: expected one that is in memory, got {self!r}; take some of its rows, such as x[:1000]"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]} of shape {self.shape[1:]}, {self.description}, on {self.device})"


class SparseRows(Rows):
    """The rows of a sparse matrix, made dense some at a time.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, (n, features)
        With sorted indices and no entry stored twice, on the host.
    device : Device
    shape : tuple of int, optional
        The shape of an example, if it is not (features,).

    Attributes
    ----------
    matrix : scipy.sparse.csr_array, (n, features)
        ``matrix.toarray()`` is the whole of it.
    """

    def __init__(self, matrix: Any, device: Device, shape: Shape | None = None) -> None:
        self.matrix, self.device = matrix, device
        self.shape = (int(matrix.shape[0]), *(shape or (int(matrix.shape[1]),)))
        self.dtype = device.asarray(np.zeros(1, matrix.dtype)).dtype

    @property
    def description(self) -> str:
        """The dtype, and the share of the entries that are stored, for people."""
        share = self.matrix.nnz / max(1, self.matrix.shape[0] * self.matrix.shape[1])
        return f"sparse {options.dtype_name(self.dtype)} with {100 * share:.3g} % of the entries"

    def dense(self, rows: np.ndarray, *, at: int = 0, size: int | None = None) -> Array:
        """The rows with these numbers, dense, as `Rows` has it."""
        size = len(rows) if size is None else size
        out, end = np.empty((size, self.matrix.shape[1]), self.matrix.dtype), at + len(rows)
        out[:at], out[end:] = 0, 0
        self.matrix[rows].toarray(out=out[at:end])
        return self.device.asarray(out.reshape(size, *self.shape[1:]))

    def take(self, rows: np.ndarray) -> "SparseRows":
        """The examples with these numbers, still sparse."""
        return SparseRows(self.matrix[rows], self.device, self.shape[1:])

    def columns(self, places: np.ndarray) -> "SparseRows":
        """Some columns of the matrix, still sparse."""
        chosen = self.matrix[:, places]
        chosen.sum_duplicates()  # which sorts
        return SparseRows(chosen, self.device)

    def to(self, device: Device, dtype: str | None = None) -> "SparseRows":
        """The same matrix for another device; reals in `dtype`, integers as they are."""
        check.check_integers_fit("x", self.matrix.data, device)
        dtype = dtype if check.is_real(self.matrix.data) else None
        held = options.dtype_name(device.asarray(np.zeros(1, self.matrix.dtype), dtype).dtype)
        with np.errstate(over="ignore"):  # the caller looks for infinity
            return SparseRows(self.matrix.astype(held, copy=False), device, self.shape[1:])

    def reshaped(self, shape: Shape) -> "SparseRows":
        """The same matrix, with examples of another shape once they are dense."""
        return SparseRows(self.matrix, self.device, shape)

    def check_finite(self, name: str, dtype: str | None = None) -> None:
        """Raise InvalidValueError unless all stored numbers are finite, in `dtype` as well."""
        given = self.matrix.data
        if given.size == 0 or not check.is_real(given):
            return
        with np.errstate(over="ignore"):
            check.check_finite(name, given.astype(dtype or given.dtype, copy=False), given, self._place)

    def _place(self, entry: int) -> str:
        """Where the stored entry of that number stands."""
        row = int(np.searchsorted(self.matrix.indptr, entry, side="right")) - 1
        return f"row {row}, column {self.matrix.indices[entry]}"


def are_rows(x: Any) -> bool:
    """Whether inputs are such as `as_rows` takes: they come to the device some at a time."""
    return isinstance(x, Rows) or (check.is_sparse(x) and x.ndim > 1)


def as_rows(name: str, x: Any) -> Rows:
    """Rows as they are, and those of a sparse matrix or array of SciPy, which has two axes or more.

    They may share its memory.
    """
    if isinstance(x, Rows):
        return x
    from scipy.sparse import csr_array

    shape = tuple(map(int, x.shape))
    try:
        if x.format in ("csr", "csc", "bsr"):
            x = type(x)((x.data, x.indices, x.indptr), shape=x.shape)  # to check it changes flags of its own
            x.check_format(full_check=True)  # SciPy would read and write elsewhere in memory
        x = (x if len(shape) == 2 else x.reshape((shape[0], -1))).tocsr()
    except ValueError as error:
        raise InvalidValueError(
            f"{name}: expected a sparse matrix whose parts fit together, got one of shape {shape} that SciPy refuses "
            f"({error}); make it anew with scipy.sparse.coo_array((values, (rows, columns)))"
        ) from error
    check.as_array(name, x.data)
    matrix = csr_array((x.data, x.indices, x.indptr), shape=x.shape)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return SparseRows(matrix, Device("numpy", "cpu"), shape[1:] if len(shape) > 2 else None)


def moved(x: Any, device: Device, dtype: str | None = None) -> Any:
    """Inputs on a device, the reals in `dtype`: an array, or `Rows` for it."""
    if isinstance(x, Rows):
        return x.to(device, dtype)
    check.check_integers_fit("x", x, device)
    return device.asarray(x, dtype if check.is_real(x) else None)


def taken(x: Any, numbers: np.ndarray, device: Device, *, axis: int = 0) -> Any:
    """The examples, or for axis 1 the columns, with these numbers, integers (k,), of an array on `device` or `Rows`."""
    if isinstance(x, Rows):
        return x.columns(numbers) if axis else x.take(numbers)
    with device.scope():
        return device.xp.take(x, device.asarray(numbers, device.integer_dtype), axis=axis)


def check_placed(name: str, given: Any, placed: Any) -> None:
    """No NaN and no infinity in an array, or `Rows`, as given or as it was placed in another dtype or elsewhere."""
    if isinstance(given, Rows):
        given.check_finite(name, options.dtype_name(placed.dtype))
        return
    # the host's is looked through, where no library has to compile for it
    same = is_host(given) and given.ndim == placed.ndim and str(given.dtype) in str(placed.dtype)
    check.check_finite(name, given if same else placed, given)
