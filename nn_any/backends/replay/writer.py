"""Where the arrays of a recorded step lie, and the loop of calls on them.

What one step hands to the next lies in arrays of its own and is changed in place; the rest share memory as soon as one
is no longer wanted.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

import nn_any.backends.replay.lowering_windows  # noqa: F401 - its forms
from nn_any.backends.replay.batching import Plan, Recording, users_of
from nn_any.backends.replay.biases import SpreadBiases
from nn_any.backends.replay.buffers import Pool, aligned_like
from nn_any.backends.replay.emitter import Column, Emitter, Kernels, Local, NotStaticError
from nn_any.backends.replay.joined import JoinedBiases
from nn_any.backends.replay.lowering import form_of, matmul, scalar
from nn_any.backends.replay.nodes import Layout, Node, leaves, map_leaves
from nn_any.backends.replay.siblings import Siblings

_END = 10**9  # later than every call of a step


class Writer:
    """Lays out the arrays of a step, and writes the loop."""

    def __init__(self, notes: Recording, plan: Plan, kernels: Kernels, pool: Pool, *, small: bool) -> None:
        self._emit = Emitter(kernels, pool)
        self._users = users_of(plan.body)
        self._joined = JoinedBiases(notes, plan, self._users if kernels.biases_joined and not small else {})
        self._whole: dict[Node, np.ndarray] = {}
        self._body = [node for node in plan.body if node not in self._joined.left_out]
        columns = {node: Column(f"column{i}") for i, node in enumerate(notes.columns)}
        self._places: dict[Node, Any] = {plan.rows: Local("rows"), **columns, **self._joined.left_out}
        self._memory: dict[Node, list[np.ndarray]] = {}
        self._biases = SpreadBiases(notes, plan, self._users if small else {})
        elsewhere = {*plan.handed_out, *notes.new_state}
        self._siblings = Siblings(plan.body if small else [], self._users, self._biases, elsewhere)
        special = self._biases.arrays | self._joined.arrays
        state = [
            special[node] if node in special else aligned_like(Layout.contiguous(node.layout.shape, node.layout.dtype))
            for node in notes.state
        ]
        pairs = zip(notes.state, state, strict=True)
        self.state = [np.moveaxis(array, -1, 0) if node in self._biases.arrays else array for node, array in pairs]
        self._targets = self._state_targets(notes, state)
        self._last = self._last_uses(notes)
        self._made = {node: position for position, node in enumerate(self._body)}
        self.handed_in = {n: self._many(n, plan.chunk) for n in plan.handed_in}
        self.handed_out = {n: self._many(n, plan.chunk) for n in plan.handed_out}
        given = {n: Local(f"h{i}") for i, n in enumerate(plan.handed_in)}
        self._slots = {n: Local(f"t{i}") for i, n in enumerate(plan.handed_out)}
        for old, new, array in zip(notes.state, notes.new_state, state, strict=True):
            self._places[old] = array
            if old in plan.counters:
                self._places[new] = array
        for node, slot in given.items():
            self._hand_in(node, slot)
        for position, node in enumerate(self._body):
            self._write(node, position)
        self._update(notes, state)
        slots = [slot.name for slot in (*given.values(), *self._slots.values())]
        self._arguments = [column.name for column in columns.values()], ["rows", *slots]

    def loop(self) -> Callable[..., None]:
        """The function that runs steps on columns of the data, and on lists of what each finds and leaves."""
        return self._emit.loop(*self._arguments)

    def _state_targets(self, notes: Recording, state: list[np.ndarray]) -> dict[Node, tuple[Node, np.ndarray]]:
        """Which new values may be written where the old ones lie: each has one place, and a place of its own."""
        targets: dict[Node, tuple[Node, np.ndarray]] = {}
        for old, new, array in zip(notes.state, notes.new_state, state, strict=True):
            if new.source is None and new.name not in ("input", "column", "constant") and new not in targets:
                targets[new] = (old, array)
        return targets

    def _last_uses(self, notes: Recording) -> dict[Node, int]:
        """The position of the last call that reads each array, or a view of it."""
        last: dict[Node, int] = {}
        for position, node in enumerate(self._body):
            for i in node.inputs():
                last[i.root] = position
        for old, new in zip(notes.state, notes.new_state, strict=True):
            if new is not old:
                last[new.root] = _END
        return last

    def _many(self, node: Node, chunk: int) -> np.ndarray:
        """An array for a chunk of steps, flipped if elementwise work meets flipped arrays there."""
        layout = node.layout
        for user in self._users.get(node, []):
            if user.ufunc and user.layout.shape == layout.shape:
                layout = user.layout._replace(dtype=layout.dtype)
        return aligned_like(Layout((chunk, *layout.shape), layout.dtype, (layout.nbytes, *layout.strides)))

    def _hand_in(self, node: Node, slot: Local) -> None:
        """A value from the head: where it lies, or a copy where one place is wanted for all steps."""
        self._places[node] = slot
        users = self._users.get(node, [])
        if not all(user.ufunc or user.name == "take" for user in users) or node in self._targets:
            self._places[node] = aligned_like(node.layout)
            self._emit(np.copyto, self._places[node], slot)

    def _write(self, node: Node, position: int) -> None:
        args, kwargs = (map_leaves(self._place, tree) for tree in (node.args, node.kwargs))
        if node.name == "part":
            results, i = args
            fixed = isinstance(results, tuple)
            self._places[node] = results[i] if fixed else self._emit.assign(operator.getitem, args, {})
        elif node.source is not None and not any(isinstance(leaf, Local) for leaf in leaves((args, kwargs))):
            self._places[node] = node.function(*args, **kwargs)
            if not np.may_share_memory(self._places[node], self._places[node.source]):
                raise AssertionError(f"{node.name}: expected a view, got a copy")
        else:
            self._call(node, args, kwargs, position)
        if node in self._joined.inputs:
            self._add_ones(node)
        if node in self._slots and self._places[node] is not self._slots[node]:
            self._emit(np.copyto, self._slots[node], self._places[node])
        self._emit.release()
        for i in {n.root for n in (node, *node.inputs())}:
            if self._last.get(i, position) <= position:
                for memory in self._memory.pop(i, []):
                    self._emit.pool.give_back(memory)

    def _place(self, leaf: Any) -> Any:
        if not isinstance(leaf, Node):
            return leaf
        return leaf.value if leaf.value is not None else self._places[leaf]

    def _call(self, node: Node, args: Any, kwargs: Any, position: int) -> None:
        if node in self._siblings.waiting or node in self._siblings.calls:
            self._places[node] = self._siblings.places[node]
            if node in self._siblings.calls:
                self._siblings.calls[node](self._emit)
            return
        if node in self._biases.totals:
            self._places[node] = self._sums(node, args[0])
            return
        if node in self._joined.calls:
            self._product_with_biases(node, args, position)
            return
        form = form_of(node, self._emit.kernels)
        if form is not None and node.source is None:
            written = len(self._emit.lines)
            out = self._output(node, position, overwrites=form.overwrites)
            try:
                form.emit(self._emit, out, *args, **kwargs)
                self._places[node] = out
                return
            except NotStaticError:
                del self._emit.lines[written:]
        unrepeated = [self._biases.unrepeated(arg, place) for arg, place in zip(node.args, args, strict=True)]
        self._places[node] = self._emit.assign(node.function, unrepeated, kwargs)
        if node in self._siblings.places:
            self._emit(np.copyto, self._siblings.places[node], self._places[node])
            self._places[node] = self._siblings.places[node]

    def _sums(self, node: Node, delta: Any) -> np.ndarray:
        """Write the sums of errors by which biases that are kept for each example change."""
        errors = node.args[0].layout
        sums, memory = self._emit.pool.take(self._biases.layout(errors))
        self._memory[node] = [memory]
        if isinstance(delta, Local):
            copied, room = self._emit.pool.take(errors)
            self._emit(np.copyto, copied, delta)
            self._memory[node].append(room)
            delta = copied
        self._biases.add_up(self._emit, sums, delta)
        return sums

    def _product_with_biases(self, node: Node, args: Any, position: int) -> None:
        """Write an affine function or a descent where the biases are a column of the weights."""
        inputs, array, weights, scale = self._joined.calls[node]
        if node.name == "affine":
            self._places[node] = self._output(node, position, overwrites=False)
            matmul(self._emit, self._places[node], self._whole[inputs], array.mT, scale=scale)
            return
        delta = args[1]
        if isinstance(delta, Local) or min(delta.strides) < 0:  # of which products would make a copy themselves
            delta = self._emit.scratch(node.args[1].layout.shape, array.dtype)
            self._emit(np.copyto, delta, args[1])
        kernels, biases = self._emit.kernels, array[:, -1]
        if not kernels.added(self._emit, weights, -scale, delta.mT, self._whole[inputs][:, :-1], 1.0):
            raise AssertionError("expected kernels that join biases to add a product to any matrix")
        sums = self._emit.scratch(biases.shape, biases.dtype)
        kernels.sums(self._emit, sums, delta.mT)
        self._emit(np.subtract, biases, sums, biases)
        self._places[node] = weights

    def _add_ones(self, node: Node) -> None:
        """Write the column of ones behind inputs; another array in each step is copied in front of it."""
        if isinstance(found := self._places[node], Local):
            self._places[node] = self._whole[node][:, :-1] if node in self._whole else self._with_room(node)
            self._emit(np.copyto, self._places[node], found)
        self._emit(np.copyto, self._whole[node][:, -1], scalar(self._joined.inputs[node], node.layout.dtype))

    def _with_room(self, node: Node) -> np.ndarray:
        """An array for inputs, in front of room for a column of ones."""
        width = node.layout.shape[1]
        array, memory = self._emit.pool.take(JoinedBiases.layout(node.layout))
        self._memory[node] = [memory]
        self._whole[node] = array[:, : width + 1]
        return array[:, :width]

    def _output(self, node: Node, position: int, *, overwrites: bool) -> Any:
        """Where the result of a call shall lie; several results in as many arrays."""
        if node.several:
            taken = [self._emit.pool.take(layout) for layout in node.layouts]
            self._memory[node] = [memory for _, memory in taken]
            return tuple([array for array, _ in taken])
        if node in self._siblings.places:
            return self._siblings.places[node]
        if node in self._slots and all(call.ufunc for call in (node, *self._users.get(node, []))):
            return self._slots[node]

        def alone(i: Node) -> bool:
            """Whether nothing else that the call reads lies there: only ufuncs see to that themselves."""
            return bool(node.ufunc) or [other.root for other in node.inputs()].count(i.root) < 2

        if node in self._targets and alone(self._targets[node][0]):
            old, array = self._targets[node]
            free = self._last.get(old, -1) < position + (1 if overwrites else 0)
            if free and (array.strides == node.layout.strides or old in self._biases.arrays):
                return array
        if overwrites:  # the array that was written last: it is in the cache of whoever goes on
            for i in sorted(node.inputs(), key=lambda i: self._made.get(i, -1), reverse=True):
                dying = self._last.get(i.root) == position and i.root in self._memory
                if dying and i.source is None and i.layout == node.layout and alone(i):
                    if node in self._joined.roomy and i not in self._whole:
                        continue
                    self._memory[node] = self._memory.pop(i)
                    if i in self._whole:
                        self._whole[node] = self._whole.pop(i)
                    return self._places[i]
        if node in self._joined.roomy:
            return self._with_room(node)
        array, memory = self._emit.pool.take(node.layout)
        self._memory[node] = [memory]
        return array

    def _update(self, notes: Recording, state: list[np.ndarray]) -> None:
        """Copy the new values that could not be written in place to where the next step finds them."""
        moved = []
        for old, new, array in zip(notes.state, notes.new_state, state, strict=True):
            value = self._place(new)
            if new is old or value is array:
                continue
            if new.root in notes.state:  # what shows another part of the state is saved before that changes
                kept = np.empty_like(array)
                self._emit(np.copyto, kept, value)
                value = kept
            moved.append((array, value))
        for array, value in moved:
            self._emit(np.copyto, array, value)
