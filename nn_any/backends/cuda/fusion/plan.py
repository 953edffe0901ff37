"""A recorded step as few kernels: one between two matrix products, and one at the end for all that can wait."""

import math
from collections.abc import Iterable

import numpy as np

from nn_any.backends.cuda.fusion.roles import Roles
from nn_any.backends.cuda.fusion.writer import Kernel, Output, Places, Segment, kernel
from nn_any.backends.replay.batching import Recording
from nn_any.backends.replay.nodes import Node

_SMALL = 1024  # elements: such a value costs nothing to keep
_COSTLY = 8  # additions: a value that costs more is kept rather than computed twice
_MOST_POINTERS = 256  # of a kernel: a launch takes 4 KiB of arguments

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
        self._notes, self._roles = notes, Roles(notes)
        self.losses = Node("losses", np.zeros(notes.loss.layout.shape, notes.loss.layout.dtype))
        self._new = {new for _, new in self._roles.changed}
        self._stored = set[Node]()
        self.work: list[Kernel | Node] = []
        self._texts: list[str] = []
        self._schedule()
        self.source = _PREAMBLE + "\n".join(self._texts)
        used = [w.pointers if isinstance(w, Kernel) else [w, *self._roles.fed(w)] for w in self.work]
        self.constants = list(dict.fromkeys(n for nodes in used for n in nodes if n.name == "constant"))
        fixed = {*notes.state, *notes.columns, *self.constants, notes.rows, notes.rate, self.losses}
        last = {node: k for k, nodes in enumerate(used) for node in nodes if node not in fixed}
        self.done_with = [[n for n in dict.fromkeys(nodes) if last.get(n) == k] for k, nodes in enumerate(used)]

    def _in_memory(self, node: Node) -> bool:
        return self._roles.is_leaf(node) or node in self._stored

    def _schedule(self) -> None:
        """Calls as soon as they can be made; kernels as late as a call allows, and one for all that is left."""
        roles = self._roles
        calls = list(roles.calls)
        pending = [n for n in roles.nodes if n in roles.feeding or n in roles.own_threads]
        ends = [*[new for _, new in roles.changed], self._notes.loss]
        while calls or pending:
            ready = [c for c in calls if all(map(self._in_memory, roles.fed(c)))]
            if ready:
                self.work.extend(ready)
                self._stored.update(ready)
                calls = [c for c in calls if c not in self._stored]
                continue
            urgent = self._awaited(calls) if calls else set(pending)
            possible = [n for n in pending if n in urgent or n in roles.own_threads]
            chosen = [n for n in possible if self._barriers(n) <= self._stored]
            assert chosen, "a kernel waits for itself"
            pending = [n for n in pending if n not in chosen]
            kept = self._kept(chosen, [*pending, *ends])
            self._launch(self._segments(Output(n, n) for n in (*chosen, *kept)))
        self._finish()

    def _barriers(self, node: Node) -> set[Node]:
        """What must be in memory before a kernel can compute `node`."""
        found, waiting, seen = set[Node](), list(self._roles.inputs(node)), set[Node]()
        while waiting:
            here = waiting.pop()
            if here in seen or self._in_memory(here):
                continue
            seen.add(here)
            if self._roles.is_barrier(here):
                found.add(here)
            else:
                waiting.extend(self._roles.inputs(here))
        return found

    def _awaited(self, calls: Iterable[Node]) -> set[Node]:
        """The roots without which one of these calls cannot be made."""
        found, waiting = set[Node](), [n for call in calls for n in self._roles.fed(call)]
        while waiting:
            node = waiting.pop()
            if node not in found and not self._in_memory(node):
                found.add(node)
                waiting.extend(self._roles.fed(node) if node in self._roles.calls else self._barriers(node))
        return found

    def _kept(self, chosen: list[Node], later: list[Node]) -> list[Node]:
        """What the kernel of `chosen` should leave in memory besides, for the kernels of `later`."""
        at_hand = set[Node]().union(
            *[self._pointwise(root) for root in chosen if not self._roles.own_threads.get(root)]
        )
        kept: dict[Node, None] = {}
        waiting, seen = list(later), set(chosen)
        while waiting:
            node = waiting.pop()
            if node in seen or self._in_memory(node) or self._roles.is_barrier(node):
                continue
            seen.add(node)
            costly = node in at_hand and self._roles.cost(node) >= _COSTLY
            if node in self._roles.elementwise and (costly or self._is_small(node)):
                kept[node] = None
            else:
                waiting.extend(self._roles.inputs(node))
        return list(kept)

    def _is_small(self, node: Node) -> bool:
        """Whether a value is small and much larger ones want it, so that it should be computed once."""
        size, users = math.prod(node.layout.shape), self._roles.users(node)
        wanted = node in self._new or any(8 * size <= math.prod(user.layout.shape) for user in users)
        return size <= _SMALL and wanted and bool(users) and self._barriers(node) <= self._stored

    def _pointwise(self, root: Node) -> set[Node]:
        """The values that a thread looks at for its element of `root`, at the same index."""
        found, waiting = set[Node](), [root]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                if node in self._roles.elementwise and not self._in_memory(node):
                    waiting.extend(i for i in node.inputs() if i.layout.shape == root.layout.shape)
        return found

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
            by_warp = self._roles.own_threads.get(output.value, False) and not self._in_memory(output.value)
            shape, seen = output.value.layout.shape, self._pointwise(output.value)
            made = Segment(shape, [output], by_warp)
            for other in [s for s in segments if s[0].shape == shape and not (s[0].by_warp or by_warp)]:
                if shape == () or not seen.isdisjoint(other[1]):
                    segments.remove(other)
                    made = Segment(shape, [*other[0].outputs, *made.outputs], False)
                    seen |= other[1]
            segments.append((made, seen))
        return [segment for segment, _ in segments]

    def _finish(self) -> None:
        """The last kernel stores the loss and the new state, over the old one where nobody else reads that any more."""
        outputs = [Output(self._notes.loss, self.losses), *[Output(new, old) for old, new in self._roles.changed]]
        apart = self._read_elsewhere(self._segments(outputs)) & {old for old, _ in self._roles.changed}
        beside = {o: Node("beside", np.zeros(o.layout.shape, o.layout.dtype)) for o in self._notes.state if o in apart}
        self._launch(self._segments(Output(o.value, beside.get(o.place, o.place)) for o in outputs))
        if beside:
            self._launch(self._segments(Output(made, old) for old, made in beside.items()))

    def _read_elsewhere(self, segments: list[Segment]) -> set[Node]:
        """The states of which a thread reads an element that another thread would overwrite."""
        _, reads, _ = kernel("draft", segments, self._places())
        found = set[Node]()
        for segment, read in zip(segments, reads, strict=True):
            own = {output.place for output in segment.outputs}
            found |= {node for node, same in read if not (same and node in own)}
        return found
