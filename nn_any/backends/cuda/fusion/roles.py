"""What part each value of a recorded step has.

*Calls*, such as a matrix product, are made by a library on arrays in memory. *Roots* are what a kernel of ours must
leave in memory. All else is inlined: a kernel computes it wherever it is wanted. Reductions may be any of the three.
"""

import math
from collections.abc import Iterable

from nn_any.backends.cuda.fusion.elementwise import cost, is_elementwise
from nn_any.backends.cuda.fusion.reductions import reduction_of
from nn_any.backends.cuda.fusion.views import is_view
from nn_any.backends.cuda.sources import C_TYPES
from nn_any.backends.replay.batching import Recording, needed, users_of
from nn_any.backends.replay.nodes import Node
from nn_any.backends.replay.recorded import UnrecordableError

MOST_ELEMENTS = 2**31 - 1
"""Kernels count their threads in 32 bits."""

_LEAVES = ("input", "column", "constant")
_INLINE = 512  # additions: a reduction that costs more is not computed anew by each thread that wants it
_ALONE = 2048  # additions of one thread, where as many threads as there are results reduce
_LONGEST = 4096  # elements that a thread or a warp reduces: of more, the library's own reduction is faster
_FEW = 64  # results: so few are each reduced by a warp rather than by a thread


class Roles:
    """The values of a recorded step, in order, and what becomes of them.

    Attributes
    ----------
    nodes : list of Node
        All that the new state and the loss depend on.
    changed : list of (Node, Node)
        Each state that a step changes: the old one, and the new one.
    elementwise : set of Node
        Whose elements follow from one element of each argument.
    calls : dict of Node to None
        What a library computes, in order.
    feeding : set of Node
        The roots that calls wait for.
    own_threads : dict of Node to bool
        The reductions with threads of their own, and whether a warp shares the work of each result.
    """

    def __init__(self, notes: Recording) -> None:
        self.nodes = needed(notes)
        for node in self.nodes:
            if not node.several and not 0 < math.prod(node.layout.shape) <= MOST_ELEMENTS:
                raise UnrecordableError(f"kernels do not work on arrays of shape {node.layout.shape}")
        self.changed = [(o, n) for o, n in zip(notes.state, notes.new_state, strict=True) if o is not n]
        self.elementwise = {n for n in self.nodes if is_elementwise(n)}
        self._ends = {notes.loss, *[new for _, new in self.changed]}
        self._inputs = {node: node.inputs() for node in self.nodes}
        self._users = users_of(self.nodes)
        self._costs: dict[Node, int] = {}
        self.own_threads: dict[Node, bool] = {}
        self.calls = {n: None for n in self.nodes if n not in self.elementwise and not _can_be_inlined(n)}
        self.feeding = self._waited_for()
        for node in self.nodes:
            if node not in self.calls and reduction_of(node) is not None:
                self._place(node)
        self.calls = {n: None for n in self.nodes if n in self.calls}
        self._costs.clear()

    def is_leaf(self, node: Node) -> bool:
        """Whether a step finds the value in memory."""
        return node.name in _LEAVES

    def is_barrier(self, node: Node) -> bool:
        """Whether a kernel that wants the value must wait until it is in memory."""
        return node in self.calls or node in self.own_threads

    def inputs(self, node: Node) -> list[Node]:
        """The nodes among the arguments of a call."""
        return self._inputs.get(node, [])

    def users(self, node: Node) -> list[Node]:
        """The calls that read a value."""
        return self._users.get(node, [])

    def fed(self, call: Node) -> list[Node]:
        """What a call finds in memory, perhaps by way of views."""
        found = []
        for node in self.inputs(call):
            while is_view(node):
                node = node.args[0]
            found.append(node)
        return found

    def cost(self, node: Node) -> int:
        """What one element costs, roughly in additions, from what is in memory by then."""
        if node not in self._costs:
            self._costs[node] = self._cost(node, set())
        return self._costs[node]

    def _cost(self, node: Node, seen: set[Node]) -> int:
        total = cost(node)
        for i in self.inputs(node):
            if self.is_leaf(i) or self.is_barrier(i) or i in self.feeding or i in self._ends:
                total += 1
            elif i not in seen:  # what is wanted twice is computed once
                seen.add(i)
                total += self._cost(i, seen)
        reduction = reduction_of(node)
        return total * reduction.length if reduction else total

    def _waited_for(self) -> set[Node]:
        return {n for call in self.calls for n in self.fed(call) if not self.is_leaf(n) and n not in self.calls}

    def _place(self, node: Node) -> None:
        """Decide whether a reduction is inlined, has threads of its own, or is a call."""
        reduction = reduction_of(node)
        assert reduction is not None
        work, size = self.cost(node), math.prod(node.layout.shape)
        if work <= _INLINE:
            return
        last = len(reduction.shape) - 1 in reduction.axes
        if work <= _ALONE and not last and all(math.prod(n.layout.shape) == size for n in self._wanting(node)):
            return
        self._costs.clear()
        if reduction.length > _LONGEST:
            self.calls[node] = None
            self.feeding = self._waited_for()
        else:
            self.own_threads[node] = last or size < _FEW

    def _wanting(self, node: Node) -> Iterable[Node]:
        """The roots in whose kernels a value would be inlined."""
        waiting, seen = [node], {node}
        while waiting:
            here = waiting.pop()
            if here in self.feeding or here in self._ends or here in self.own_threads:
                yield here
            for user in self.users(here):
                if user not in seen and user not in self.calls:
                    seen.add(user)
                    waiting.append(user)


def _can_be_inlined(node: Node) -> bool:
    """Whether a kernel may compute a value that is not elementwise wherever it is wanted."""
    if node.name == "take":  # rows by their numbers
        plain = node.kwargs == {"axis": 0} and len(node.args) == 2 and len(node.args[1].layout.shape) == 1
        return plain and node.layout.dtype.name in C_TYPES
    return is_view(node) or reduction_of(node) is not None
