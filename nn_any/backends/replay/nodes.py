"""What the calls of a recorded step work on: nodes, which stand for arrays, and how those lie in memory."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np


def is_flipped(array: np.ndarray) -> bool:
    """Whether the last axis but one is the one whose elements lie side by side: a C-contiguous array's ``mT``."""
    return array.ndim > 1 and not array.flags.c_contiguous and array.mT.flags.c_contiguous


class Layout(NamedTuple):
    """How an array lies in memory."""

    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> "Layout":
        """The layout of `array`."""
        return cls(array.shape, array.dtype, array.strides)

    @classmethod
    def contiguous(cls, shape: tuple[int, ...], dtype: Any) -> "Layout":
        """The layout of a C-contiguous array."""
        dtype = np.dtype(dtype)
        return cls(shape, dtype, tuple(math.prod(shape[i + 1 :]) * dtype.itemsize for i in range(len(shape))))

    @property
    def is_flipped(self) -> bool:
        """Whether it is that of the ``mT`` of an array in one piece, as `is_flipped` has it of arrays."""
        return is_flipped(np.lib.stride_tricks.as_strided(np.empty(0, self.dtype), self.shape, self.strides))

    @property
    def nbytes(self) -> int:
        """The size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


class Node:
    """One array of the recorded step: an input, a constant, or what a call returned.

    Attributes
    ----------
    name : str
        Of the call (``"multiply"``, ``"sgd_update"``), or ``"input"``, ``"column"`` or ``"constant"``.
    function, args, kwargs : what was called; arguments that were arrays are nodes
    layout : Layout
        Of the array.
    several : bool
        Whether the call returned several arrays, and has none itself; `layouts` are theirs.
    source : Node or None
        The node that this one is a view of.
    value : ndarray or None
        A constant's.
    fill : float or None
        What a constant is filled with, if all its elements are the same.
    """

    __slots__ = (
        "_inputs",
        "args",
        "fill",
        "function",
        "kwargs",
        "layout",
        "layouts",
        "name",
        "several",
        "source",
        "value",
    )

    def __init__(self, name: str, value: Any, function: Any = None, args: Any = (), kwargs: Any = None) -> None:
        self.name, self.function, self.args, self.kwargs = name, function, args, kwargs or {}
        self.layouts = [Layout.of(leaf) for leaf in leaves(value) if isinstance(leaf, np.ndarray)]
        self.several = not isinstance(value, np.ndarray)
        self.layout = Layout.contiguous((), object) if self.several else self.layouts[0]
        self.source: Node | None = None
        self.value: Any = None
        self.fill: float | None = None
        self._inputs: tuple[Any, list[Node]] = (None, [])

    @property
    def ufunc(self) -> np.ufunc | None:
        """The elementwise function that the call is of, if it is of one."""
        return getattr(self.function, "ufunc", None)

    def inputs(self) -> list["Node"]:
        """The nodes among the arguments, however deep."""
        if self._inputs[0] is not self.args:  # which a call that is moved gets anew
            self._inputs = self.args, [leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Node)]
        return self._inputs[1]

    @property
    def root(self) -> "Node":
        """The node whose memory this one shows."""
        return self if self.source is None else self.source.root


def leaves(tree: Any) -> Iterator[Any]:
    """What lies in nested tuples, lists and dicts, in order."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, tuple | list):
        for branch in tree:
            yield from leaves(branch)
    else:
        yield tree


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Nested tuples, lists and dicts with `function` of each thing that lies in them."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, branch) for key, branch in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)([map_leaves(function, branch) for branch in tree])
    return function(tree)
