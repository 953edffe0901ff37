"""Writing down a training step as it runs.

The step is pure, so the calls that it makes on one batch are those that it makes on every batch of that shape.
`program` turns the notes into a loop without temporaries.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nn_any.backends.replay.imagined import imagine
from nn_any.backends.replay.nodes import Node, leaves, map_leaves
from nn_any.backends.replay.recorded import RECORDING, Recorded, UnrecordableError, current


class Tape:
    """The calls of one recording, in order, each made once: equal calls on equal arguments share a node.

    While `imagining`, large results are only imagined, which takes neither time nor memory. `namespace` is what the
    recorded arrays give for theirs: the primitives that are replaced for it are noted whole.
    """

    def __init__(self, *, imagining: bool = False, namespace: Any = RECORDING) -> None:
        self._imagining, self.namespace = imagining, namespace
        self.nodes: list[Node] = []
        self._known: dict[Any, Node] = {}
        self._constants: dict[int, Recorded] = {}

    def input(self, value: np.ndarray) -> "Recorded":
        """A stand-in for an array that each step finds anew."""
        value = np.asarray(value)  # what a step leaves may be a NumPy scalar
        return Recorded(Node("input", value), value)

    def column(self, value: np.ndarray) -> "Recorded":
        """A stand-in for a column of the data, of which each step takes rows; another run may bring another one."""
        return Recorded(Node("column", value), value)

    def constant(self, value: np.ndarray) -> "Recorded":
        """A stand-in for an array that is the same in all steps."""
        if id(value) not in self._constants:
            self._constants[id(value)] = self._fresh_constant(value)  # which keeps the array, and so its id
        return self._constants[id(value)]

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` on the arrays themselves, or imagine that, and note it."""
        args, kwargs = map_leaves(self._stand_in, args), map_leaves(self._stand_in, kwargs)
        given = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Recorded)]
        values, options = map_leaves(_value, args), map_leaves(_value, kwargs)
        constant = all(leaf.node.name == "constant" for leaf in given)
        value = imagine(name, function, values, options) if self._imagining and not constant else None
        if value is None:
            value = function(*values, **options)
        same = next((leaf for leaf in given if leaf.value is value), None)
        if same is not None:
            return same
        if isinstance(value, np.generic):
            value = np.asarray(value)
        if not any(isinstance(leaf, np.ndarray) for leaf in leaves(value)):
            return value  # a dtype, a shape, a Python number that depends on shapes alone
        if isinstance(value, np.ndarray) and constant:
            return self._fresh_constant(value)
        if isinstance(value, tuple) and any(np.may_share_memory(leaf.value, part) for leaf in given for part in value):
            raise UnrecordableError(f"the step asks for several views of one array ({name})")
        node = self._node(name, value, function, map_leaves(_node, args), map_leaves(_node, kwargs))
        if isinstance(value, tuple):
            return tuple(self._part(node, i, part) for i, part in enumerate(value))
        node.source = next((leaf.node for leaf in given if np.may_share_memory(leaf.value, value)), None)
        return Recorded(node, value)

    def filled_like(self, array: "Recorded", fill: float, dtype: Any = None) -> "Recorded":
        """A constant of the shape of `array`: that depends on no value of it."""
        made = self._fresh_constant(np.broadcast_to(np.asarray(fill, dtype or array.dtype), array.shape))
        made.node.fill = fill
        return made

    def _fresh_constant(self, value: np.ndarray) -> "Recorded":
        node = Node("constant", value)
        node.value = value
        return Recorded(node, value)

    def _stand_in(self, leaf: Any) -> Any:
        return self.constant(leaf) if isinstance(leaf, np.ndarray) else leaf

    def _part(self, node: Node, i: int, part: Any) -> Any:
        """One of several results."""
        if not isinstance(part, np.ndarray):
            return part
        made = self._node("part", part, None, (node, i), {})
        made.source = node
        return Recorded(made, part)

    def _node(self, name: str, value: Any, function: Any, args: Any, kwargs: Any) -> Node:
        key = (name, function, _key(args), _key(kwargs))
        if key not in self._known:
            self._known[key] = Node(name, value, function, args, kwargs)
            self.nodes.append(self._known[key])
        return self._known[key]


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Recorded) else leaf


def _node(leaf: Any) -> Any:
    return leaf.node if isinstance(leaf, Recorded) else leaf


def _key(tree: Any) -> Any:
    """Something hashable that tells arguments apart, 1 and 1.0 and True included."""
    if isinstance(tree, dict):
        return tuple((name, _key(branch)) for name, branch in sorted(tree.items()))
    if isinstance(tree, tuple | list):
        return tuple(_key(branch) for branch in tree)
    if isinstance(tree, slice):
        return ("slice", tree.start, tree.stop, tree.step)
    return (type(tree), tree.hex() if isinstance(tree, float) else tree)  # 0.0 and -0.0 are not the same


@contextmanager
def recording(*, imagining: bool, namespace: Any = RECORDING) -> Iterator[Tape]:
    """A new tape on which this thread's calls on recorded arrays are noted."""
    tape = Tape(imagining=imagining, namespace=namespace)
    before = getattr(current, "tape", None)
    current.tape = tape
    try:
        yield tape
    finally:
        current.tape = before
