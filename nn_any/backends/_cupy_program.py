"""A training step, compiled by `nn_any.backends.cuda.fusion` and launched with CuPy."""

import operator
from collections.abc import Callable
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from nn_any.backends._cupy_kernels import REPLACEMENTS
from nn_any.backends.cuda.fusion import OPTIONS, THREADS, WHOLE, Kernel, Plan, record_for_cuda
from nn_any.backends.replay.nodes import Node, map_leaves
from nn_any.backends.replay.recorded import with_item
from nn_any.core import primitives
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch


class StepProgram:
    """One step's kernels and calls, for arrays that stay where they are.

    Parameters
    ----------
    step : as `Engine.run` has it
    state, order, rates : what each step finds, contiguous; the state is overwritten by what it leaves
    data : the columns, with any strides that are not negative

    Attributes
    ----------
    losses : array, (steps,) or (steps, m)
        Each step writes its own.
    """

    def __init__(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array) -> None:
        data = tuple([c if min((*c.strides, 0)) >= 0 else cupy.ascontiguousarray(c) for c in data])
        notes = record_for_cuda(step, state, data, order, rates)
        for old, new in zip(notes.state, notes.new_state, strict=True):
            if (old.layout.shape, old.layout.dtype) != (new.layout.shape, new.layout.dtype):
                was, now = (f"{n.layout.dtype} {n.layout.shape}" for n in (old, new))
                raise TypeError(f"a step turns {was} of its state into {now}")
        self._plan = Plan(notes)
        module = cupy.RawModule(code=self._plan.source, options=OPTIONS)
        self._functions = {w.name: module.get_function(w.name) for w in self._plan.work if isinstance(w, Kernel)}
        loss = self._plan.losses.layout
        self.losses = cupy.empty((order.shape[0], *loss.shape), loss.dtype)
        self._fixed: dict[Node, Array] = {
            **dict(zip(notes.state, tree_leaves(state), strict=True)),
            **dict(zip(notes.columns, data, strict=True)),
            **{node: cupy.asarray(np.ascontiguousarray(node.value)) for node in self._plan.constants},
            notes.rows: order,
            notes.rate: rates,
            self._plan.losses: self.losses,
        }

    def launch(self, at: Array, ahead: int) -> None:
        """Step number ``at[0] + ahead``, in the current stream. `at` is an array (1,), int64, on the device."""
        arrays = dict(self._fixed)
        for work, done_with in zip(self._plan.work, self._plan.done_with, strict=True):
            if isinstance(work, Kernel):
                for node in work.made:
                    arrays[node] = cupy.empty(node.layout.shape, node.layout.dtype)
                arguments = [arrays[node] for node in work.pointers]
                if work.counts:
                    arguments += [at, np.int32(ahead)]
                self._functions[work.name]((work.blocks,), (THREADS,), tuple(arguments))
            else:
                made = _made(work, arrays)
                if work.source is not None and work.root.name == "input":  # which may be overwritten before it is read
                    made = cupy.array(made, copy=True)
                arrays[work] = made if work.several else cupy.ascontiguousarray(made)
            for node in done_with:
                del arrays[node]


def _made(node: Node, arrays: dict[Node, Array]) -> Any:
    """What a call returns, or what a view of an array in memory shows."""
    if node in arrays:
        return arrays[node]

    def value(leaf: Any) -> Any:
        return _made(leaf, arrays) if isinstance(leaf, Node) else leaf

    args, kwargs = map_leaves(value, node.args), map_leaves(value, node.kwargs)
    if node.name in (*WHOLE, "matmul"):  # the other names are the standard's, whose arguments differ
        function = REPLACEMENTS.get(node.name) or primitives.definition(node.name)
        return function(*args, xp=xp, **kwargs)
    return (_FUNCTIONS.get(node.name) or getattr(xp, node.name))(*args, **kwargs)


def _vecdot(a: Array, b: Array, *, axis: int = -1) -> Array:
    """The standard's; CuPy's own goes to cuBLAS by a way that no graph takes."""
    return cupy.sum(a * b, axis=axis)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "setitem": with_item,
    "mT": operator.attrgetter("mT"),
    "part": operator.getitem,
    "vecdot": _vecdot,
}
