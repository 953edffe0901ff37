"""Small arrays of several layers side by side, so that one call serves all of them.

The derivative of each layer's activations is the same formula of another array, and so is the descent of its biases. A
call on a small array takes its time whatever the array's size is, so where such arrays can lie in one piece of memory,
and all are known when the first result is wanted, they are computed together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nn_any.backends.replay.biases import SpreadBiases
from nn_any.backends.replay.buffers import ALIGNMENT, aligned_like
from nn_any.backends.replay.emitter import Emitter
from nn_any.backends.replay.lowering import into, scalar
from nn_any.backends.replay.nodes import Layout, Node

_MOST = 4096  # numbers in one piece: a larger call takes longer than its start
_FUNCTIONS = {np.add, np.subtract, np.multiply}  # which leave zeros between two siblings finite
_WRITTEN = {"affine", "matmul", "relu_gradient"}  # calls, beside elementwise ones, whose result can lie anywhere


class Siblings:
    """Finds what can be computed together.

    Parameters
    ----------
    body : the calls of a step, in order
    users : the calls that read each node's array
    biases : those that are kept for each example; they come to lie side by side as well
    elsewhere : nodes whose results have a place already

    Attributes
    ----------
    places : dict of Node to ndarray
        Where results lie, beside their siblings.
    calls : dict of Node to callable
        What writes the call for a whole family, at the place of its first member.
    waiting : set of Node
        The other members.
    """

    def __init__(
        self, body: Sequence[Node], users: Mapping[Node, list[Node]], biases: SpreadBiases, elsewhere: set[Node]
    ) -> None:
        self._known = {node: i for i, node in enumerate(body)}  # from which call on
        self._users, self._biases, self._elsewhere = users, biases, elsewhere
        self._pieces: dict[tuple[Any, ...], np.ndarray] = {}
        self.places: dict[Node, np.ndarray] = {}
        self.calls: dict[Node, Callable[[Emitter], None]] = {}
        self.waiting: set[Node] = set()
        families: dict[Any, list[Node]] = {}
        kinds: dict[Any, Any] = {}
        for node in body:
            family = families.setdefault(self._kind(node, kinds), [])
            family.append(node)
            kinds[node] = family[0]  # stands for its kind, since formulas in full would grow without bounds
        for family in families.values():
            if len(family) > 1:
                self._join(tuple(family))

    def _kind(self, node: Node, kinds: Mapping[Any, Any]) -> Any:
        """The same for calls that are the same formula of other arrays."""
        if not node.ufunc:
            return node.name
        parts = [_number(arg) for arg in node.args]
        return (node.ufunc, *[kinds.get(part, part.name) if isinstance(part, Node) else (part,) for part in parts])

    def _join(self, family: tuple[Node, ...]) -> None:
        """Let the members be computed together, if they can be."""
        ufunc = family[0].ufunc
        sums = all(node in self._biases.totals for node in family)
        when = self._known[family[0]]
        late = any(self._known.get(i, -1) >= when for node in family for i in node.inputs())
        if late or not (sums or ufunc in _FUNCTIONS):
            return
        arguments = [node.args[:1] if sums else node.args for node in family]
        operands = [tuple(map(_number, values)) for values in zip(*arguments, strict=True)]
        wanted = [values for values in operands if any(isinstance(value, Node) for value in values)]
        if not all(self._can_lie(values) for values in wanted) or len(set(sum(wanted, ()))) < len(sum(wanted, ())):
            return
        if any(len(set(values)) > 1 for values in operands if values not in wanted):
            return
        olds = tuple([node.args[0] for node in family])
        descent = ufunc is np.subtract and olds in self._pieces and olds[0] in self._biases.arrays
        if not (sums or descent) and not self._can_lie(family):
            return
        readers = [user for old in olds if descent for user in self._users[old] if user not in family]
        if any(self._known[reader] >= when for reader in readers):
            return
        pieces = [self._piece(values) if values in wanted else values[0] for values in operands]
        if descent:
            out = self._pieces[olds]
            self.places.update({node: self._biases.arrays[old] for node, old in zip(family, olds, strict=True)})
        elif sums:
            layouts = [node.args[0].layout for node in family]
            self._pieces[family], views = _side_by_side(layouts)
            out = self._pieces[family]
            self.places.update(zip(family, views, strict=True))
            olds = tuple([self._biases.totals[node] for node in family])  # these biases come to lie as the sums do
            self._pieces[olds], views = _side_by_side(layouts)
            self._biases.arrays.update(zip(olds, views, strict=True))
        else:
            out = self._piece(family)
        self.waiting.update(family[1:])
        self.calls[family[0]] = _together(ufunc, out, pieces)
        self._known.update(dict.fromkeys(family, when))

    def _can_lie(self, nodes: tuple[Any, ...]) -> bool:
        """Whether arrays lie side by side in this order, or may."""
        if nodes in self._pieces:
            return True
        if not all(map(self._can_be_placed, nodes)):
            return False
        alike = {(node.layout.shape[0], node.layout.dtype) for node in nodes}
        return len(alike) == 1 and sum(math.prod(node.layout.shape) for node in nodes) <= _MOST

    def _can_be_placed(self, node: Any) -> bool:
        """Whether it is a call whose result, a flipped matrix of reals, may lie anywhere."""
        if node not in self._known or node in self._elsewhere or node in self.places or node.source is not None:
            return False
        matrix = len(node.layout.shape) == 2 and node.layout.is_flipped and node.layout.dtype.kind == "f"
        return matrix and bool(node.ufunc or node.name in _WRITTEN)

    def _piece(self, nodes: tuple[Any, ...]) -> np.ndarray:
        """The memory of arrays that lie side by side; they do from now on."""
        if nodes not in self._pieces:
            self._pieces[nodes], views = _side_by_side([node.layout for node in nodes])
            self.places.update({node: view.mT for node, view in zip(nodes, views, strict=True)})
        return self._pieces[nodes]


def _together(ufunc: np.ufunc | None, out: np.ndarray, pieces: list[Any]) -> Callable[[Emitter], None]:
    def write(emit: Emitter) -> None:
        if ufunc is None:
            SpreadBiases.add_up(emit, out, pieces[0].mT)
        else:
            into(emit, ufunc, out, *[x if isinstance(x, np.ndarray) else scalar(x, out.dtype) for x in pieces])

    return write


def _side_by_side(layouts: list[Layout]) -> tuple[np.ndarray, list[np.ndarray]]:
    """One piece of memory for arrays (n, units), transposed, and each one's part (units, n), from a cache line on."""
    n, dtype = layouts[0].shape[0], layouts[0].dtype
    starts, rows = [], 0
    for layout in layouts:
        while rows * n * dtype.itemsize % ALIGNMENT:
            rows += 1
        starts.append(rows)
        rows += layout.shape[1]
    piece = aligned_like(Layout.contiguous((rows, n), dtype))
    piece[...] = 0
    return piece, [piece[start : start + layout.shape[1]] for start, layout in zip(starts, layouts, strict=True)]


def _number(argument: Any) -> Any:
    """The number that fills a constant array, or the argument itself."""
    return argument.fill if isinstance(argument, Node) and argument.fill is not None else argument
