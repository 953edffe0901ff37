"""A recorded step as few kernels: what lies between two matrix products becomes one, and what only the end needs waits.

Three things are told apart: *calls*, such as a matrix product, which a library makes on arrays in memory; *roots*,
which a kernel of ours must leave in memory, for a call, for the next step or since many want them; and all else, which
is inlined where it is wanted.
"""

import math
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np

from nn_any.backends.cuda.fusion.elementwise import cost, is_elementwise
from nn_any.backends.cuda.fusion.reductions import reduction_of
from nn_any.backends.cuda.fusion.views import is_view
from nn_any.backends.cuda.fusion.writer import Kernel, Output, Places, Segment, kernel
from nn_any.backends.replay.batching import Recording, needed, users_of
from nn_any.backends.replay.nodes import Node

_LEAVES = ("input", "column", "constant")
_SMALL = 1024  # elements: such a value costs nothing to keep
_DEAR = 8  # additions: a dearer value is kept rather than computed twice
_INLINE = 512  # additions: a reduction that costs more is not computed anew by each thread that wants it
_ALONE = 2048  # additions of one thread, where as many threads as there are results reduce
_MOST_POINTERS = 256  # of a kernel: a launch takes 4 KiB of arguments
_LONGEST = 4096  # elements that a thread or a warp reduces: of more, the library's own reduction is faster

_PREAMBLE = """\
__device__ inline double from_bits(unsigned long long bits) {
  double number;
  memcpy(&number, &bits, sizeof number);
  return number;
}
"""


class Plan:
    """The kernels and calls of a recorded step, in order.

    Attributes
    ----------
    work : list of Kernel and Node
        A node is a call.
    source : str
        The kernels' text.
    done_with : list of list of Node
        After each of these, the arrays that nothing reads any more.
    losses : Node
        Stands for the buffer of all steps' losses.
    constants : list of Node
        What is in memory before the first step.
    """

    def __init__(self, notes: Recording) -> None:
        self._notes = notes
        self._nodes = needed(notes)
        self._users = users_of(self._nodes)
        self.losses = Node("losses", np.zeros(notes.loss.layout.shape, notes.loss.layout.dtype))
        self._changed = [(o, n) for o, n in zip(notes.state, notes.new_state, strict=True) if o is not n]
        self._calls = [n for n in self._nodes if not self._is_inlined(n)]
        self._long: dict[
            Node, bool
        ] = {}  # reductions with kernels' segments of their own, and whether a warp shares one
        self._sort_reductions()
        self._stored = set[Node]()
        self.work: list[Kernel | Node] = []
        self._texts: list[str] = []
        self._schedule()
        self.source = _PREAMBLE + "\n".join(self._texts)
        used = [w.pointers if isinstance(w, Kernel) else [w, *self._fed(w)] for w in self.work]
        self.constants = list(dict.fromkeys(n for nodes in used for n in nodes if n.name == "constant"))
        fixed = {*notes.state, *notes.columns, *self.constants, notes.rows, notes.rate, self.losses}
        last = {node: k for k, nodes in enumerate(used) for node in nodes if node not in fixed}
        self.done_with = [[n for n in dict.fromkeys(nodes) if last.get(n) == k] for k, nodes in enumerate(used)]

    # -- what is what

    def _is_inlined(self, node: Node) -> bool:
        """Whether a kernel may compute the value wherever it is wanted."""
        if is_view(node) or is_elementwise(node) or reduction_of(node) is not None:
            return True
        return (
            node.name == "take" and node.kwargs == {"axis": 0} and len(node.args) == 2
            and len(node.args[1].layout.shape) == 1
        )  # fmt: skip

    def _in_memory(self, node: Node) -> bool:
        return node.name in _LEAVES or node in self._stored

    @cached_property
    def _call_set(self) -> set[Node]:
        return set(self._calls)

    def _fed(self, call: Node) -> Iterator[Node]:
        """What a call finds in memory, perhaps by way of views."""
        for node in call.inputs():
            while is_view(node):
                node = node.args[0]
            yield node

    def _feeding(self) -> set[Node]:
        """The roots that calls wait for."""
        calls = set(self._calls)
        return {n for call in self._calls for n in self._fed(call) if n.name not in _LEAVES and n not in calls}

    def _sort_reductions(self) -> None:
        """Decide which reductions are inlined, which get threads of their own, and which the library makes."""
        for node in self._nodes:
            reduction = reduction_of(node)
            if reduction is None or node in self._calls:
                continue
            roots = [*self._feeding(), *[n for _, n in self._changed], self._notes.loss]
            work = self._work(node, set(roots))
            if work <= _INLINE:
                continue
            last = len(reduction.shape) - 1 in reduction.axes
            size = math.prod(node.layout.shape)
            if (
                work <= _ALONE
                and not last
                and all(math.prod(r.layout.shape) == size for r in self._wanting(node, roots))
            ):
                continue
            if reduction.length > _LONGEST:
                self._calls.append(node)
            else:
                self._long[node] = last or size < _SMALL // 16
        order = {node: k for k, node in enumerate(self._nodes)}
        self._calls.sort(key=order.__getitem__)

    def _work(self, node: Node, stop: set[Node], seen: set[Node] | None = None) -> int:
        """What it costs to compute one element, roughly in additions, from what is in memory by then."""
        seen = set() if seen is None else seen
        total = cost(node)
        for i in node.inputs():
            if i in stop or i.name in _LEAVES or i in self._calls or i in self._long:
                total += 1
            elif i not in seen:
                seen.add(i)
                total += self._work(i, stop, seen)
        reduction = reduction_of(node)
        return total * reduction.length if reduction else total

    def _wanting(self, node: Node, roots: Iterable[Node]) -> list[Node]:
        """The roots in whose kernels a value would be inlined."""
        found, waiting, seen = [], [node], {node}
        wanted = set(roots) | set(self._long)
        while waiting:
            here = waiting.pop()
            if here in wanted:
                found.append(here)
            if here in wanted and here is not node and here in self._feeding():
                continue
            for user in self._users.get(here, []):
                if user not in seen and user not in self._calls:
                    seen.add(user)
                    waiting.append(user)
        return found

    # -- what comes when

    def _schedule(self) -> None:
        """Calls as soon as they can be made; kernels as late as a call allows, and one for all that is left."""
        calls, roots = list(self._calls), self._feeding() | set(self._long)
        pending = [n for n in self._nodes if n in roots]
        while calls or pending:
            ready = [c for c in calls if all(self._in_memory(n) for n in self._fed(c))]
            if ready:
                self.work.extend(ready)
                self._stored.update(ready)
                calls = [c for c in calls if c not in self._stored]
                continue
            possible = [n for n in pending if self._barriers(n) <= self._stored]
            urgent = self._awaited(calls) if calls else set(pending)
            chosen = [n for n in possible if n in urgent or n in self._long]
            assert chosen, "a kernel waits for itself"
            pending = [n for n in pending if n not in chosen]
            kept = self._kept(chosen, [*pending, *[n for _, n in self._changed], self._notes.loss])
            self._launch(self._segments(Output(n, n) for n in (*chosen, *kept)))
        self._finish()

    def _barriers(self, node: Node) -> set[Node]:
        """What must be in memory before a kernel can compute `node`."""
        found, waiting, seen = set[Node](), list(node.inputs()), set[Node]()
        while waiting:
            here = waiting.pop()
            if here in seen or self._in_memory(here):
                continue
            seen.add(here)
            if here in self._call_set or here in self._long:
                found.add(here)
            else:
                waiting.extend(here.inputs())
        return found

    def _awaited(self, calls: Iterable[Node]) -> set[Node]:
        """The roots without which one of these calls cannot be made."""
        found, waiting = set[Node](), [n for call in calls for n in self._fed(call)]
        while waiting:
            node = waiting.pop()
            if node not in found and not self._in_memory(node):
                found.add(node)
                waiting.extend(self._fed(node) if node in self._call_set else self._barriers(node))
        return found

    def _kept(self, chosen: list[Node], later: list[Node]) -> list[Node]:
        """What the kernel of `chosen` should leave in memory besides, for the kernels of `later`."""
        here = set[Node]()
        for root in chosen:
            if root not in self._long or not self._long[root]:
                here |= self._pointwise(root)
        new = {n for _, n in self._changed}
        kept: dict[Node, None] = {}
        waiting, seen = [n for n in later if n not in chosen], set[Node]()
        while waiting:
            node = waiting.pop()
            if node in seen or node in chosen or self._in_memory(node) or node in self._call_set or node in self._long:
                continue
            seen.add(node)
            size = math.prod(node.layout.shape)
            worth = is_elementwise(node) and self._own_cost(node) >= _DEAR and node in here
            small = size <= _SMALL and is_elementwise(node) and self._barriers(node) <= self._stored and (
                (node in new and len(self._users.get(node, ())) > 0)
                or any(8 * size <= math.prod(u.layout.shape) for u in self._users.get(node, ()))
            )  # fmt: skip
            if worth or small:
                kept[node] = None
            else:
                waiting.extend(node.inputs())
        return list(kept)

    def _own_cost(self, node: Node) -> int:
        return self._work(node, self._feeding())

    def _pointwise(self, root: Node) -> set[Node]:
        """The values that a thread looks at for its element of `root`, at the same index."""
        found, waiting = set[Node](), [root]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                if is_elementwise(node) and not self._in_memory(node):
                    waiting.extend(i for i in node.inputs() if i.layout.shape == root.layout.shape)
        return found

    # -- the kernels

    def _launch(self, segments: list[Segment]) -> None:
        """Write one kernel, or several where one would take more pointers than a launch may have arguments."""
        places = self._places()
        name = f"step_{len(self._texts)}"
        text, _, blocks = kernel(name, segments, places)
        if len(places.pointers) > _MOST_POINTERS and len(segments) > 1:
            half = len(segments) // 2
            self._launch(segments[:half])
            self._launch(segments[half:])
            return
        outputs = [o.place for segment in segments for o in segment.outputs]
        known = {*self._notes.state, self.losses}
        made = [place for place in outputs if place not in known]
        self._texts.append(text)
        self.work.append(Kernel(name, blocks, list(places.pointers), made, places.counts))
        self._stored.update(outputs)

    def _places(self) -> Places:
        return Places(self._in_memory, (self._notes.rows, self._notes.rate, self.losses))

    def _segments(self, outputs: Iterable[Output]) -> list[Segment]:
        """Outputs of one shape go together if they look at the same values, so that a thread does so once."""
        segments: list[tuple[Segment, set[Node]]] = []
        for output in outputs:
            together = self._long.get(output.value, False) and not self._in_memory(output.value)
            shape, seen = output.value.layout.shape, self._pointwise(output.value)
            made = Segment(shape, [output], together)
            for other in [s for s in segments if s[0].shape == shape and not (s[0].together or together)]:
                if shape == () or not seen.isdisjoint(other[1]):
                    segments.remove(other)
                    made = Segment(shape, [*other[0].outputs, *made.outputs], False)
                    seen |= other[1]
            segments.append((made, seen))
        return [segment for segment, _ in segments]

    def _finish(self) -> None:
        """The last kernel stores the loss and the new state, over the old one where nobody else reads that any more."""
        outputs = [Output(self._notes.loss, self.losses), *[Output(new, old) for old, new in self._changed]]
        apart = self._read_elsewhere(self._segments(outputs)) & {old for old, _ in self._changed}
        beside = {o: Node("beside", np.zeros(o.layout.shape, o.layout.dtype)) for o in self._notes.state if o in apart}
        self._launch(self._segments(Output(o.value, beside.get(o.place, o.place)) for o in outputs))
        if beside:
            self._launch(self._segments(Output(made, old) for old, made in beside.items()))

    def _read_elsewhere(self, segments: list[Segment]) -> set[Node]:
        """The states that other threads of the kernel read than the one that overwrites their element."""
        _, reads, _ = kernel("draft", segments, self._places())
        found = set[Node]()
        for segment, read in zip(segments, reads, strict=True):
            own = {output.place for output in segment.outputs}
            found |= {node for node, same in read if not (same and node in own)}
        return found
