"""One kernel's C++ text: each value is computed from its definition where it is wanted, and stays in a register.

A kernel is a row of segments, each over the elements of one shape. A thread computes its element of every output of its
segment before it stores one, so that a state may be overwritten by what is made of it.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nn_any.backends.cuda.fusion.elementwise import expression, literal
from nn_any.backends.cuda.fusion.reductions import finished, joined, reduction_of, start_of
from nn_any.backends.cuda.fusion.views import axes_of, is_view, view_map
from nn_any.backends.cuda.sources import C_TYPES
from nn_any.backends.replay.nodes import Node
from nn_any.backends.replay.recorded import UnrecordableError

THREADS = 256
"""A block's."""
OPTIONS = ("--std=c++17", "--fmad=false")
"""What NVRTC is told: a value that two kernels compute is the same in both, to the last bit."""
_WARP = 32


class Output(NamedTuple):
    """A value that a kernel stores, and where: in the buffer of a node."""

    value: Node
    place: Node


class Segment(NamedTuple):
    """The elements of one shape, a thread each; with `by_warp` a warp each, which shares a long reduction's work."""

    shape: tuple[int, ...]
    outputs: list[Output]
    by_warp: bool

    @property
    def threads(self) -> int:
        """How many it takes, filled up to whole warps."""
        size = math.prod(self.shape)
        return size * _WARP if self.by_warp else -(-size // _WARP) * _WARP


class Kernel(NamedTuple):
    """What has to be known to launch a kernel; its text is in the plan's source."""

    name: str
    blocks: int
    pointers: list[Node]
    """The buffers that it takes, in order."""
    made: list[Node]
    """Those among them that it fills for the first time."""
    counts: bool
    """Whether it also takes the counter of steps, and how many steps it is ahead of that: (1,), int64, and int32."""


class Term(NamedTuple):
    """A variable or a number in the text, and how many loops it is inside of."""

    text: str
    depth: int


ZERO = Term("0", 0)


class _Scope:
    """The lines of a loop, or of the segment itself, and the values that are known there."""

    def __init__(self, head: str = "") -> None:
        self.head, self.lines = head, list[str]()
        self.known: dict[tuple[Node, tuple[str, ...]], Term] = {}


class Places:
    """Which arrays are in memory, and how a kernel's text names them.

    `batched` are those of which a step takes its own row: the order, the rates and the losses.
    """

    def __init__(self, stored: Callable[[Node], bool], batched: Sequence[Node]) -> None:
        self.is_stored, self._batched = stored, batched
        self.pointers: dict[Node, bool] = {}
        """The buffers used so far, and whether they are written to."""
        self.counts = False
        """Whether one of them was among the batched."""

    def is_batched(self, node: Node) -> bool:
        """Whether a step takes its own row of the array."""
        return node in self._batched

    def name(self, node: Node, *, write: bool = False) -> str:
        """The pointer to a buffer's first element; to that of this step's row, for one that has a row a step."""
        self.pointers[node] = self.pointers.get(node, False) or write
        pointer = f"p{list(self.pointers).index(node)}"
        if node in self._batched:
            self.counts = True
            return f"({pointer} + step * {math.prod(node.layout.shape)})"
        return pointer


def kernel(name: str, segments: Sequence[Segment], places: Places) -> tuple[str, list[list[tuple[Node, bool]]], int]:
    """The text of a kernel, what each segment reads (and whether each thread its own element), and its blocks."""
    bodies, reads, begin = [], [], 0
    for segment in segments:
        writer = SegmentWriter(segment, places)
        bodies.append(f"  if (i < {begin + segment.threads}) {{\n" + writer.text(begin) + "    return;\n  }\n")
        reads.append(writer.reads)
        begin += segment.threads
    if begin >= 2**31:
        raise UnrecordableError("a kernel would need more threads than it can count")
    parameters = [
        f"{'' if written else 'const '}{C_TYPES[node.layout.dtype.name]}* p{k}"
        for k, (node, written) in enumerate(places.pointers.items())
    ]
    lines = [f"  const int i = blockIdx.x * {THREADS} + threadIdx.x;\n"]
    if places.counts:
        parameters += ["const long long* at", "int ahead"]
        lines.append("  const long long step = *at + ahead;\n")
    head = f'extern "C" __global__ void __launch_bounds__({THREADS})\n{name}({", ".join(parameters)}) {{\n'
    return "".join([head, *lines, *bodies, "}\n"]), reads, -(-begin // THREADS)


class SegmentWriter:
    """The text of one segment."""

    def __init__(self, segment: Segment, places: Places) -> None:
        self._segment, self._places = segment, places
        self._scopes = [_Scope()]
        self._names = 0
        self.reads: list[tuple[Node, bool]] = []
        self._own = tuple([Term(f"i{k}", 0) if size > 1 else ZERO for k, size in enumerate(segment.shape)])

    def text(self, begin: int) -> str:
        """All of it; the first thread is number `begin`."""
        size = math.prod(self._segment.shape)
        lines = [f"const int e = i - {begin};"]
        if self._segment.by_warp:
            lines = [f"const int e = (i - {begin}) / {_WARP}, lane = i % {_WARP};"]
        elif self._segment.threads != size:
            lines.append(f"if (e >= {size}) return;")
        values = [self._whole(output.value) for output in self._segment.outputs]
        body = self._scopes[0].lines
        for k, term in enumerate(self._own):
            if any(re.search(rf"\b{term.text}\b", line) for line in body) and term is not ZERO:
                lines.append(f"const int {term.text} = {_coordinate('e', k, self._segment.shape)};")
        lines += body
        guard = "if (lane == 0) " if self._segment.by_warp else ""
        for output, value in zip(self._segment.outputs, values, strict=True):
            name = self._places.name(output.place, write=True)
            lines.append(f"{guard}{name}[e] = {value.text};")
        return "".join(f"    {line}\n" for line in lines)

    def _whole(self, node: Node) -> Term:
        return self._shared(node) if self._segment.by_warp else self.value(node, self._own)

    def value(self, node: Node, index: tuple[Term, ...]) -> Term:
        """The element of `node` at an index, computed once for all that want it."""
        key = node, tuple([term.text for term in index])
        for scope in self._scopes:
            if key in scope.known:
                return scope.known[key]
        term = self._made(node, index)
        self._scopes[term.depth].known[key] = term
        return term

    def _made(self, node: Node, index: tuple[Term, ...]) -> Term:
        if node.value is not None and (node.fill is not None or node.value.size == 1):
            return Term(literal(node.value.flat[0], node.layout.dtype), 0)
        if self._places.is_stored(node):
            return self._loaded(node, index)
        if is_view(node):
            return self._viewed(node, index)
        if node.name == "take":
            return self.value(node.args[0], (self._row(node, index[0]), *index[1:]))
        if node.name == "one_hot":
            label = self.value(node.args[0], index[:-1])
            return self._emit(node, f"{label.text} == {index[-1].text}", max(label.depth, index[-1].depth))
        if reduction_of(node) is not None:
            return self._reduced(node, index)
        depths = [0]

        def operand(arg: object, dtype: np.dtype) -> str:
            if not isinstance(arg, Node):
                return literal(arg, dtype)
            term = self.value(arg, _broadcast(index, arg.layout.shape))
            depths.append(term.depth)
            return term.text if arg.layout.dtype == dtype else f"({C_TYPES[dtype.name]}){term.text}"

        text = expression(node, operand)
        return self._emit(node, text, max(depths))

    def _row(self, take: Node, index: Term) -> Term:
        """Which row is taken; those of an order are never negative."""
        rows, source = take.args[1], take.args[1]
        while is_view(source):
            source = source.args[0]
        row = self.value(rows, (index,))
        if self._places.is_batched(source) or rows.layout.dtype.kind == "u":
            return row
        text = f"{row.text} < 0 ? {row.text} + {take.args[0].layout.shape[0]} : {row.text}"
        return self._variable("long long", text, row.depth)

    def _emit(self, node: Node, text: str, depth: int) -> Term:
        return self._variable(C_TYPES[node.layout.dtype.name], text, depth)

    def _variable(self, kind: str, text: str, depth: int) -> Term:
        self._names += 1
        self._scopes[depth].lines.append(f"const {kind} v{self._names} = {text};")
        return Term(f"v{self._names}", depth)

    def _loaded(self, node: Node, index: tuple[Term, ...]) -> Term:
        shape = node.layout.shape
        own = shape == self._segment.shape and index == self._own and node.name != "column"
        self.reads.append((node, own))
        strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
        if node.name == "column":  # which lies as the user has it
            strides = [stride // node.layout.dtype.itemsize for stride in node.layout.strides]
        wide = sum(size * stride for size, stride in zip(shape, strides, strict=True)) >= 2**31
        parts = [
            f"{'(long long)' if wide else ''}{term.text}{'' if stride == 1 else f' * {stride}'}"
            for term, stride in zip(index, strides, strict=True)
            if term is not ZERO
        ]
        place = "e" if own else " + ".join(parts) or "0"
        return self._emit(node, f"{self._places.name(node)}[{place}]", max([0, *[term.depth for term in index]]))

    def _viewed(self, node: Node, index: tuple[Term, ...]) -> Term:
        source, view = node.args[0], view_map(node)
        shape = source.layout.shape
        axes = axes_of(view, node.layout.shape, shape)
        if axes is not None:
            return self.value(source, tuple([self._index(start, steps, index) for start, steps in axes]))
        flat = self._index(view.offset, dict(enumerate(view.strides)), index)
        found = [
            ZERO if size == 1 else self._variable("int", _coordinate(flat.text, k, shape), flat.depth)
            for k, size in enumerate(shape)
        ]
        return self.value(source, tuple(found))

    def _index(self, start: int, steps: dict[int, int], index: tuple[Term, ...]) -> Term:
        """``start + sum(index * steps)``."""
        terms = [(index[k], step) for k, step in steps.items() if index[k] is not ZERO and step]
        if not terms:
            return Term(str(start), 0) if start else ZERO
        if len(terms) == 1 and start == 0 and terms[0][1] == 1:
            return terms[0][0]
        text = " + ".join([*([str(start)] if start else []), *[f"{term.text} * {step}" for term, step in terms]])
        return self._variable("int", text, max(term.depth for term, _ in terms))

    def _reduced(self, node: Node, index: tuple[Term, ...]) -> Term:
        """A loop in which a thread reduces alone."""
        reduction = reduction_of(node)
        assert reduction is not None
        depth = max([0, *[term.depth for term in index]])
        inner, self._scopes = self._scopes[depth + 1 :], self._scopes[: depth + 1]  # this comes before them
        kept = iter([term for k, term in enumerate(index) if not (reduction.keepdims and k in reduction.axes)])
        total = self._total(node, depth)
        places, loops = [], 0
        for k, size in enumerate(reduction.shape):
            if k in reduction.axes and size > 1:
                loops += 1
                self._names += 1
                name = f"k{self._names}"
                self._scopes.append(_Scope(f"for (int {name} = 0; {name} < {size}; ++{name}) {{"))
                places.append(Term(name, depth + loops))
            else:
                places.append(ZERO if k in reduction.axes else next(kept))
        self._add(node, total, tuple(places))
        for _ in range(loops):
            self._close()
        self._scopes.extend(inner)
        return self._emit(node, finished(node, total, reduction.length), depth)

    def _shared(self, node: Node) -> Term:
        """A loop in which the lanes of a warp reduce by_warp."""
        reduction = reduction_of(node)
        assert reduction is not None
        total = self._total(node, 0)
        lines = self._scopes[0].lines
        self._scopes.append(_Scope(f"for (int k = lane; k < {reduction.length}; k += {_WARP}) {{"))
        kept = iter([term for k, term in enumerate(self._own) if not (reduction.keepdims and k in reduction.axes)])
        places, reduced = [], tuple([reduction.shape[k] for k in reduction.axes])
        for k, size in enumerate(reduction.shape):
            if k not in reduction.axes:
                places.append(next(kept))
            elif size == 1:
                places.append(ZERO)
            else:
                text = _coordinate("k", reduction.axes.index(k), reduced)
                places.append(self._variable("int", text, 1))
        self._add(node, total, tuple(places))
        self._close()
        for distance in (16, 8, 4, 2, 1):
            other = self._emit(node, f"__shfl_xor_sync(0xffffffffu, {total}, {distance})", 0)
            lines.append(f"{total} = {joined(node, total, other.text)};")
        return self._emit(node, finished(node, total, reduction.length), 0)

    def _total(self, node: Node, depth: int) -> str:
        self._names += 1
        self._scopes[depth].lines.append(f"{C_TYPES[node.layout.dtype.name]} t{self._names} = {start_of(node)};")
        return f"t{self._names}"

    def _add(self, node: Node, total: str, index: tuple[Term, ...]) -> None:
        """In the innermost loop: the element at `index`, or the product of two, added to the total."""
        reduction = reduction_of(node)
        assert reduction is not None
        dtype, depth = node.layout.dtype, len(self._scopes) - 1
        parts = []
        for factor in reduction.factors:
            text = self.value(factor, index).text
            parts.append(text if factor.layout.dtype == dtype else f"({C_TYPES[dtype.name]}){text}")
        value = parts[0] if len(parts) == 1 else self._emit(node, " * ".join(parts), depth).text
        self._scopes[depth].lines.append(f"{total} = {joined(node, total, value)};")

    def _close(self) -> None:
        scope = self._scopes.pop()
        self._scopes[-1].lines.extend([scope.head, *[f"  {line}" for line in scope.lines], "}"])


def _coordinate(place: str, axis: int, shape: tuple[int, ...]) -> str:
    """The index along an axis, of a place in C order."""
    stride = math.prod(shape[axis + 1 :])
    text = place if stride == 1 else f"{place} / {stride}"
    return text if math.prod(shape[:axis]) == 1 else f"{text} % {shape[axis]}"


def _broadcast(index: tuple[Term, ...], shape: tuple[int, ...]) -> tuple[Term, ...]:
    """The index of an argument of an elementwise call, from that of the result."""
    last = index[len(index) - len(shape) :]
    return tuple([ZERO if size == 1 else term for term, size in zip(last, shape, strict=True)])
