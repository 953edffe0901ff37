"""Calls that show an array in another shape: where an element of the result lies in the array."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import array_api_compat.numpy as xp
import numpy as np

from nn_any.backends.replay.nodes import Node, map_leaves

VIEWS = ("reshape", "mT", "getitem", "permute_dims", "moveaxis", "matrix_transpose", "expand_dims", "squeeze", "flip",
         "broadcast_to")  # fmt: skip
"""By the standard's names; `getitem` is one only for slices, integers, None and Ellipsis."""


def _item(array: np.ndarray, key: Any) -> np.ndarray:
    """An array even where all axes are indexed."""
    key = key if isinstance(key, tuple) else (key,)
    view: np.ndarray = array[key if any(part is Ellipsis for part in key) else (*key, ...)]
    return view


_OWN: dict[str, Callable[..., Any]] = {"mT": operator.attrgetter("mT"), "getitem": _item}


class Map(NamedTuple):
    """Where the element at some index of a view lies: at ``offset + sum(index * strides)``, C order, in its source."""

    offset: int
    strides: tuple[int, ...]


def is_view(node: Node) -> bool:
    """Whether the call only shows its first argument otherwise."""
    if node.name not in VIEWS or len(node.inputs()) != 1:
        return False
    return node.name != "getitem" or _is_basic(node.args[1])


def _is_basic(key: object) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, slice | int) for part in parts)


def view_map(node: Node) -> Map:
    """Where a view's elements lie, found by making it of an array whose elements nobody looks at."""
    source = np.empty(node.args[0].layout.shape, np.int8)
    function: Callable[..., np.ndarray] = _OWN.get(node.name) or getattr(xp, node.name)
    args = map_leaves(lambda leaf: source if isinstance(leaf, Node) else leaf, node.args)
    view = function(*args, **{name: value for name, value in node.kwargs.items() if name != "copy"})
    start, _ = np.lib.array_utils.byte_bounds(source)
    return Map(view.__array_interface__["data"][0] - start, view.strides)


def axes_of(view: Map, shape: Sequence[int], source: Sequence[int]) -> list[tuple[int, dict[int, int]]] | None:
    """For each axis of the source its start, and the axes of the view that move along it, with their steps.

    None where an axis of the view moves along several of the source's: then only the place in C order is known.
    """
    strides = [math.prod(source[i + 1 :]) for i in range(len(source))]
    starts = np.unravel_index(view.offset, source) if source and math.prod(source) else [0] * len(source)
    found: list[tuple[int, dict[int, int]]] = [(int(start), {}) for start in starts]
    for k, (size, stride) in enumerate(zip(shape, view.strides, strict=True)):
        if size <= 1 or stride == 0:
            continue
        fits = (a for a, step in enumerate(strides) if source[a] > 1 and stride % step == 0 and abs(stride) >= step)
        axis = next(fits, None)
        if axis is None:
            return None
        found[axis][1][k] = stride // strides[axis]
    for size, (start, steps) in zip(source, found, strict=True):
        ends = [step * (shape[k] - 1) for k, step in steps.items()]
        if start + sum(filter(lambda e: e > 0, ends)) >= max(size, 1) or start + sum(e for e in ends if e < 0) < 0:
            return None
    return found
