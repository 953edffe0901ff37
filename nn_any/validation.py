"""Checks at the edge: every argument that a user can get wrong, looked at once, before anything changes.

Each message names the argument, what was expected, what came, and what to do about it.
"""

import math
import numbers
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.backends import Device, check_unmasked, is_host, read_frame, sparse_objection, to_numpy
from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.evaluation import extremes, is_finite
from nn_any.core.losses import Loss
from nn_any.core.specification import Members, Specification
from nn_any.core.typing import Array, Shape


def check_scale(scale: Any) -> float | None:
    """What stored integers are divided by: positive and finite, or None."""
    if scale is None:
        return None
    if isinstance(scale, bool) or not isinstance(scale, int | float | np.integer | np.floating):
        raise InvalidTypeError(f"scale: expected a positive number (255 for 8-bit images) or None, got {scale!r}")
    if not (math.isfinite(scale) and scale > 0):
        raise InvalidValueError(f"scale: expected a positive, finite number (255 for 8-bit images), got {scale!r}")
    return float(scale)


def check_named(name: str, names: tuple[str, ...] | None, array_name: str, shape: Shape) -> None:
    """One name for each column of an array (n, columns)."""
    if names is not None and (len(shape) != 2 or len(names) != shape[1]):
        columns = f"{shape[1]} names, one a column of {array_name}" if len(shape) == 2 else f"{array_name} of columns"
        raise InvalidValueError(
            f"{name}: expected {columns}, got {len(names)} for {array_name} of shape {shape}; name each column once, "
            f"or leave {name} out"
        )


def describe(array: Array) -> str:
    """The shape, dtype and whereabouts of an array, for messages."""
    return f"{array.dtype} of shape {tuple(array.shape)} on {Device.of(array)}"


def as_array(name: str, obj: Any) -> Array:
    """`obj` as an array of real numbers, integers or booleans: host objects as NumPy arrays, others as they are."""
    array = as_host_array(name, obj) if is_host(obj) else obj
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "buif" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
            raise InvalidTypeError(f"{name}: expected real numbers, got {_found(name, obj, array)}")
        return array
    _check_taken(name, sparse_objection(array) or Device.of(array).objection(array))
    xp = array_namespace(array)
    if not xp.isdtype(array.dtype, ("bool", "integral", "real floating")):
        whole = xp.isdtype(array.dtype, "complex floating")
        kind, remedy = ("complex numbers, ", "take their real parts") if whole else ("", "convert them to float32")
        raise InvalidTypeError(f"{name}: expected real numbers, got {kind}{describe(array)}; {remedy}")
    return array


def as_host_array(name: str, obj: Any) -> np.ndarray:
    """`obj` as a NumPy array, whatever it holds, without a mask; arrays of any library may be entries of lists."""
    _check_taken(name, sparse_objection(obj))
    plain = _dense(name, obj) if is_sparse(obj) else _without_masks(name, obj)
    try:
        array = np.asarray(plain)
    except InvalidTypeError:
        raise
    except (ValueError, RuntimeError, TypeError) as error:
        remedy = "pad or cut them"
        if isinstance(obj, list | tuple) and any(isinstance(row, list | tuple) and _has_text(row) for row in obj):
            remedy = f"make columns of 0 and 1 with sklearn.preprocessing.MultiLabelBinarizer().fit_transform({name})"
        raise InvalidValueError(f"{name}: expected rows of one length, got ragged ones ({error}); {remedy}") from error
    return array


def _has_text(row: Sequence[Any]) -> bool:
    return any(isinstance(each, str) for each in row)


def _check_taken(name: str, objection: tuple[str, str] | None) -> None:
    """Nothing keeps an array from being taken as numbers in rows and columns, or else what it is, and the remedy."""
    if objection:
        raise InvalidTypeError(f"{name}: expected an array of real numbers, got {objection[0]}; {objection[1]}")


def is_sparse(obj: Any) -> bool:
    """Whether `obj` is a sparse matrix or array of SciPy; if it is, that was imported before."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(obj))


_MOST_TARGETS = 2**28
"""The most numbers of a sparse y: they are made dense all at once."""


def _dense(name: str, matrix: Any) -> np.ndarray:
    """Sparse targets (n, outputs), such as one-hot rows, or one example (features,), as a dense array."""
    if name == "x" and matrix.ndim == 1:
        return np.asarray(matrix.toarray())
    if name != "y" or matrix.shape[1:] in ((), (1,)):
        belongs = "labels or numbers (n,)" if name == "y" else "numbers"
        raise InvalidTypeError(f"{name}: expected {belongs} in a dense array, got a sparse matrix; use .toarray()")
    if math.prod(matrix.shape) > _MOST_TARGETS:
        raise InvalidValueError(
            f"{name}: expected at most {_MOST_TARGETS:,} numbers, since targets are made dense, got shape "
            f"{matrix.shape}; pass labels, such as numpy.asarray(y.argmax(axis=1)).ravel(), or fewer examples"
        )
    return np.asarray(matrix.toarray())


def _without_masks(name: str, obj: Any) -> Any:
    """Host data without frames, and without arrays of other libraries within lists; what is masked is refused."""
    if isinstance(obj, np.ma.MaskedArray):
        check_unmasked(name, obj)
        return obj.data
    if isinstance(obj, list | tuple):
        plain = set(map(type, obj)) <= {int, float, bool, str}
        return obj if plain else [_without_masks(name, entry) for entry in obj]
    if (frame := read_frame(name, obj)) is not None:
        return frame.numbers()
    return obj if is_host(obj) else to_numpy(as_array(name, obj))


_REMEDIES = {
    "c": ("complex numbers", "take their real parts with .real"),
    "M": ("dates", "count days with (x - x.min()) / np.timedelta64(1, 'D')"),
    "m": ("spans of time", "count days with x / np.timedelta64(1, 'D')"),
}
_KINDS = {"O": "Python objects", "U": "text", "S": "bytes", "T": "text"}


def _found(name: str, obj: Any, array: np.ndarray) -> str:
    """What is in an array that holds no real numbers, and the remedy, for messages."""
    where = f" (dtype {array.dtype}, shape {array.shape})"
    if hasattr(obj, "toarray"):
        return "a sparse matrix; use .toarray()"
    if array.dtype.names:
        return f"fields {array.dtype.names}; use numpy.lib.recfunctions.structured_to_unstructured"
    if array.dtype.kind in _REMEDIES:
        kind, remedy = _REMEDIES[array.dtype.kind]
        return f"{kind}{where}; {remedy}"
    kind = _KINDS.get(array.dtype.kind, str(array.dtype))
    if array.ndim == 0:
        return f"{kind} ({type(obj).__name__}); pass an array, or a list of numbers"
    if not _is_number(array) or any(value is None for value in array.ravel().tolist()):
        place, value = next((at, value) for at, value in np.ndenumerate(array) if not _is_number(value))
        at = ", ".join(map(str, place))
        shown = f"{value.item() if isinstance(value, np.generic) else value!r}"[:80]
        return f"{kind}{where}, such as {shown} at [{at}]; put numbers in the place of such entries, or leave them out"
    how = ".astype('float32')" if hasattr(obj, "astype") else "numpy.asarray(..., dtype='float32')"
    return f"{kind}{where}; convert them with {how}"


def _is_number(value: Any) -> bool:
    """Whether NumPy makes real numbers of a value, or of each entry of an array; it would read None as NaN."""
    if value is None:
        return False
    try:
        np.asarray(value).astype("float32")
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def check_integers_fit(name: str, array: Array, device: Device, dtype: str | None = None) -> None:
    """Integers keep their values as `dtype`, or by default as the widest integers of `device`: they would wrap around.

    Only where they could wrap are they looked at.
    """
    own, widest = options.dtype_name(array.dtype), device.integer_dtype
    if dtype is None and (own not in ("int64", "uint64") or widest != "int32"):
        return
    limits = np.iinfo(dtype or widest)
    if own == "bool" or 0 in array.shape or (limits.min <= np.iinfo(own).min and np.iinfo(own).max <= limits.max):
        return
    host = to_numpy(array)
    smallest, largest = int(host.min()), int(host.max())
    if smallest < limits.min or largest > limits.max:
        raise InvalidValueError(
            f"{name}: expected integers that {limits.dtype} can hold, the widest of {device}, got "
            f"{smallest} … {largest}; convert them to float32"
            f"{', or number the classes from 0' if name == 'y' else ''}"
        )


def check_same_place(name: str, array: Array, other_name: str, other: Array) -> None:
    """Two arrays that belong together live on one device of one library."""
    here, there = Device.of(array), Device.of(other)
    if here != there:
        raise InvalidValueError(
            f"{name} and {other_name}: expected arrays on one device, got {name} on {here} and {other_name} on "
            f"{there}; move one of them with nn_any.to_device(..., {str(here)!r})"
        )


def is_real(array: Array) -> bool:
    """Whether the dtype is a real floating one."""
    return options.dtype_name(array.dtype).startswith(("float", "bfloat"))


def check_finite(name: str, array: Array, given: Array | None = None, say: Callable[[int], str] | None = None) -> None:
    """No NaN and no infinity; the message says where the first one is. Reads one value back.

    `given` is what `array` was cast from: numbers that were finite there are beyond the dtype. `say` gives the place of
    an entry of an array (n,), where that is not its number.
    """
    if not is_real(array) or bool(to_numpy(Device.of(array).engine.compile(is_finite)(array))):
        return
    host = to_numpy(array)
    bad = ~np.isfinite(host)
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), host.shape))
    where = f"row {place[0]}, column {place[1]}" if host.ndim == 2 else f"index {place}"
    where = where if say is None else say(place[0])
    source = host if given is None else to_numpy(given).reshape(host.shape)
    if np.isfinite(source[place]):
        raise InvalidValueError(
            f"{name}: expected numbers that {host.dtype} can hold, at most {np.finfo(host.dtype).max:.2g}, got "
            f"{source[place]:g} at {where}, which is beyond {host.dtype}; scale them down, or use dtype='float64'"
        )
    raise InvalidValueError(
        f"{name}: expected finite numbers, got {host[place]} at {where} ({np.count_nonzero(bad)} such values in all); "
        "drop those rows or fill the gaps"
    )


def check_range(name: str, y: Array, loss: Loss) -> bool:
    """Real targets within the range that a loss has a meaning for; returns whether it has seen that all are finite.

    Where the loss has such a range, one array of two numbers is read back.
    """
    if loss.target_range == (-math.inf, math.inf):
        return False
    smallest, largest = to_numpy(Device.of(y).engine.compile(extremes)(y)).tolist()
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        return False
    check_extremes(name, smallest, largest, loss)
    return True


def check_extremes(name: str, smallest: float, largest: float, loss: Loss) -> None:
    """The smallest and the largest target within the range that a loss has a meaning for."""
    low, high = loss.target_range
    if not (smallest < low or largest > high * (1 + 1e-6)):  # what softmax gives may be beyond 1 by rounding
        return
    expected = f"of at least {low:g}" if high == math.inf else f"within {low:g} … {high:g}"
    if smallest >= low:
        remedy = f"divide them by {largest:g}"
    elif high == math.inf or smallest == largest:
        other = "mean_squared_error" if loss.task == "numbers" else "quadratic"
        remedy = f"use a loss for numbers of any sign, such as {other!r}"
    else:
        remedy = f"bring them there with (y - ({smallest:g})) / {largest - smallest:g}"
    raise InvalidValueError(
        f"{name}: expected targets {expected} for the loss {loss.name!r}, got {smallest:g} … {largest:g}; {remedy}"
    )


def check_inputs(name: str, x: Array, input_shape: Shape) -> Array:
    """A batch (n, *input_shape); examples of equal size are reshaped."""
    check_input_shape(name, tuple(x.shape), input_shape)
    return x if tuple(x.shape[1:]) == input_shape else _reshaped(x, (x.shape[0], *input_shape))


def check_input_shape(name: str, shape: Shape, input_shape: Shape) -> None:
    """The shape of a batch whose examples have as many numbers as `input_shape`."""
    if len(shape) < 2 or math.prod(shape[1:]) != math.prod(input_shape):
        wanted = ", ".join(map(str, input_shape))
        hint = ""
        if shape == (math.prod(input_shape), 1):
            hint = "; for the book's columns use nn_any.book.network, or pass x.T"
        elif len(shape) == 2 and len(input_shape) == 1:
            hint = f"; pass {wanted} column(s), or build the network with {shape[1]} input(s)"
        raise InvalidValueError(f"{name}: expected (n, {wanted}) or one example {input_shape}, got shape {shape}{hint}")
    if shape[0] == 0:
        raise InvalidValueError(f"{name}: expected at least one example, got shape {shape}")
    axes, wanted_axes = ([size for size in sizes if size > 1] for sizes in (shape[1:], input_shape))
    if len(axes) > 1 and len(wanted_axes) > 1 and axes != wanted_axes:
        raise InvalidValueError(
            f"{name}: expected (n, {', '.join(map(str, input_shape))}), got shape {shape}; images are channels-last: "
            "move the axis with np.moveaxis(x, 1, -1)"
        )


def check_example_or_inputs(name: str, x: Array, input_shape: Shape) -> tuple[Array, bool]:
    """`x` as a batch (n, *input_shape), and whether it was one example: of the input shape, flat, or a grey image."""
    grey = input_shape[:-1] if len(input_shape) == 3 and input_shape[-1] == 1 else input_shape
    if tuple(x.shape) in (input_shape, grey, (math.prod(input_shape),)):
        return _reshaped(x, (1, *input_shape)), True
    return check_inputs(name, x, input_shape), False


def _reshaped(x: Array, shape: Shape) -> Array:
    """`x` in another shape, in the scope of its device: what is not contiguous is copied."""
    device = Device.of(x)
    with device.scope():
        return device.xp.reshape(x, shape)


def check_same_length(name: str, n: int, other_name: str, other_n: int) -> None:
    """As many of one as of the other."""
    if n != other_n:
        raise InvalidValueError(
            f"{name} and {other_name}: expected one entry an example in each, got {n} and {other_n}"
        )


def check_labels(name: str, smallest: int, largest: int, classes: int, remedy: str) -> None:
    """Labels within 0 … classes - 1."""
    if smallest < 0:
        raise InvalidValueError(
            f"{name}: expected labels from 0 on, got {smallest}; number the classes from 0, or convert numbers to "
            "predict to float32"
        )
    if largest >= classes:
        raise InvalidValueError(
            f"{name}: expected labels within 0 … {classes - 1}, got labels from {smallest} to {largest}; {remedy}"
        )


def check_targets(name: str, y: Array, n: int, specification: Specification) -> Array:
    """Targets for a network: integer labels (n,), or targets (n, outputs); reals (n,) become a column."""
    if y.ndim == 1 and is_real(y):
        y = y[:, None]
    shape, outputs, numbers = tuple(y.shape), specification.outputs, specification.task != "classification"
    if (y.ndim == 1 and numbers and outputs > 1) or (y.ndim != 1 and (y.ndim != 2 or shape[1] != outputs)):
        column = not numbers and shape[1:] == (1,)
        kinds = "" if numbers else "integer labels (n,) or "
        remedy = f"pass {outputs} column(s), or build the network with {shape[-1] if len(shape) == 2 else 1} output(s)"
        if column:
            remedy = "labels must be integers (n,): use numpy.ravel(y).astype('int64')"
        raise InvalidValueError(
            f"{name}: expected {kinds}targets (n, {outputs}), for {outputs} output(s), got shape {shape}; {remedy}"
        )
    check_same_length("x", n, name, shape[0])
    return y


def check_weights(name: str, weights: Any, n: int, thing: str = "example") -> np.ndarray:
    """One weight an example: float64 on the host, finite, 0 or more, not all 0.

    Only their proportions matter, so weights that no float32 holds are all brought near 1 by one power of 2.
    """
    array = to_numpy(as_array(name, weights)).astype("float64")
    if array.shape != (n,):
        remedy = "; use .ravel()" if array.size == n else ""
        raise InvalidValueError(
            f"{name}: expected one weight for each {thing}, ({n},), got shape {array.shape}{remedy}"
        )
    check_finite(name, array)
    if array.min() < 0 or array.max() == 0:
        raise InvalidValueError(
            f"{name}: expected weights of 0 or more, and not all 0, got {array.min():g} … {array.max():g}"
        )
    exponent = int(np.frexp(array.max())[1])
    return array if abs(exponent) < 50 else np.ldexp(array, -exponent)


def check_class_weight(class_weight: Any, labels: np.ndarray, classes: int, names: Any = None) -> np.ndarray:
    """One weight a class, (classes,), float64, from a dict, a sequence, or "balanced"; `names` are for messages."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise InvalidValueError(f"class_weight: expected 'balanced', a dict or a sequence, got {class_weight!r}")
        counts = np.bincount(labels, minlength=classes)
        return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    if isinstance(class_weight, dict):
        weights = np.ones(classes)
        for label, weight in class_weight.items():
            if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < classes:
                named = f" or their names, {', '.join(map(repr, names)):.200}" if names else ""
                raise InvalidValueError(
                    f"class_weight: expected classes within 0 … {classes - 1}{named}, got {label!r}"
                )
            if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
                raise InvalidTypeError(f"class_weight: expected a number for class {label}, got {weight!r}")
            weights[int(label)] = weight
        return check_weights("class_weight", weights, classes, "class")
    return check_weights("class_weight", class_weight, classes, "class")


def as_columns(name: str, data: Any) -> tuple[Any, Any]:
    """Data in any accepted form as ``(x, y)``: a tuple of two arrays stays, pairs of columns are stacked once.

    Parameters
    ----------
    data : tuple ``(x, y)`` of arrays, or iterable of pairs ``(x, y)`` of columns (features, 1), whose y is a column
        (outputs, 1) or an integer label
    """
    if isinstance(data, tuple) and len(data) == 2 and not any(isinstance(part, tuple) for part in data):
        return data
    forms = "a Dataset, a tuple (x, y) of arrays, or an iterable of (x, y) pairs of columns"
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
        raise InvalidTypeError(f"{name}: expected {forms}, got {type(data).__name__}; write (x, y)")
    if hasattr(data, "shape") and not _holds_pairs(data):
        raise InvalidTypeError(f"{name}: expected {forms}, got {type(data).__name__} alone; write (x, y)")
    pairs = list(data)
    if not pairs:
        raise InvalidValueError(f"{name}: expected at least one (x, y) pair, got none; a zip can be read only once")
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list | np.ndarray) or len(pair) != 2:
            two = isinstance(data, list) and len(data) == 2
            remedy = "write (x, y) instead of [x, y]" if two else "make each entry a pair (x, y)"
            raise InvalidTypeError(f"{name}: expected {forms}, got {type(pair).__name__} as entry {i}; {remedy}")
    xs, ys = zip(*pairs, strict=True)
    return _stack(f"x of {name}", xs), _stack(f"y of {name}", ys)


def _holds_pairs(array: Any) -> bool:
    """Whether an array is a list of pairs of columns: (n, 2, k, 1), or (n, 2) of Python objects."""
    shape, objects = tuple(array.shape), isinstance(array, np.ndarray) and array.dtype.kind == "O"
    return shape[1:2] == (2,) and ((len(shape) == 4 and shape[3] == 1) or (len(shape) == 2 and objects))


def _stack(name: str, entries: Iterable[Any]) -> np.ndarray:
    """Columns (k, 1) as rows (n, k); numbers as (n,)."""
    arrays = [as_host_array(name, entry) if is_host(entry) else to_numpy(as_array(name, entry)) for entry in entries]
    for i, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise InvalidValueError(
                f"{name}: expected one shape for all, got {arrays[0].shape} and, at {i}, {array.shape}"
            )
    stacked = np.stack(arrays)
    return stacked[..., 0] if stacked.ndim == 3 and stacked.shape[-1] == 1 else stacked


def check_members(
    n: Any, seeds: Any, learning_rates: Any = None, weight_decays: Any = None, threads: Any = None
) -> Members:
    """What n members of an ensemble have each for themselves."""
    listed = enumerate(_one_per_member("seeds", seeds, n))
    return Members(
        tuple([options.integer(f"seeds[{i}]", seed, minimum=0) for i, seed in listed]),
        _numbers_per_member("learning_rates", learning_rates, n, above=True),
        _numbers_per_member("weight_decays", weight_decays, n),
        None if threads is None else options.integer("threads", threads),
    )


def _one_per_member(name: str, values: Any, n: int) -> list[Any]:
    if isinstance(values, str) or not hasattr(values, "__len__") or not hasattr(values, "__iter__"):
        raise InvalidTypeError(f"{name}: expected {n} of them, one a member, got {values!r}; pass a list")
    if len(values) != n:
        raise InvalidValueError(f"{name}: expected {n} of them, one a member, got {len(values)}")
    return list(values)


def _numbers_per_member(name: str, values: Any, n: int, *, above: bool = False) -> tuple[float, ...] | None:
    """A number of at least 0, or above 0, for each of n members; or None."""
    if values is None:
        return None
    listed = enumerate(_one_per_member(name, values, n))
    return tuple([options.number(f"{name}[{i}]", value, above=above) for i, value in listed])
