"""Which calls of a recorded step need not wait for their turn.

What depends on the batch alone (labels to targets) is done ahead, and what only the loss needs is done behind, for many
steps in one call each: formulas count their axes from the end, so a leading axis of steps passes through.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from nn_any.backends.replay.nodes import Node, map_leaves
from nn_any.backends.replay.scaled import move_scales

_AHEAD_BYTES = 4096  # of one array of one step: the inputs of a large batch are taken when they are due
_BEHIND_BYTES = 65536  # of one step: what the loss needs is kept until its turn
_CHUNK_BYTES = 2**19
_CHUNK_STEPS = {True: 256, False: 32}  # whether all products are small: then what a chunk costs by itself is felt
_SERIAL = 2**21  # multiplications of one product, below which a second thread does not pay
_PRODUCTS = {"matmul", "affine", "sgd_update"}
_CONVOLUTIONS = {"convolve", "convolve_kernels_gradient", "convolve_inputs_gradient"}
_REDUCTIONS = {"sum", "mean", "max", "min", "total", "vecdot"}


class Recording(NamedTuple):
    """A step, written down: its calls in order, what it finds (columns, state, rows, rate), and what it leaves."""

    nodes: list[Node]
    columns: list[Node]
    state: list[Node]
    rows: Node
    rate: Node
    new_state: list[Node]
    loss: Node


class Plan:
    """A recorded step in three parts.

    Attributes
    ----------
    head, body, tail : lists of Node
        Calls that are made ahead for many steps, step by step, and behind for many steps.
    handed_in, handed_out : lists of Node
        What the body takes from the head (the learning rate may be among it), and the tail from the body.
    counters : dict of Node to int
        The states that each step adds a whole number to, and nothing else reads: that is done behind at once.
    chunk : int
        How many steps go together.
    serial : bool
        Whether the products are so small that threads would wait for each other.
    windows : int
        How many numbers there are in the windows of the largest convolution.
    matrices : bool
        Whether all products are of two matrices, rather than of many at once.
    """

    def __init__(self, notes: Recording) -> None:
        self.rows, self.rate, self.loss = notes.rows, notes.rate, notes.loss
        calls = needed(notes)
        self.counters = _counters(notes, calls)
        counted = {new for old, new in zip(notes.state, notes.new_state, strict=True) if old in self.counters}
        calls = [n for n in calls if n not in counted]
        ahead = {notes.rows, notes.rate}
        for node in calls:
            if _bytes(node) <= _AHEAD_BYTES and _passes(node, ahead):
                ahead.add(node)
        behind = self._behind([n for n in calls if n not in ahead], ahead, set(notes.new_state))
        self.head = [n for n in calls if n in ahead]
        self.tail = [n for n in calls if n in behind]
        body = _updates_early([n for n in calls if n not in ahead and n not in behind], notes)
        self.handed_out = self._inputs(self.tail, ahead | behind) if notes.loss in ahead | behind else [notes.loss]
        self.body = move_scales(body, users_of(calls), {*notes.new_state, notes.loss, *self.handed_out})
        used = {i for n in self.body for i in n.inputs()} | set(notes.new_state)
        self.handed_in = [n for n in (notes.rate, *self.head) if n in used]
        size = sum(_bytes(n) for n in (*self.handed_in, *self.handed_out))
        self.serial = max(map(_multiplications, self.body), default=0) < _SERIAL
        self.windows = max(map(_windows, self.body), default=0)
        self.matrices = all(len(n.layout.shape) == 2 for n in self.body if n.name in _PRODUCTS)
        self.chunk = max(1, min(_CHUNK_STEPS[self.serial], _CHUNK_BYTES // max(size, 1)))

    def _behind(self, calls: list[Node], ahead: set[Node], state: set[Node]) -> set[Node]:
        """The calls that only the loss needs, from the last one back, as far as it pays to keep their inputs."""
        users, made, behind = users_of(calls), set(calls), set[Node]()
        for node in reversed(calls):
            wanted = node is self.loss or (node in users and behind.issuperset(users[node]))
            if not wanted or node in state or not all(i in made or i in ahead or _is_fixed(i) for i in node.inputs()):
                continue
            per_step = {i for i in node.inputs() if not _is_fixed(i)}
            if _passes(node, per_step) and sum(map(_bytes, self._inputs([node], ahead))) <= _BEHIND_BYTES:
                behind.add(node)
        return behind

    @staticmethod
    def _inputs(calls: Iterable[Node], known: set[Node]) -> list[Node]:
        found = dict.fromkeys(i for n in calls for i in n.inputs() if not _is_fixed(i) and i not in known)
        return list(found)


def users_of(calls: Iterable[Node]) -> dict[Node, list[Node]]:
    """The calls that read each array."""
    users: dict[Node, list[Node]] = {}
    for node in calls:
        for i in node.inputs():
            users.setdefault(i, []).append(node)
    return users


def needed(notes: Recording) -> list[Node]:
    """The calls on whose results the new state and the loss depend, in order."""
    wanted, waiting = set[Node](), [*notes.new_state, notes.loss]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting.extend(node.inputs())
    return [n for n in notes.nodes if n in wanted]


def _updates_early(body: list[Node], notes: Recording) -> list[Node]:
    """The calls with each descent of weights as soon as nothing reads the old ones any more: its inputs can go then."""
    olds = {new: old for old, new in zip(notes.state, notes.new_state, strict=True) if new.name == "sgd_update"}
    last = {i.root: n for n in body if n not in olds for i in n.inputs()}
    waiting, made = [n for n in body if n in olds], set(body)
    ordered: dict[Node, None] = {}
    for node in body:
        if node in olds:
            continue
        for update in [n for n in waiting if n in node.inputs()]:  # what reads the new weights comes after them
            ordered[update] = None
        ordered[node] = None
        for update in [n for n in waiting if n not in ordered]:
            reader = last.get(olds[update])
            if (reader is None or reader in ordered) and all(i in ordered or i not in made for i in update.inputs()):
                ordered[update] = None
        waiting = [n for n in waiting if n not in ordered]
    return [*ordered, *waiting]


def _counters(notes: Recording, calls: list[Node]) -> dict[Node, int]:
    """The states to which a step adds the same whole number, unless other calls read them."""
    found = {}
    for old, new in zip(notes.state, notes.new_state, strict=True):
        readers = [n for n in calls if old in n.inputs() or new in n.inputs()]
        kept = [*notes.new_state, notes.loss]
        apart = readers == [new] and kept.count(new) == 1 and old not in kept
        if apart and new.ufunc is np.add and new.layout == old.layout:
            by = new.args[1] if new.args[0] is old else None
            whole = old.layout.dtype.kind == "i" and old.layout.dtype.itemsize >= 4
            if whole and type(by) is int and 0 <= by < 100:  # many steps of it are no more than the dtype holds
                found[old] = by
    return found


def _is_fixed(node: Node) -> bool:
    """Whether all steps find the same array there."""
    return node.value is not None or node.name == "column"


def _bytes(node: Node) -> int:
    return _BEHIND_BYTES + 1 if node.several else node.layout.nbytes


def _multiplications(node: Node) -> int:
    """Of one matrix product: the batch is among its axes, and of many products at once each is taken alone."""
    if node.name in _CONVOLUTIONS:
        return _kernels_and_places(node)[0][0] * _windows(node)
    if node.name not in _PRODUCTS:
        return 0
    first, second = [i.layout.shape for i in node.inputs()][:2]
    inner = second[-2] if node.name == "sgd_update" else first[-1]
    return math.prod(node.layout.shape[-2:]) * int(inner)


def _windows(node: Node) -> int:
    """Of a convolution: what all kernels meet, at all places."""
    if node.name not in _CONVOLUTIONS:
        return 0
    kernels, places = _kernels_and_places(node)
    return math.prod(kernels[1:]) * math.prod(places[:3])


def _kernels_and_places(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of a convolution's kernels, and of what it has for each place where they lie."""
    first, second = [i.layout.shape for i in node.inputs()][:2]
    roles = {"convolve": (second, node.layout.shape), "convolve_kernels_gradient": (node.layout.shape, second)}
    return roles.get(node.name, (second, first))


def _passes(node: Node, per_step: set[Node]) -> bool:
    """Whether the call does the same for many steps at once, where the nodes in `per_step` gain an axis of steps."""
    inputs = node.inputs()
    if per_step.isdisjoint(inputs) or any(i not in per_step and not _is_fixed(i) for i in inputs):
        return False
    if node.ufunc:
        return True
    if node.name == "take":
        return _is_fixed(node.args[0]) and node.args[1] in per_step and node.kwargs == {"axis": 0}
    if node.name == "getitem":
        return isinstance(node.args[1], tuple) and node.args[1][:1] == (Ellipsis,)
    if node.name in _REDUCTIONS:
        axis = node.kwargs.get("axis", -1 if node.name == "vecdot" else None)
        return isinstance(axis, int) and axis < 0 and all(i in per_step for i in inputs)
    return node.name in ("reshape", "astype", "one_hot")


def batched(calls: list[Node], values: dict[Node, np.ndarray]) -> dict[Node, np.ndarray]:
    """The results of calls for many steps: from arrays (steps, ...) to arrays (steps, ...), by their nodes."""
    values = dict(values)
    for node in calls:
        values[node] = _many(node, values)
    return values


def _many(node: Node, values: dict[Node, np.ndarray]) -> Any:
    shape = node.layout.shape
    if node.name == "reshape":
        value = values[node.args[0]]
        return value.reshape(len(value), *shape)

    def lift(leaf: Any) -> Any:
        if not isinstance(leaf, Node):
            return leaf
        if leaf.value is not None:
            return leaf.value
        value = values[leaf]
        if node.ufunc:  # () beside (n,): the axis of steps stays in front
            value = value.reshape(len(value), *(1,) * (len(shape) + 1 - value.ndim), *value.shape[1:])
        return value

    return node.function(*map_leaves(lift, node.args), **map_leaves(lift, node.kwargs))
