"""Calls that reduce an axis of an array, or several."""

import math
from typing import NamedTuple

import numpy as np

from nn_any.backends.cuda.fusion.elementwise import literal, wrapped
from nn_any.backends.cuda.sources import C_TYPES
from nn_any.backends.replay.nodes import Node


class Reduction(NamedTuple):
    """How a call reduces."""

    factors: tuple[Node, ...]
    """The array whose elements are reduced, or two of the same shape whose products are."""
    axes: tuple[int, ...]
    keepdims: bool
    length: int
    """How many elements make one of the result."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arrays that are reduced."""
        return self.factors[0].layout.shape


def reduction_of(node: Node) -> Reduction | None:
    """How a call reduces, if it does so in a way that is known here."""
    nodes = [node, *node.inputs()]
    if node.several or any(n.layout.dtype.name not in C_TYPES for n in nodes):
        return None
    options = dict(node.kwargs)
    arrays = 2 if node.name == "vecdot" else 1
    if node.name not in ("sum", "mean", "max", "min", "vecdot") or len(node.inputs()) != arrays:
        return None
    axis = options.pop("axis", node.args[arrays] if len(node.args) > arrays else (-1 if arrays == 2 else None))
    keepdims = options.pop("keepdims", False)
    if options or len(node.args) > arrays + 1 or len({i.layout.shape for i in node.inputs()}) != 1:
        return None
    ndim = len(node.args[0].layout.shape)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    shape = node.args[0].layout.shape
    chosen = tuple(sorted(a % ndim for a in axes)) if ndim else ()
    return Reduction(tuple(node.inputs()), chosen, keepdims, math.prod(shape[a] for a in chosen))


def start_of(node: Node) -> str:
    """The value from which a reduction starts, in C++."""
    dtype = node.layout.dtype
    if node.name not in ("max", "min"):
        return literal(0, dtype)
    if dtype.kind == "b":
        return literal(node.name == "min", dtype)
    if dtype.kind == "f":
        return literal(-math.inf if node.name == "max" else math.inf, dtype)
    ends = np.iinfo(dtype)
    return literal(ends.min if node.name == "max" else ends.max, dtype)


def joined(node: Node, total: str, value: str) -> str:
    """The total after one more element, in C++; NaN propagates."""
    if node.name in ("max", "min"):
        return f"{value} != {value} || {value} {'>' if node.name == 'max' else '<'} {total} ? {value} : {total}"
    dtype = node.layout.dtype
    return wrapped("+", dtype, total, value) if dtype.kind == "i" else f"{total} + {value}"


def finished(node: Node, total: str, length: int) -> str:
    """The result, from the total of all elements."""
    return f"{total} / {literal(length, node.layout.dtype)}" if node.name == "mean" else total
