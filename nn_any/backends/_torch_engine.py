"""How PyTorch runs an epoch of steps: one by one, compiled by Inductor, or captured in a CUDA graph.

On a CPU a compile takes ten seconds or more, which only long runs pay back, and which a run should not begin or leave
out by the clock, lest its rounding differ: ``"compiled"`` asks for it. ``"auto"`` is `_torch_replay`, which leaves
images to the plain loop here. On a CUDA GPU ``"auto"`` captures the steps as they are, within a second, and
``"compiled"`` the compiled ones.

Reference: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from nn_any.backends._torch_scope import PlainTorch
from nn_any.backends._torch_tape import foreach, shortened
from nn_any.backends.cuda.precision import device_math
from nn_any.backends.engine import Engine, fall_back, logger, one_line, take_rows
from nn_any.backends.in_place import apart, changes
from nn_any.backends.programs import ProgramCache
from nn_any.backends.replay.recorded import UnrecordableError
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array, Batch

_WARM_UP = 3
"""How often a step runs before it is captured: PyTorch's own examples take three."""
_STEPS_A_LAUNCH = 16

T = TypeVar("T")
_rows = SimpleNamespace(take=lambda x, rows, axis: torch.index_select(x, axis, rows), reshape=torch.reshape)
"""Bare functions for `take_rows`: array-api-compat's `take` does without negative indices in three more operations."""


class TorchEngine(Engine):
    """The plain loop, in which autograd records nothing: gradients are ours."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def scope(self) -> AbstractContextManager[Any]:
        return PlainTorch(self._device)

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        losses, given = [], state
        with self.scope():
            for rows, rate in zip(order[start:stop].unbind(), rates[start:stop].unbind(), strict=True):
                state, loss = step(state, take_rows(data, rows, _rows), rate)
                losses.append(loss)
            return apart(state, given, _memory, torch.clone), torch.stack(losses)


class CompiledEngine(TorchEngine):
    """The loop over a step that Inductor has compiled, once per shape; the plain loop where that fails.

    The step is recorded on tensors without values, so what would read one, or leave PyTorch, is found out. The reason
    for a failure is logged; in the mode ``"compiled"`` it is an `EngineError`. `programs` are the compiled steps of all
    networks: they have no buffers.
    """

    name = "torch.compile"

    def __init__(self, mode: str, programs: ProgramCache, device: str = "cpu") -> None:
        super().__init__(device)
        self._mode, self.programs = mode, programs

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        if self.name != Engine.name:
            try:
                with self.scope():
                    own = tree_map(lambda leaf: leaf.contiguous(), state)
                    return self._run(step, own, data, order, rates, start, stop)
            except _UnavailableError as error:
                fall_back(self, self._mode, str(error))
        return super().run(step, state, data, order, rates, start, stop)

    def _run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        compiled = self._compiled(step, (state, take_rows(data, order[start], _rows), rates[start]))
        return super().run(compiled, state, data, order, rates, start, stop)

    def _compiled(self, step: Step, arguments: tuple[TrainState, Batch, Array]) -> Step:
        def make() -> Step:
            with _COMPILING:
                return self._timed(lambda: _compile(step, arguments))

        return self.programs.get_or_make((step, tree_map(_description, arguments), device_math(self._device)), make)

    def _timed(self, make: Callable[[], T]) -> T:
        """What `make` makes, its seconds counted; any failure of it is one that the plain loop gets around."""
        began = time.perf_counter()
        try:
            made = make()
        except Exception as error:  # if the step itself is wrong, the plain loop will tell better
            raise _UnavailableError(one_line(error)) from error
        self.compile_seconds += time.perf_counter() - began
        return made


class GraphEngine(CompiledEngine):
    """Steps captured in a CUDA graph, replayed without the host; the plain loop where that fails.

    A graph holds on to the columns it was captured with, and to buffers of its own for all else, so each engine keeps
    its own graphs: one for the full batches of an epoch and one for a short last one.
    """

    name = "torch.cuda.graph"

    def __init__(self, mode: str, programs: ProgramCache, device: str) -> None:
        super().__init__(mode, programs, device)
        self._graphs = ProgramCache(None)
        self._fed: dict[Any, Batch] = {}

    def feed(self, data: Batch) -> Batch:
        """Copy the chunk to where the first one of its shape lies: a graph reads the columns it was captured with."""
        place = self._fed.setdefault(tree_map(_description, data), data)
        if place is not data:
            with self.scope():
                tree_map(torch.Tensor.copy_, place, data)
        return place

    def _run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        key = step, tree_map(_description, (state, data, order, rates)), tuple([column.data_ptr() for column in data])
        with torch.cuda.device(self._device):
            graph = self._graphs.get_or_make(key, lambda: self._graph(step, state, data, order, rates, start))
            self._timed(lambda: graph.capture(stop - start))
            return graph.run(state, order, rates, start, stop)

    def _graph(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int) -> "_Graph":
        first = state, take_rows(data, order[start], _rows), rates[start]
        if self._mode == "compiled":
            step = self._compiled(step, first)
        else:
            try:
                step = shortened(step, *first)
            except UnrecordableError as reason:
                logger.info("the step is captured as it is, in many operations: %s", reason)
        return self._timed(lambda: _Graph(StaticSteps(step, state, data, order, rates)))


class StaticSteps:
    """Steps as CUDA graphs want them: `advance` reads and writes buffers that stay where they are.

    A counter on the device says which row of the order is due, so that every call is the same for the host. `state` is
    what the next step begins with.
    """

    def __init__(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array) -> None:
        self._step, self._data = step, data
        self.state: TrainState = tree_map(torch.clone, state)
        self._order, self._rates = order.clone(), rates.clone()
        self._losses = torch.zeros_like(rates)
        self._next = torch.arange(_STEPS_A_LAUNCH, dtype=torch.int64, device=order.device)

    def load(self, state: TrainState, order: Array, rates: Array, start: int) -> None:
        """Copy in what the next steps begin with."""
        tree_map(torch.Tensor.copy_, self.state, state)
        self._order.copy_(order)
        self._rates.copy_(rates)
        self.go_to(start)

    def go_to(self, step: int) -> None:
        """Let this step be the next one."""
        torch.arange(step, step + _STEPS_A_LAUNCH, out=self._next)

    def advance(self, steps: int = 1) -> None:
        """Some steps, at most as many as a launch has, and their outcome put back to where the next call finds it."""
        due = self._next[:steps]
        rows, rates = (torch.index_select(table, 0, due).unbind() for table in (self._order, self._rates))
        state, losses = self.state, []
        for i in range(steps):
            state, loss = self._step(state, take_rows(self._data, rows[i], _rows), rates[i])
            losses.append(loss)
        self._losses.index_copy_(0, due, torch.stack(losses) if steps > 1 else losses[0][None])
        self._next.add_(steps)
        by_dtype: dict[Any, list[tuple[Array, Array]]] = {}
        for own, new in changes(self.state, state, _memory, torch.clone):
            by_dtype.setdefault(own.dtype, []).append((own, new))
        for pairs in by_dtype.values():  # one kernel writes many arrays of a dtype
            foreach("copy_")(*map(list, zip(*pairs, strict=True)))

    def results(self, start: int, stop: int) -> tuple[TrainState, Array]:
        """Copies of the state and of the losses of the steps number `start` … `stop` - 1."""
        state: TrainState = tree_map(torch.clone, self.state)
        return state, self._losses[start:stop].clone()


class _Graph:
    """Steps, captured: one, and many at once. Memory pools, and all that they point into, live as long as this object.

    Copying the state back, and finding the rows that are due, cost once a launch.
    """

    def __init__(self, steps: StaticSteps) -> None:
        self._steps = steps
        self._stream = torch.cuda.Stream()
        self._captured: dict[int, Any] = {}

    def capture(self, steps: int) -> None:
        """Capture what so many steps want, unless it is there; this writes over the state."""
        for size in (1, _STEPS_A_LAUNCH):
            if size <= steps and size not in self._captured:
                self._captured[size] = self._capture(size)

    def run(self, state: TrainState, order: Array, rates: Array, start: int, stop: int) -> tuple[TrainState, Array]:
        """The steps number `start` … `stop` - 1, as `Engine.run` has them."""
        self._steps.load(state, order, rates, start)
        many, rest = divmod(stop - start, _STEPS_A_LAUNCH)
        for size in [_STEPS_A_LAUNCH] * many + [1] * rest:
            self._captured[size].replay()
        return self._steps.results(start, stop)

    def _capture(self, steps: int) -> Any:
        main, side = torch.cuda.current_stream(), self._stream
        side.wait_stream(main)
        with torch.cuda.stream(side):  # libraries allocate and choose kernels at first use, which no capture may do
            for _ in range(1 if self._captured else _WARM_UP):
                self._steps.go_to(0)
                self._steps.advance(steps)
        main.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):  # the default one is of one GPU
            self._steps.advance(steps)
        return graph


class _UnavailableError(Exception):
    """Why the fast path is not available."""


def _memory(tensor: Array) -> tuple[int, int]:
    """Where the storage of a tensor begins and ends."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def _description(tensor: Array) -> str:
    return f"{tuple(tensor.shape)} {tensor.stride()} {tensor.dtype} {tensor.device}"


_COMPILING = Lock()
"""Inductor compiles one step at a time; the blocks of an ensemble have threads of their own."""


def _compile(step: Step, arguments: tuple[TrainState, Batch, Array]) -> Step:
    """The step for arguments of these shapes: recorded as a graph of PyTorch's operations, which Inductor compiles.

    `torch.compile` would read the Python code instead, and cannot: it knows no dictionaries keyed by namespaces, in
    which the replacements of primitives are found.
    """
    structure: list[Any] = []

    def flat(*leaves: Array) -> list[Array]:
        results = step(*_filled(arguments, leaves))
        structure[:] = [results]
        return [leaf.contiguous() for leaf in tree_leaves(results)]

    inputs = list(tree_leaves(arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch uses parts of itself that it deprecates
        from torch._inductor import compile as inductor  # a second to import
        from torch.fx.experimental.proxy_tensor import make_fx

        graph = make_fx(flat, tracing_mode="fake")(*inputs)
        run = inductor(graph, inputs)
    shape = tree_map(lambda _: 0, structure[0])

    def compiled(*arguments: Any) -> tuple[TrainState, Array]:
        results: tuple[TrainState, Array] = _filled(shape, run(*tree_leaves(arguments)))
        return results

    return compiled


def _filled(tree: Any, leaves: Any) -> Any:
    """A tree like this one, of other leaves."""
    remaining = iter(leaves)
    return tree_map(lambda _: next(remaining), tree)
