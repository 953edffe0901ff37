"""Biases of large layers as one more column of the weights, which meets a column of ones on the inputs.

``x W^T + b`` is then one product, (x | 1) (W | b)^T, which saves the pass over the activations that adds the
biases. The descents stay two: BLAS takes up to a tenth more for one column beyond a multiple of 16 in what it writes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nn_any.backends.replay.batching import Plan, Recording
from nn_any.backends.replay.buffers import ALIGNMENT, aligned
from nn_any.backends.replay.nodes import Layout, Node

_WRITTEN = {"affine", "matmul", "astype"}  # calls, beside elementwise ones, whose result can lie anywhere


class Layer(NamedTuple):
    """The calls of one layer: its inputs, ``affine``, and what the descent of weights and biases leaves."""

    inputs: Node
    affine: Node
    weights: Node
    biases: Node
    total: Node


class Joined(NamedTuple):
    """What a call works on: the inputs that want a column of ones, and weights and biases, together and alone.

    Inputs that have yet to be multiplied by `scale` have a column of its reciprocals instead.
    """

    inputs: Node
    array: np.ndarray
    weights: np.ndarray
    scale: float


class JoinedBiases:
    """Which layers a loop may keep so.

    Attributes
    ----------
    arrays : dict of Node to ndarray
        Where the old weights and biases lie: parts of one array (outputs, inputs + 1).
    calls : dict of Node to Joined
        The calls that are made with the whole of it: ``affine`` and ``sgd_update``.
    inputs : dict of Node to float
        What wants a column of ones, and which number is to stand for them.
    roomy : set of Node
        The same, and what it is computed from in place.
    left_out : dict of Node to ndarray
        Calls that need not be made, and where their results lie.
    """

    def __init__(self, notes: Recording, plan: Plan, users: Mapping[Node, list[Node]]) -> None:
        self.arrays: dict[Node, np.ndarray] = {}
        self.calls: dict[Node, Joined] = {}
        self.roomy: set[Node] = set()
        self.left_out: dict[Node, np.ndarray] = {}
        kept = [*notes.new_state, *plan.handed_out]
        alone = [node for node in plan.body if node not in kept]
        last = {i.root: position for position, node in enumerate(plan.body) for i in node.inputs()}
        for layer in _layers(notes, plan, users):
            _, weights, biases = layer.affine.args
            once = all(kept.count(new) == 1 and new not in users for new in (layer.weights, layer.biases))
            read_later = {weights, biases, layer.total, layer.inputs} & {node.root for node in kept}
            if not once or read_later or last[weights] > plan.body.index(layer.weights):
                continue
            array = _wide(weights.layout)
            self.arrays |= {weights: array[:, :-1], biases: array[:, -1]}
            self.left_out |= dict.fromkeys((layer.biases, layer.total), self.arrays[biases])
            joined = Joined(layer.inputs, array, self.arrays[weights], layer.affine.kwargs.get("scale", 1.0))
            self.calls |= {layer.affine: joined, layer.weights: joined}
            self.roomy |= _chain(layer.inputs, users, alone)
        self.inputs = {call.inputs: 1.0 / call.scale for call in self.calls.values()}

    @staticmethod
    def layout(layout: Layout) -> Layout:
        """The layout of inputs (n, inputs) that have room for a column of ones, and may have more."""
        n, width = layout.shape
        if layout.is_flipped:
            return Layout((n, width + 1), layout.dtype, (layout.dtype.itemsize, n * layout.dtype.itemsize))
        return Layout.contiguous((n, _padded(width + 1, layout.dtype)), layout.dtype)


def _layers(notes: Recording, plan: Plan, users: Mapping[Node, list[Node]]) -> list[Layer]:
    """The layers whose weights and biases descend by the same errors, and whose inputs are computed in the loop."""
    olds = {new: old for old, new in zip(notes.state, notes.new_state, strict=True)}
    sums = {n.args[0]: n for n in plan.body if n.name == "total" and n.kwargs == {"axis": -2}}
    found = []
    for node in plan.body:
        if node.name != "sgd_update" or len(node.args) != 3 or node not in olds or node.args[0] is not olds[node]:
            continue
        weights, delta, inputs = node.args
        total = sums.get(delta)
        readers = [
            user for user in users.get(weights, []) if user.name == "affine" and user.args[:2] == (inputs, weights)
        ]
        if total is None or len(readers) != 1 or len(weights.layout.shape) != 2:
            continue
        biases = readers[0].args[2]
        moved = [new for new in users.get(total, []) if new in olds and olds[new] is biases]
        if len(moved) != 1 or users[total] != moved or users.get(biases) != [readers[0], *moved]:
            continue
        descends = moved[0].ufunc is np.subtract and moved[0].args == (biases, total)
        alike = {i.layout.dtype for i in (*node.args, biases)}
        if descends and alike == {weights.layout.dtype} and inputs in plan.body and _is_written(inputs):
            found.append(Layer(inputs, readers[0], node, moved[0], total))
    return found


def _chain(node: Node, users: Mapping[Node, list[Node]], calls: list[Node]) -> set[Node]:
    """A call, and those before it whose results it can overwrite."""
    found = {node}
    while node.ufunc:
        before = [i for i in node.inputs() if i in calls and users[i] == [node] and i.layout == node.layout]
        if not before or not _is_written(before[0]):
            break
        node = before[0]
        found.add(node)
    return found


def _is_written(node: Node) -> bool:
    """Whether it is a call whose result may lie anywhere."""
    return node.source is None and len(node.layout.shape) == 2 and bool(node.ufunc or node.name in _WRITTEN)


def _padded(width: int, dtype: np.dtype) -> int:
    """The least that is not below `width`, and fills cache lines."""
    step = ALIGNMENT // dtype.itemsize
    return -(-width // step) * step


def _wide(layout: Layout) -> np.ndarray:
    """An array for weights (outputs, inputs) and one more column, each of whose rows begins at a cache line."""
    rows, width = layout.shape
    padded = _padded(width + 1, layout.dtype)
    array: np.ndarray = aligned(rows * padded * layout.dtype.itemsize).view(layout.dtype).reshape(rows, padded)
    return array[:, : width + 1]
