"""Checks at the edge: every argument that a user can get wrong, looked at once, before anything changes.

Each message names the argument, what was expected, what came, and what to do about it.
"""

import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.backends import Device, is_host, to_numpy
from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.evaluation import is_finite
from nn_any.core.specification import Members
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


def describe(array: Array) -> str:
    """The shape, dtype and whereabouts of an array, for messages."""
    return f"{array.dtype} of shape {tuple(array.shape)} on {Device.of(array)}"


def as_array(name: str, obj: Any) -> Array:
    """`obj` as an array of real numbers, integers or booleans: host objects as NumPy arrays, others as they are."""
    try:
        array = np.asarray(obj) if is_host(obj) else obj
    except ValueError as error:
        raise InvalidValueError(
            f"{name}: expected rows of one length, got ragged ones ({error}); pad or cut them"
        ) from error
    wide = isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.dtype.itemsize > 8
    if isinstance(array, np.ndarray) and (wide or array.dtype.kind not in "buif"):
        kind = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "bytes"}.get(array.dtype.kind, "")
        raise InvalidTypeError(
            f"{name}: expected real numbers, got {kind or array.dtype} (dtype {array.dtype}, shape {array.shape}); "
            "convert them with .astype('float32')"
        )
    xp = array_namespace(array)
    if not xp.isdtype(array.dtype, ("bool", "integral", "real floating")):
        kind = "complex numbers, " if xp.isdtype(array.dtype, "complex floating") else ""
        raise InvalidTypeError(f"{name}: expected real numbers, got {kind}{describe(array)}; convert them to float32")
    return array


def check_integers_fit(name: str, array: Array, device: Device) -> None:
    """Integers of 64 bits from the host lie within 32 where the device has no more: they would wrap around."""
    if isinstance(array, np.ndarray) and array.dtype in (np.int64, np.uint64) and device.integer_dtype == "int32":
        smallest, largest = int(array.min()), int(array.max())
        if smallest < -(2**31) or largest >= 2**31:
            raise InvalidValueError(
                f"{name}: expected integers that int32 can hold, the widest of {device}, got {smallest} … {largest}; "
                "convert them to real numbers with .astype('float32')"
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
    return bool(array_namespace(array).isdtype(array.dtype, "real floating"))


def check_finite(name: str, array: Array) -> None:
    """No NaN and no infinity; the message says where the first one is. Reads one value back."""
    if not is_real(array) or bool(to_numpy(Device.of(array).engine.compile(is_finite)(array))):
        return
    host = to_numpy(array)
    bad = ~np.isfinite(host)
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), host.shape))
    where = f"row {place[0]}, column {place[1]}" if host.ndim == 2 else f"index {place}"
    raise InvalidValueError(
        f"{name}: expected finite numbers, got {host[place]} at {where} ({np.count_nonzero(bad)} such values in all); "
        "drop those rows or fill the gaps"
    )


def check_inputs(name: str, x: Array, input_shape: Shape) -> Array:
    """A batch (n, *input_shape); examples of equal size are reshaped."""
    xp = array_namespace(x)
    shape = tuple(x.shape)
    if len(shape) < 2 or math.prod(shape[1:]) != math.prod(input_shape):
        wanted = ", ".join(map(str, input_shape))
        hint = ""
        if shape == (math.prod(input_shape), 1):
            hint = "; for the book's columns use nn_any.book.network, or pass x.T"
        raise InvalidValueError(f"{name}: expected (n, {wanted}) or one example {input_shape}, got shape {shape}{hint}")
    if shape[0] == 0:
        raise InvalidValueError(f"{name}: expected at least one example, got shape {shape}")
    axes, wanted_axes = ([size for size in sizes if size > 1] for sizes in (shape[1:], input_shape))
    if len(axes) > 1 and len(wanted_axes) > 1 and axes != wanted_axes:
        raise InvalidValueError(
            f"{name}: expected (n, {', '.join(map(str, input_shape))}), got shape {shape}; images are channels-last: "
            "move the axis with np.moveaxis(x, 1, -1)"
        )
    return x if shape[1:] == input_shape else xp.reshape(x, (shape[0], *input_shape))


def check_example_or_inputs(name: str, x: Array, input_shape: Shape) -> tuple[Array, bool]:
    """`x` as a batch (n, *input_shape), and whether it was one example: of the input shape, or flat."""
    if tuple(x.shape) in (input_shape, (math.prod(input_shape),)):
        return array_namespace(x).reshape(x, (1, *input_shape)), True
    return check_inputs(name, x, input_shape), False


def check_same_length(name: str, n: int, other_name: str, other_n: int) -> None:
    """As many of one as of the other."""
    if n != other_n:
        raise InvalidValueError(
            f"{name} and {other_name}: expected one entry an example in each, got {n} and {other_n}"
        )


def check_labels(name: str, smallest: int, largest: int, classes: int, remedy: str) -> None:
    """Labels within 0 … classes - 1."""
    if smallest < 0:
        raise InvalidValueError(f"{name}: expected labels from 0 on, got {smallest}; number the classes from 0")
    if largest >= classes:
        raise InvalidValueError(
            f"{name}: expected labels within 0 … {classes - 1}, got labels from {smallest} to {largest}; {remedy}"
        )


def check_targets(name: str, y: Array, n: int, outputs: int) -> Array:
    """Targets for a network: integer labels (n,), or targets (n, outputs); reals (n,) become a column."""
    if y.ndim == 1 and is_real(y):
        y = y[:, None]
    shape = tuple(y.shape)
    if y.ndim != 1 and (y.ndim != 2 or shape[1] != outputs):
        column = "; labels must be integers (n,): use y.ravel(), and .astype('int64') if they are real"
        raise InvalidValueError(
            f"{name}: expected integer labels (n,) or targets (n, {outputs}), for {outputs} output(s), "
            f"got shape {shape}{column if shape[1:] == (1,) else ''}"
        )
    check_same_length("x", n, name, shape[0])
    return y


def check_weights(name: str, weights: Any, n: int, thing: str = "example") -> np.ndarray:
    """One weight an example: float64 on the host, finite, 0 or more, not all 0."""
    array = to_numpy(as_array(name, weights)).astype("float64")
    if array.shape != (n,):
        raise InvalidValueError(f"{name}: expected one weight for each {thing}, ({n},), got shape {array.shape}")
    check_finite(name, array)
    if array.min() < 0 or array.max() == 0:
        raise InvalidValueError(
            f"{name}: expected weights of 0 or more, and not all 0, got {array.min():g} … {array.max():g}"
        )
    return array


def check_class_weight(class_weight: Any, labels: np.ndarray, classes: int) -> np.ndarray:
    """One weight a class, (classes,), float64, from a dict, a sequence, or "balanced"."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise InvalidValueError(f"class_weight: expected 'balanced', a dict or a sequence, got {class_weight!r}")
        counts = np.bincount(labels, minlength=classes)
        return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    if isinstance(class_weight, dict):
        weights = np.ones(classes)
        for label, weight in class_weight.items():
            if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < classes:
                raise InvalidValueError(f"class_weight: expected classes within 0 … {classes - 1}, got {label!r}")
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
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable) or hasattr(data, "shape"):
        raise InvalidTypeError(f"{name}: expected {forms}, got {type(data).__name__}")
    pairs = list(data)
    if not pairs:
        raise InvalidValueError(f"{name}: expected at least one (x, y) pair, got none; a zip can be read only once")
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidTypeError(f"{name}: expected {forms}, got {type(pair).__name__} as entry {i}")
    xs, ys = zip(*pairs, strict=True)
    return _stack(f"x of {name}", xs), _stack(f"y of {name}", ys)


def _stack(name: str, entries: Iterable[Any]) -> np.ndarray:
    """Columns (k, 1) as rows (n, k); numbers as (n,)."""
    arrays = [to_numpy(entry) for entry in entries]
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
