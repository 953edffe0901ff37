"""Elementwise functions as C++ expressions, with NumPy's rules for dtypes, NaN and integers that wrap."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nn_any.backends.cuda.sources import C_TYPES
from nn_any.backends.replay.nodes import Node


def _call(name: str) -> Callable[..., str]:
    return lambda *operands: f"{name}({', '.join(operands)})"


def _infix(sign: str) -> Callable[..., str]:
    return lambda a, b: f"{a} {sign} {b}"


def _logical(sign: str) -> Callable[..., str]:
    return lambda a, b: f"bool({a}) {sign} bool({b})"


_FUNCTIONS: dict[str, Callable[..., str]] = {
    **{name: _call(name) for name in ("exp", "expm1", "log", "log1p", "log2", "sqrt", "sin", "cos", "tan", "tanh")},
    **{name: _call(name) for name in ("sinh", "cosh", "floor", "ceil", "trunc", "rint")},
    **{name: _call(name) for name in ("isnan", "isinf", "isfinite")},
    "add": _infix("+"),
    "subtract": _infix("-"),
    "multiply": _infix("*"),
    "divide": _infix("/"),
    "greater": _infix(">"),
    "greater_equal": _infix(">="),
    "less": _infix("<"),
    "less_equal": _infix("<="),
    "equal": _infix("=="),
    "not_equal": _infix("!="),
    "bitwise_and": _infix("&"),
    "bitwise_or": _infix("|"),
    "bitwise_xor": _infix("^"),
    "right_shift": _infix(">>"),
    "logical_and": _logical("&&"),
    "logical_or": _logical("||"),
    "logical_xor": _logical("!="),
    "logical_not": lambda a: f"!{a}",
    "negative": lambda a: f"-{a}",
    "positive": lambda a: a,
    "absolute": lambda a: f"({a} > 0 ? {a} : 0 - {a})",  # which makes 0 of -0
    "invert": lambda a: f"~{a}",
    "square": lambda a: f"{a} * {a}",
    "reciprocal": lambda a: f"1 / {a}",
    "sign": lambda a: f"({a} != {a} ? {a} : ({a} > 0) - ({a} < 0))",
    "maximum": lambda a, b: f"({a} != {a} || {a} > {b} ? {a} : {b})",
    "minimum": lambda a, b: f"({a} != {a} || {a} < {b} ? {a} : {b})",
    "power": _call("pow"),
}
"""By the ufunc's name, with operands that are names of variables."""

_FLOATING = {"divide", "reciprocal", "power", "floor", "ceil", "trunc", "rint", "isnan", "isinf", "isfinite"}
"""Functions whose C++ form is right for floating-point numbers alone."""

_WRAPPING = {"add": "+", "subtract": "-", "multiply": "*", "left_shift": "<<"}
"""Functions of integers that wrap, which signed integers of C++ do not."""

_SIGNS = ("negative", "absolute")
_SPECIAL = ("where", "astype", "clip", "one_hot")
_ALIKE = ("sign", "floor", "ceil", "trunc")
"""Functions that array-api-compat wraps, so they are not ufuncs here; they keep the dtype."""
_COSTLY = {"exp", "expm1", "log", "log1p", "log2", "sin", "cos", "tan", "tanh", "sinh", "cosh", "power"}


def is_elementwise(node: Node) -> bool:
    """Whether each element of the call's result follows from one element of each argument, and C++ can say how."""
    dtypes = [node.layout.dtype, *[i.layout.dtype for i in node.inputs()]]
    if node.several or any(dtype.name not in C_TYPES for dtype in dtypes):
        return False
    name = _name(node)
    if name not in _FUNCTIONS and name not in _WRAPPING:
        return name in _SPECIAL
    loop = loop_dtypes(node)
    if any(dtype.name not in C_TYPES for dtype in loop):
        return False
    kind = loop[0].kind
    if len({dtype.name for dtype in loop}) > 1 and not all(dtype.kind == "f" for dtype in loop):
        return False  # int64 beside uint64, which C++ compares otherwise
    if name in ("left_shift", "right_shift") and not _is_short_shift(node, loop[0]):
        return False
    if kind in "iu" and name in _WRAPPING:
        return True
    if name in _FLOATING and kind != "f":
        return False
    return name in _FUNCTIONS and not (kind == "b" and name in ("invert", "add", "multiply"))


def _is_short_shift(node: Node, dtype: np.dtype) -> bool:
    """Whether the bits are shifted by a number that is known, and fewer than there are: C++ leaves others open."""
    by = node.args[1]
    if isinstance(by, Node):
        by = by.value if by.fill is not None or (by.value is not None and by.value.size == 1) else None
    return by is not None and 0 <= int(by) < 8 * dtype.itemsize


def _name(node: Node) -> str:
    """The function's, as NumPy names its ufuncs."""
    if node.ufunc is not None:
        return node.ufunc.__name__
    return node.name if node.name in _SPECIAL or (node.name in _ALIKE and len(node.args) == 1) else ""


def cost(node: Node) -> int:
    """The cost of one element, roughly in additions."""
    return 8 if _name(node) in _COSTLY else 1


def loop_dtypes(node: Node) -> list[np.dtype]:
    """The dtypes in which a ufunc's call takes its arguments."""
    kinds = [_kind(arg) for arg in node.args]
    if node.ufunc is None:
        return kinds
    return list(node.ufunc.resolve_dtypes((*kinds, None)))[:-1]


def _kind(arg: Any) -> Any:
    if isinstance(arg, Node):
        return arg.layout.dtype
    return arg.dtype if isinstance(arg, np.generic) else type(arg)


def literal(value: Any, dtype: np.dtype) -> str:
    """A number in C++, in the type that stands for `dtype`.

    Examples
    --------
    >>> literal(0.1, np.dtype("float32")), literal(True, np.dtype("bool")), literal(-1.5, np.dtype("int32"))
    ('(float)0.10000000149011612', '(bool)1', '(int)-1')
    """
    number = np.asarray(value).astype(dtype).item()
    if dtype.kind != "f":
        number, suffix = int(number), "ull" if dtype.kind == "u" else "ll"
        text = f"{number}{suffix if abs(number) >= 2**31 else ''}" if number > -(2**63) else f"({number + 1}ll - 1)"
    else:
        text = repr(number) if math.isfinite(number) else f"from_bits({np.float64(number).view(np.uint64):#x}ull)"
    return f"({C_TYPES[dtype.name]}){text}"


def expression(node: Node, operand: Callable[[Any, np.dtype], str]) -> str:
    """The call in C++. ``operand(argument, dtype)`` names an argument's element, in the type of `dtype`."""
    out = node.layout.dtype
    if node.name == "astype":
        return operand(node.args[0], out)
    if node.name == "where":
        condition, a, b = node.args
        return f"{operand(condition, np.dtype(bool))} ? {operand(a, out)} : {operand(b, out)}"
    if node.name == "clip":
        return _clip(node, operand)
    name, loop = _name(node), loop_dtypes(node)
    operands = [operand(arg, dtype) for arg, dtype in zip(node.args, loop, strict=True)]
    if loop[0].kind == "i" and name in _WRAPPING:
        return wrapped(_WRAPPING[name], loop[0], *operands)
    if loop[0].kind == "i" and name in _SIGNS:
        opposite = wrapped("-", loop[0], "0", operands[0])
        return opposite if name == "negative" else f"({operands[0]} < 0 ? {opposite} : {operands[0]})"
    if loop[0].kind == "i" and name == "square":
        return wrapped("*", loop[0], operands[0], operands[0])
    if name == "left_shift":
        return f"{operands[0]} << {operands[1]}"
    if name == "power" and node.args[1] == 2:
        return f"{operands[0]} * {operands[0]}"
    return _FUNCTIONS[name](*operands)


def wrapped(sign: str, dtype: np.dtype, a: str, b: str) -> str:
    """Signed integers added, subtracted, multiplied or shifted as unsigned ones, which wrap.

    Examples
    --------
    >>> wrapped("+", np.dtype("int32"), "a", "b")
    '(int)((unsigned int)a + (unsigned int)b)'
    """
    unsigned = C_TYPES["u" + dtype.name]
    return f"({C_TYPES[dtype.name]})(({unsigned}){a} {sign} ({unsigned}){b})"


def _clip(node: Node, operand: Callable[[Any, np.dtype], str]) -> str:
    """``clip(x, low, high)``, None being no bound; NaN stays, and a bound that is NaN makes it."""
    out = node.layout.dtype
    bounds = dict(zip(("low", "high"), node.args[1:], strict=False)) | {
        {"min": "low", "max": "high"}.get(name, name): bound for name, bound in node.kwargs.items()
    }
    text = operand(node.args[0], out)
    for name, sign in (("low", "<"), ("high", ">")):
        if bounds.get(name) is not None:
            bound = operand(bounds[name], out)
            text = f"({text} {sign} {bound} || {bound} != {bound} ? {bound} : {text})"
    return text
