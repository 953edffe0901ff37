"""The calls of a recorded step as NumPy calls that write into a given array.

Each form takes an `Emitter`, the array to write into, and the call's arguments; what it emits computes the same as the
call. A call without a form here is made as it stands, and its result is a new array in each step.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nn_any.backends.replay.emitter import Column, Emitter, Form, Kernels, NotStaticError, fixed
from nn_any.backends.replay.nodes import Node, is_flipped, leaves

_SHORT: dict[str, Callable[..., None]] = {
    "astype": lambda emit, out, x, *_, **__: emit(np.copyto, out, x, "unsafe"),
    "max": lambda emit, out, x, axis=None, *, keepdims=False: emit(np.maximum.reduce, x, axis, None, out, keepdims),
    "one_hot": lambda emit, out, x, *, classes, dtype: emit(np.eye(classes, dtype=dtype).take, x, 0, out, "clip"),
    "vecdot": lambda emit, out, a, b, *, axis=-1: emit(np.vecdot, a, b, out, axis=axis),
}
FORMS = {name: Form(emit, False) for name, emit in _SHORT.items()}
_CACHED = 2**20  # bytes
_PORTION = 2**16  # numbers


def form(name: str, *, overwrites: bool = False) -> Callable[[Any], Any]:
    """Make a function the form of the calls of this name."""

    def keep(function: Any) -> Any:
        FORMS[name] = Form(function, overwrites)
        return function

    return keep


def form_of(node: Node, kernels: Kernels) -> Form | None:
    """The form of a call, if there is one."""
    if node.ufunc:
        return Form(_elementwise(node, node.ufunc), True)
    return kernels.forms.get(node.name) or FORMS.get(node.name)


def _elementwise(node: Node, ufunc: np.ufunc) -> Callable[..., None]:
    full = [a for a in node.inputs() if a.layout.shape == node.layout.shape]
    dtype = node.inputs()[0].layout.dtype

    def emit(emit: Emitter, out: Any, *places: Any) -> None:
        function, operands = ufunc, []
        for arg, place in zip(node.args, places, strict=True):
            small = isinstance(arg, Node) and arg.fill is not None and any(other is not arg for other in full)
            operands.append(scalar(arg.fill, place.dtype) if small else place)
        if ufunc is np.divide and isinstance(operands[1], int | float) and operands[1] and dtype.kind == "f":
            function, operands[1] = np.multiply, 1.0 / operands[1]
        operands = [_tiled(emit, _number(x, dtype, function), out) for x in operands]
        into(emit, function, out, *operands)

    return emit


def _tiled(emit: Emitter, x: Any, out: Any) -> Any:
    """A short row that is the same for every place of an image (a bias for each channel), repeated along a line."""
    if not (isinstance(x, np.ndarray) and isinstance(out, np.ndarray)) or out.ndim < 3:
        return x
    channels, columns = out.shape[-1], out.shape[-2]
    if x.size != channels or x.shape[-1:] != (channels,) or channels > 128 or not out.flags.c_contiguous:
        return x
    line = emit.scratch((columns, channels), x.dtype)
    emit(np.copyto, line, x.reshape(channels))
    return line


def into(emit: Emitter, ufunc: np.ufunc, out: Any, *operands: Any) -> None:
    """Write an elementwise call into `out`."""
    if emit.kernels.elementwise(emit, ufunc, out, operands):
        return
    if ufunc in (np.maximum, np.minimum):  # these want the name; for the others the place alone is quicker
        emit(ufunc, *operands, out=out)
    else:
        emit(ufunc, *operands, out)


def _number(x: Any, dtype: np.dtype, ufunc: np.ufunc) -> Any:
    """A Python number as an array, where that has the dtype which NumPy would give it beside such arrays."""
    whole = isinstance(x, int) and dtype.kind in "iu" and ufunc is not np.divide
    return scalar(x, dtype) if isinstance(x, int | float) and (dtype.kind == "f" or whole) else x


def scalar(value: Any, dtype: np.dtype) -> np.ndarray:
    """A number as an array of the arguments' dtype, which spares each call the conversion."""
    return np.asarray(value, dtype=dtype)


@form("clip", overwrites=True)
def _clip(emit: Emitter, out: Any, x: Any, *bounds: Any, low: float | None = None, high: float | None = None) -> None:
    fixed(out)
    if bounds:  # the standard's own clip, whose bounds may be arrays
        raise NotStaticError
    if low is not None:
        into(emit, np.maximum, out, x, scalar(low, out.dtype))
        x = out
    if high is not None:
        into(emit, np.minimum, out, x, scalar(high, out.dtype))
        x = out
    if x is not out:
        emit(np.copyto, out, x)


@form("relu_gradient", overwrites=True)
def _relu_gradient(emit: Emitter, out: Any, z: Any, delta: Any) -> None:
    fixed(out, z, delta)
    if is_flipped(z):
        out, z, delta = out.mT, z.mT, delta.mT
    rows = max(1, _PORTION // max(1, z.size // max(1, len(z))))  # whether they are positive takes a byte each
    positive = emit.scratch((min(rows, len(z)), *z.shape[1:]), np.bool_)
    for start in range(0, len(z), rows):
        at = slice(start, start + rows)
        there = positive[: len(z[at])]
        emit(np.greater, z[at], scalar(0, z.dtype), there)
        emit(np.multiply, delta[at], there, out[at])


@form("where")
def _where(emit: Emitter, out: Any, condition: Any, a: Any, b: Any) -> None:
    emit(np.copyto, out, b)
    emit(np.copyto, out, a, where=condition)


@form("take")
def _take(emit: Emitter, out: Any, x: Any, indices: Any, axis: int | None = None) -> None:
    if isinstance(x, Column):
        take: Any = emit.once(f"{x.name}.take")
    else:
        fixed(x)
        take = x.take
    emit(take, indices, axis, out, "clip")  # the order was checked; "raise" would go through another array


@form("reshape")
def _reshape(emit: Emitter, out: Any, x: Any, *_: Any, **__: Any) -> None:
    fixed(out, x)
    emit(np.copyto, out.reshape(x.shape), x)


@form("setitem")
def _setitem(emit: Emitter, out: Any, x: Any, key: Any, value: Any) -> None:
    fixed(out, *leaves(key))
    place = out[key]
    if not np.may_share_memory(place, out):  # chosen by a mask or by numbers: that would be a copy
        raise NotStaticError
    emit(np.copyto, out, x)
    emit(np.copyto, place, value)


@form("stack")
def _stack(emit: Emitter, out: Any, arrays: Any, axis: int = 0) -> None:
    fixed(out)
    for place, array in zip(np.moveaxis(out, axis, 0), arrays, strict=True):
        emit(np.copyto, place, array)


@form("concat")
def _concat(emit: Emitter, out: Any, arrays: Any, axis: int = 0) -> None:
    fixed(out, *arrays)
    start, places = 0, np.moveaxis(out, axis, 0)
    for array in arrays:
        stop = start + array.shape[axis]
        emit(np.copyto, np.moveaxis(places[start:stop], 0, axis), array)
        start = stop


@form("sum")
def _sum(emit: Emitter, out: Any, x: Any, axis: Any = None, *, keepdims: bool = False, dtype: Any = None) -> None:
    fixed(x, out)
    if x.dtype != out.dtype:
        raise NotStaticError  # small integers are added up in a larger dtype
    axes = sorted(a % x.ndim for a in axis) if isinstance(axis, tuple) else None
    if axes == list(range(x.ndim - 1)) and x.flags.c_contiguous:
        _total(emit, out.reshape(-1), x.reshape(-1, x.shape[-1]), axis=-2)
    else:
        emit(np.add.reduce, x, axis, None, out, keepdims)


@form("mean")
def _mean(emit: Emitter, out: Any, x: Any, axis: Any = None, *, keepdims: bool = False) -> None:
    _sum(emit, out, x, axis, keepdims=keepdims)
    emit(np.multiply, out, scalar(out.size / x.size, out.dtype), out)


@form("total")
def _total(emit: Emitter, out: Any, x: Any, *, axis: int) -> None:
    fixed(x, out)
    rows = x.mT if axis == -2 else x
    if x.ndim > 2 and rows.flags.c_contiguous and out.flags.c_contiguous:
        rows, out = rows.reshape(-1, rows.shape[-1]), out.reshape(-1)
    if rows.ndim == 2 and out.dtype.kind == "f" and out.dtype.itemsize in (4, 8):
        emit.kernels.sums(emit, out, rows)
    else:
        emit(np.add.reduce, x, axis, None, out)


@form("matmul")
def matmul(emit: Emitter, out: Any, a: Any, b: Any, *, scale: float = 1.0) -> None:
    """``scale * a @ b`` into `out`."""
    fixed(out, a, b)
    if is_flipped(out):
        a, b, out = b.mT, a.mT, out.mT
    if scale != 1.0 and emit.kernels.added(emit, out, scale, a, b, 0.0):
        return
    if a.ndim == b.ndim == 2 and out.flags.c_contiguous:
        emit.kernels.product(emit, out, a, b)
    else:
        emit.kernels.many(emit, out, a, b)
    if scale != 1.0:
        into(emit, np.multiply, out, out, scalar(scale, out.dtype))


@form("affine")
def _affine(emit: Emitter, out: Any, x: Any, weights: Any, biases: Any, *, scale: float = 1.0) -> None:
    fixed(out, x, weights, biases)
    factors, z, column = (x, weights.mT), out, biases[..., None, :]
    if is_flipped(out):
        factors, z = (weights, x.mT), out.mT
        column = biases if biases.ndim == z.ndim else biases[..., :, None]  # or kept for each example already
    if z.ndim == 2 and (emit.kernels.biases_first or scale != 1.0):
        emit(np.copyto, z, column)
        if emit.kernels.added(emit, z, scale, *factors, 1.0):
            return
        emit.lines.pop()
    matmul(emit, z, *factors, scale=scale)
    into(emit, np.add, z, z, column)


def _each(emit: Emitter, out: Any, delta: Any, inputs: Any, scale: float) -> bool:
    """A descent of each matrix by a product that is added to it: one call a member, which writes nothing else."""
    add = emit.kernels.added
    if out.ndim == 2:
        return add(emit, out, -scale, delta.mT, inputs, 1.0)
    if not out.ndim == delta.ndim == inputs.ndim == 3 or not emit.kernels.one_by_one:
        return False
    written = len(emit.lines)
    for matrix, errors, rows in zip(out, delta, inputs, strict=True):
        if not add(emit, matrix, -scale, errors.mT, rows, 1.0):
            del emit.lines[written:]
            return False
    return True


@form("sgd_update", overwrites=True)
def _sgd_update(
    emit: Emitter, out: Any, weights: Any, delta: Any, inputs: Any, *factors: Any, scale: float = 1.0
) -> None:
    fixed(out, weights, delta, inputs)
    if factors:
        raise NotStaticError
    if weights is out and _each(emit, out, delta, inputs, scale):
        return
    if scale != 1.0:
        scaled = emit.scratch(delta.mT.shape, delta.dtype).mT
        into(emit, np.multiply, scaled, delta, scalar(scale, delta.dtype))
        delta = scaled
    several = out.ndim == delta.ndim == inputs.ndim == 3
    together = max(1, _CACHED // max(1, out[0].nbytes)) if several else max(1, len(out))
    change = emit.scratch((min(together, len(out)), *out.shape[1:]), out.dtype)  # of few members: it stays in the cache
    for at in [slice(i, i + together) for i in range(0, len(out), together)]:
        some = (delta[at], inputs[at]) if several else (delta, inputs)
        here = change[: len(out[at])]
        matmul(emit, here, some[0].mT, some[1])
        emit(np.subtract, weights[at], here, out[at])
