"""A formula of the Array API in operators of ONNX: recorded on stand-ins for arrays, and its calls then translated.

It is recorded for batches of two sizes. What differs between the recordings is the batch axis, which stays open.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from nn_any.backends.replay.nodes import Node, leaves
from nn_any.backends.replay.recorded import Recorded, RecordingNamespace, UnrecordableError
from nn_any.backends.replay.tape import Tape, recording
from nn_any.core.typing import Shape
from nn_any.files.onnx_graph import Graph

_SIZES = 2, 3
"""The numbers of examples of the two recordings."""

_ELEMENTWISE = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
    "atanh": "Atanh", "bitwise_and": "And", "bitwise_invert": "Not", "bitwise_or": "Or", "bitwise_xor": "Xor",
    "ceil": "Ceil", "cosh": "Cosh", "divide": "Div", "equal": "Equal", "exp": "Exp", "floor": "Floor",
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less", "less_equal": "LessOrEqual", "log": "Log",
    "logical_and": "And", "logical_not": "Not", "logical_or": "Or", "logical_xor": "Xor", "maximum": "Max",
    "minimum": "Min", "multiply": "Mul", "negative": "Neg", "not_equal": "Equal", "pow": "Pow", "round": "Round",
    "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "subtract": "Sub", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
_COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
_REDUCTIONS = {"max": "ReduceMax", "mean": "ReduceMean", "min": "ReduceMin", "prod": "ReduceProd", "sum": "ReduceSum"}
_NOT_IN_DOUBLE = {"Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"}
"""Operators that onnxruntime has in float32 only."""
_SHAPED = {"broadcast_to", "getitem", "reshape", "setitem"}
"""Calls whose arguments may depend on the number of examples."""


def write_formula(graph: Graph, x: str, shape: Shape, dtype: str, formula: Callable[[Any, Tape], Any]) -> str:
    """Write the nodes of what ``formula(x, tape)`` computes on arrays of the tape; return the name of the result.

    Parameters
    ----------
    graph : Graph
    x : str
        The name of the inputs in the graph, (n, *shape).
    shape, dtype
        Of one example.
    formula : function
        It takes the inputs and the tape, whose `constant` makes an array one that can be recorded.

    Raises
    ------
    TypeError
        If a call has no translation, or the result depends on the number of examples in another way than its shape.
    """
    one, other = (_record(formula, (n, *shape), dtype) for n in _SIZES)
    return _Writer(graph, one[0], x).name(one[1], other[1])


def _log1p(xp: Any, x: Any) -> Any:
    """x ln u / (u - 1) for u = 1 + x, in which the errors of u cancel."""
    u = 1 + x
    return xp.where(u == 1, x, xp.log(u) * (x / (u - 1)))


def _variance(xp: Any, x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    squares, ones = (xp.sum(each, axis=axis, keepdims=keepdims) for each in (centred * centred, xp.ones_like(x)))
    return squares / (ones - correction)


_DEFINITIONS: dict[str, Callable[..., Any]] = {
    "cos": lambda xp, x: 1 - 2 * xp.sin(x / 2) ** 2,  # onnxruntime has long had no Cos in double precision
    "expm1": lambda xp, x: xp.tanh(x / 2) * (xp.exp(x) + 1),  # loses no digits around 0
    "isfinite": lambda xp, x: xp.abs(x) < math.inf,
    "isinf": lambda xp, x: xp.abs(x) == math.inf,
    "isnan": lambda xp, x: x != x,
    "log1p": _log1p,
    "log2": lambda xp, x: xp.log(x) / math.log(2),
    "log10": lambda xp, x: xp.log(x) / math.log(10),
    "logaddexp": lambda xp, x, y: xp.maximum(x, y) + _log1p(xp, xp.exp(-xp.abs(x - y))),
    "reciprocal": lambda xp, x: 1 / x,
    "square": lambda xp, x: x * x,
    "std": lambda xp, x, **how: xp.sqrt(_variance(xp, x, **how)),
    "trunc": lambda xp, x: xp.sign(x) * xp.floor(xp.abs(x)),
    "var": _variance,
    "vecdot": lambda xp, x, y, *, axis=-1: xp.sum(x * y, axis=axis),
}
"""Functions of the standard that ONNX does not have, by those that it has."""


def _namespace() -> RecordingNamespace:
    """The standard's functions, noted as calls that have operators."""
    xp = RecordingNamespace()
    for name, definition in _DEFINITIONS.items():
        setattr(xp, name, partial(definition, xp))
    return xp


def _record(formula: Callable[[Any, Tape], Any], shape: Shape, dtype: str) -> tuple[Node, Node]:
    with recording(imagining=False, namespace=_namespace()) as tape, np.errstate(all="ignore"):
        x = tape.input(np.zeros(shape, dtype))
        result = formula(x, tape)
        if not isinstance(result, Recorded):
            raise UnrecordableError("the result does not depend on the inputs")
        if result.dtype != dtype:
            raise UnrecordableError(f"the result is {result.dtype} for inputs of {dtype}")
        return x.node, result.node


class _Writer:
    """Translates the calls that a result needs, each once; `one` and `other` are the same call in both recordings."""

    def __init__(self, graph: Graph, start: Node, x: str) -> None:
        self._graph, self._names, self._x = graph, {start: x}, x

    def name(self, one: Node, other: Node) -> str:
        """What the array is called in the graph; what it is computed from comes first."""
        waiting = [(one, other)]
        while waiting:
            a, b = waiting[-1]
            if a not in self._names:
                if _numbers(a) != _numbers(b):
                    raise UnrecordableError("it computes something else for another number of examples")
                inputs = zip(a.inputs(), b.inputs(), strict=True)
                missing = [pair for pair in inputs if pair[0] not in self._names and pair[0].name != "constant"]
                if missing:
                    waiting += missing
                    continue
                self._names[a] = self._constant(a, b) if a.name == "constant" else self._call(a, b)
            waiting.pop()
        return self._names[one]

    def _constant(self, one: Node, other: Node) -> str:
        row = _row(one, other)
        name = self._graph.constant(row)
        return (
            name if one.layout.shape == other.layout.shape else self._graph.add("Expand", name, self._shape(one, other))
        )

    def _shape(self, one: Node, other: Node) -> str:
        """The shape of an array, with the number of examples where it belongs."""
        pairs = list(zip(one.layout.shape, other.layout.shape, strict=True))
        if all(a == b for a, b in pairs):
            return self._integers(one.layout.shape)
        if any(pair != _SIZES for pair in pairs if pair[0] != pair[1]):
            raise UnrecordableError("a shape depends on the number of examples in another way than by an axis of it")
        n = self._graph.add("Shape", self._x, start=0, end=1)
        return self._graph.add("Concat", *[n if a != b else self._integers([a]) for a, b in pairs], axis=0)

    def _call(self, one: Node, other: Node) -> str:
        if one.name in _ELEMENTWISE or one.name in ("where", "clip"):
            return self._elementwise(one, other)
        translate = getattr(self, f"_{one.name}", None)
        if one.name in _REDUCTIONS:
            translate = self._reduction
        if translate is None or one.several:
            called = one.args[0].name if one.name == "part" else one.name
            raise UnrecordableError(f"it calls {called}, which has no translation")
        return str(translate(one, other))

    # elementwise functions

    def _elementwise(self, one: Node, other: Node) -> str:
        pairs, dtype = list(zip(one.args, other.args, strict=True)), one.layout.dtype
        if one.name == "where":
            choice, *values = self._operands(one, pairs[:1], np.dtype(bool)) + self._operands(one, pairs[1:], dtype)
            return self._graph.add("Where", choice, *values)
        if one.name == "clip":
            pairs += [(one.kwargs.get(bound), other.kwargs.get(bound)) for bound in ("min", "max")[len(pairs) - 1 :]]
            x, *bounds = self._operands(one, [pair for pair in pairs if pair[0] is not None], dtype)
            names = [name for name, (bound, _) in zip(("Max", "Min"), pairs[1:], strict=True) if bound is not None]
            for name, bound in zip(names, bounds, strict=True):
                x = self._graph.add(name, x, bound)
            return x
        operator = _ELEMENTWISE[one.name]
        if operator in _NOT_IN_DOUBLE and dtype == np.float64:
            raise UnrecordableError(f"onnxruntime has no {one.name} for float64; export net.astype('float32')")
        if operator in _COMPARISONS:
            dtype = np.result_type(*[arg.layout.dtype if isinstance(arg, Node) else arg for arg in one.args])
        made = self._graph.add(operator, *self._operands(one, pairs, dtype))
        return self._graph.add("Not", made) if one.name == "not_equal" else made

    def _operands(self, one: Node, pairs: list[tuple[Any, Any]], dtype: np.dtype) -> list[str]:
        """Names of arrays and numbers, in one dtype; they are broadcast to the shape of the result."""
        shapes = [arg.layout.shape for arg in one.inputs() if arg.name != "constant"]
        names = []
        for arg, its in pairs:
            if not isinstance(arg, Node):
                names.append(self._graph.constant(np.asarray(arg, dtype)))
            elif (
                arg.name == "constant"
                and np.broadcast_shapes((row := _row(arg, its)).shape, *shapes) == one.layout.shape
            ):
                names.append(self._graph.constant(row.astype(dtype)))
            else:
                names.append(self._cast(self.name(arg, its), arg.layout.dtype, dtype))
        return names

    def _cast(self, name: str, before: np.dtype, after: np.dtype) -> str:
        return name if before == after else self._graph.cast(name, after)

    def _astype(self, one: Node, other: Node) -> str:
        return self._cast(self.name(one.args[0], other.args[0]), one.args[0].layout.dtype, one.layout.dtype)

    # sums and products

    def _reduction(self, one: Node, other: Node) -> str:
        x = one.args[0]
        options = dict(zip(("axis",), one.args[1:], strict=False)) | one.kwargs
        axis, keepdims = options.get("axis"), int(options.get("keepdims", False))
        name = self._cast(self.name(x, other.args[0]), x.layout.dtype, one.layout.dtype)
        axes = range(len(x.layout.shape)) if axis is None else np.atleast_1d(axis)
        return self._graph.add(_REDUCTIONS[one.name], name, self._integers(axes), keepdims=keepdims)

    def _matmul(self, one: Node, other: Node) -> str:
        names = [self.name(a, b) for a, b in zip(one.args, other.args, strict=True)]
        pairs = zip(names, one.args, strict=True)
        return self._graph.add("MatMul", *[self._cast(n, arg.layout.dtype, one.layout.dtype) for n, arg in pairs])

    # shapes

    def _integers(self, values: Any) -> str:
        return self._graph.constant(np.asarray([*values], np.int64))

    def _permuted(self, one: Node, other: Node, order: Any) -> str:
        return self._graph.add("Transpose", self.name(one.args[0], other.args[0]), perm=[int(axis) for axis in order])

    def _mT(self, one: Node, other: Node) -> str:  # noqa: N802 - the standard's name
        *lead, last = range(len(one.layout.shape))
        return self._permuted(one, other, [*lead[:-1], last, lead[-1]])

    _matrix_transpose = _mT

    def _permute_dims(self, one: Node, other: Node) -> str:
        axes = one.kwargs.get("axes", one.args[-1])
        return self._permuted(one, other, [axis % len(axes) for axis in axes])

    def _moveaxis(self, one: Node, other: Node) -> str:
        places = np.empty(one.layout.shape).ndim  # the axes carry their numbers to where they go
        numbered = np.moveaxis(np.empty(tuple(range(2, places + 2))), *one.args[1:], **one.kwargs)
        return self._permuted(one, other, [size - 2 for size in numbered.shape])

    def _reshape(self, one: Node, other: Node) -> str:
        x, sizes = self.name(one.args[0], other.args[0]), [*zip(one.layout.shape, other.layout.shape, strict=True)]
        if sum(a != b for a, b in sizes) > 1:
            return self._graph.add("Reshape", x, self._shape(one, other))
        return self._graph.add("Reshape", x, self._integers([a if a == b else -1 for a, b in sizes]))

    _expand_dims = _squeeze = _reshape

    def _broadcast_to(self, one: Node, other: Node) -> str:
        return self._graph.add("Expand", self.name(one.args[0], other.args[0]), self._shape(one, other))

    def _concat(self, one: Node, other: Node) -> str:
        return self._graph.add("Concat", *self._listed(one, other), axis=one.kwargs.get("axis", 0))

    def _stack(self, one: Node, other: Node) -> str:
        axis = one.kwargs.get("axis", 0)
        names = [self._graph.add("Unsqueeze", name, self._integers([axis])) for name in self._listed(one, other)]
        return self._graph.add("Concat", *names, axis=axis)

    def _listed(self, one: Node, other: Node) -> list[str]:
        """Names of the arrays in a list, in the dtype of the result."""
        pairs = zip(one.args[0], other.args[0], strict=True)
        return [self._cast(self.name(a, b), a.layout.dtype, one.layout.dtype) for a, b in pairs]

    def _take(self, one: Node, other: Node) -> str:
        (x, indices), (its, others) = one.args[:2], other.args[:2]
        return self._graph.add("Gather", self.name(x, its), self.name(indices, others), axis=one.kwargs.get("axis", 0))

    def _setitem(self, one: Node, other: Node) -> str:
        """Padding: an array put into a larger one that is filled with a number."""
        pads = [_margins(node) for node in (one, other)]
        (base, _, x), (_, _, its) = one.args, other.args
        if base.name != "constant" or len({*base.value.reshape(-1).tolist()}) != 1:
            raise UnrecordableError("it changes a part of an array")
        fill = self._graph.constant(base.value.reshape(-1)[0])
        name = self._cast(self.name(x, its), x.layout.dtype, base.layout.dtype)
        return self._graph.add("Pad", name, self._integers(_same(*pads)), fill)

    def _getitem(self, one: Node, other: Node) -> str:
        x, shapes = self.name(one.args[0], other.args[0]), (one.args[0].layout.shape, other.args[0].layout.shape)
        keys = [_all_axes(node.args[1], len(shape)) for node, shape in zip((one, other), shapes, strict=True)]
        cuts: list[tuple[int, int, int] | None] = []  # None: all of the axis
        gone: list[int] = []
        new: list[int] = []
        for key, its in zip(*keys, strict=True):
            if key is None:
                new.append(len(cuts) - len(gone) + len(new))
                continue
            axis = len(cuts)
            both = list(zip((key, its), [shape[axis] for shape in shapes], strict=True))
            cuts.append(None if all(_is_whole(*each) for each in both) else _same(*[_cut(*each) for each in both]))
            gone += [] if isinstance(key, slice) else [axis]
        if any(cuts):
            which = [axis for axis, cut in enumerate(cuts) if cut]
            starts, stops, steps = zip(*[cut for cut in cuts if cut], strict=True)
            x = self._graph.add("Slice", x, *map(self._integers, (starts, stops, which, steps)))
        x = self._graph.add("Squeeze", x, self._integers(gone)) if gone else x
        return self._graph.add("Unsqueeze", x, self._integers(new)) if new else x


def _row(one: Node, other: Node) -> np.ndarray:
    """A constant, with 1 in place of the number of examples; it is the same for each of them."""
    changing = [a != b for a, b in zip(one.layout.shape, other.layout.shape, strict=True)]
    first = tuple(slice(1) if changes else slice(None) for changes in changing)
    row: np.ndarray = one.value[first]
    if any(not np.array_equal(np.broadcast_to(row, n.layout.shape), n.value, equal_nan=True) for n in (one, other)):
        raise UnrecordableError("a constant depends on the number of examples")
    return row


def _same(value: Any, other: Any) -> Any:
    """A value that both recordings have."""
    if value != other:
        raise UnrecordableError("it takes other rows for another number of examples")
    return value


def _numbers(node: Node) -> Any:
    """What a call is, but for the arrays that it takes, and for what is shapes and rows."""
    given = leaves((node.args[:1] if node.name in _SHAPED else node.args, node.kwargs))
    return node.name, *["array" if isinstance(leaf, Node) else repr(leaf) for leaf in given]


def _all_axes(key: Any, axes: int) -> list[Any]:
    """An index with an entry for each axis, and None for each new one."""
    entries = list(key) if isinstance(key, tuple) else [key]
    if not all(entry is None or entry is Ellipsis or isinstance(entry, slice | int | np.integer) for entry in entries):
        raise UnrecordableError("it takes elements by an array")
    rest = [slice(None)] * (axes - sum(entry is not None and entry is not Ellipsis for entry in entries))
    at = next((i for i, entry in enumerate(entries) if entry is Ellipsis), len(entries))
    return entries[:at] + rest + entries[at + 1 :]


def _margins(node: Node) -> list[int]:
    """How far what a call puts into an array lies from its beginning along each axis, then from its end."""
    shape = node.args[0].layout.shape
    keys = _all_axes(node.args[1], len(shape))
    cuts = [_cut(key, size) for key, size in zip(keys, shape, strict=False)]
    whole = isinstance(node.args[2], Node) and [stop - start for start, stop, _ in cuts] == [*node.args[2].layout.shape]
    if len(keys) != len(shape) or not whole:
        raise UnrecordableError("it changes a part of an array")
    return [start for start, _, _ in cuts] + [size - stop for (_, stop, _), size in zip(cuts, shape, strict=True)]


def _is_whole(key: Any, size: int) -> bool:
    """Whether a key takes all of an axis, whatever its size may be."""
    if not isinstance(key, slice):
        return False
    return (key.start or 0, size if key.stop is None else key.stop, key.step or 1) == (0, size, 1)


def _cut(key: Any, size: int) -> tuple[int, int, int]:
    """Where a slice begins and ends along an axis of a size, and its step."""
    if not isinstance(key, slice):
        return int(key) % size, int(key) % size + 1, 1
    start, stop, step = key.indices(size)
    return start, stop if stop >= 0 else -(2**31), step
