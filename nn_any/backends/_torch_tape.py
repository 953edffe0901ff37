"""Fewer kernels for the same step: its operations are recorded once, and called again without what can be saved.

A GPU takes some microseconds to start a kernel, however little it does. What a recorded step computes twice it computes
once, what does not depend on its arguments is kept, what nobody reads is left out, and casts are part of the operation
before or behind them. Equal elementwise operations that do not wait for each other, such as those of an optimizer on
each parameter, become one ``torch._foreach_`` call. The numbers stay the same.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nn_any.backends.replay.recorded import UnrecordableError
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array, Batch


def _operation(name: str, overload: str = "Tensor") -> Any:
    """An operation as a dispatcher sees it."""
    return getattr(getattr(torch.ops.aten, name), overload)


def foreach(name: str) -> Callable[..., Any]:
    """The function that does with lists of tensors what `name` does with tensors."""
    function: Callable[..., Any] = getattr(torch, f"_foreach_{name}")
    return function


_ONE = {_operation(name, "default"): foreach(name) for name in ("sqrt", "neg", "abs", "exp")}
_TWO = {_operation(name): foreach(name) for name in ("mul", "add", "sub", "div")}
"""Elementwise operations of one argument and of two that PyTorch can do on many arrays at once."""
_PAIRS = "pairs of arrays"
_COMPARISONS = {_operation(name): getattr(torch, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_MUL, _DIV, _CAST = _operation("mul"), _operation("div"), _operation("_to_copy", "default")


@dataclass(frozen=True)
class _Slot:
    """The place of a tensor among those of the tape."""

    number: int


@dataclass
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    results: tuple[_Slot, ...]
    alike: Hashable = None
    """Equal for calls that can become one."""

    def reads(self) -> set[int]:
        return {slot.number for slot in _slots((self.arguments, tuple(self.options.values())))}


def _compare(function: Callable[..., Any], dtype: Any, a: Array, b: Array) -> Array:
    """1 where a comparison holds, 0 elsewhere, in a floating dtype."""
    out = torch.empty(torch.broadcast_shapes(a.shape, b.shape), dtype=dtype, device=a.device)
    return function(a, b, out=out)


def _slots(tree: Any) -> list[_Slot]:
    if isinstance(tree, tuple | list):
        return [slot for branch in tree for slot in _slots(branch)]
    return [tree] if isinstance(tree, _Slot) else []


def _replaced(tree: Any, kind: Any, function: Callable[[Any], Any]) -> Any:
    """Nested tuples and lists with `function` of each leaf of a kind in its place."""
    if isinstance(tree, tuple | list):
        return type(tree)([_replaced(branch, kind, function) for branch in tree])
    return function(tree) if isinstance(tree, kind) else tree


class _Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Writes down every operation on tensors, and calls it."""

    def __init__(self, inputs: Sequence[Array]) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.values: list[Any] = []
        self.varying: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._made: dict[int, _Call] = {}
        self._again: list[Any] = []
        self._known: dict[Hashable, tuple[_Slot, ...]] = {}
        self.inputs = [self._slot(tensor) for tensor in inputs]
        self.varying |= {slot.number for slot in self.inputs}

    def _slot(self, tensor: Array) -> _Slot:
        """The slot of a tensor; one that is not known is a constant."""
        number = self._numbers.get(id(tensor))
        if number is None:
            number = len(self.values)
            self.values.append(tensor)  # kept, so that no other tensor comes to have its id
            if tensor is not None:  # an operation leaves out results that were not asked for
                self._numbers[id(tensor)] = number
        return _Slot(number)

    def slots(self, tree: Any) -> Any:
        return _replaced(tree, torch.Tensor, self._slot)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments, options = self.slots(args), {name: self.slots(value) for name, value in (kwargs or {}).items()}
        if func._schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags:
            raise UnrecordableError(f"{func} writes, or draws")
        varies = any(s.number in self.varying for s in _slots((arguments, tuple(options.values()))))
        result = func(*args, **(kwargs or {}))
        several = result if isinstance(result, tuple | list) else (result,)
        if not all(each is None or isinstance(each, torch.Tensor) for each in several):
            raise UnrecordableError(f"{func} reads a value")
        if any(id(each) in self._numbers for each in several):  # an operation that had nothing to do
            return result
        key = repr((func, arguments, options))
        if known := self._known.get(key):
            self._again.append(several)
            pairs = [(each, slot) for each, slot in zip(several, known, strict=True) if each is not None]
            self._numbers |= {id(each): slot.number for each, slot in pairs}
            return result
        slots = self._known[key] = tuple([self._slot(each) for each in several])
        if varies:
            self.varying |= {slot.number for slot in slots}
            self.calls.append(call := self._call(func, arguments, options, slots))
            self._made |= {slot.number: call for slot in slots}
        return result

    def _call(self, func: Any, arguments: tuple[Any, ...], options: dict[str, Any], slots: tuple[_Slot, ...]) -> _Call:
        """The call, in the form in which most others are like it."""
        values = [self.values[each.number] if isinstance(each, _Slot) else each for each in arguments]
        if func is _MUL and isinstance(values[1], torch.Tensor) and values[0].ndim == 0:
            arguments, values = arguments[::-1], values[::-1]
        result = self.values[slots[0].number]
        if func is _DIV and not isinstance(values[1], torch.Tensor):
            cast = self._cast(arguments[0])
            if cast and not self.values[cast.number].is_floating_point() and result.dtype == torch.get_default_dtype():
                return _Call(func, (cast, *arguments[1:]), options, slots)
        if func is _CAST and {*options} == {"dtype"}:
            compared = self._made.get(arguments[0].number)
            if compared and compared.function in _COMPARISONS and result.is_floating_point():
                return _Call(
                    _compare, (_COMPARISONS[compared.function], options["dtype"], *compared.arguments), {}, slots
                )
        return _Call(func, arguments, options, slots, None if options else self._alike(func, values, result))

    def _cast(self, slot: _Slot) -> _Slot | None:
        """What a slot was cast from, if it was."""
        call = self._made.get(slot.number)
        if call is None or call.function is not _CAST or {*call.options} != {"dtype"}:
            return None
        source: _Slot = call.arguments[0]
        return source

    def _alike(self, func: Any, values: Sequence[Any], result: Array) -> Hashable:
        first, *rest = values
        if func not in _ONE and func not in _TWO:
            return None
        if first.shape != result.shape or first.dtype != result.dtype or not first.is_contiguous():
            return None
        if not rest or not isinstance(rest[0], torch.Tensor):
            return func, first.dtype, *rest
        other = rest[0]
        if other.dtype != first.dtype or first.ndim == 0:
            return None
        if other.ndim == 0 and func in (_MUL, _DIV):
            return func, first.dtype, self._slot(other)
        return (func, first.dtype, _PAIRS) if other.shape == first.shape and other.is_contiguous() else None


def shortened(step: Step, state: TrainState, batch: Batch, rate: Array) -> Step:
    """The step for arguments of these shapes, dtypes and strides, in fewer operations.

    Raises
    ------
    UnrecordableError
        If the step reads a value, writes into a tensor, or draws numbers.
    """
    arguments = state, batch, rate
    given = [leaf.view_as(leaf) for leaf in tree_leaves(arguments)]  # an array may stand in two places
    recorder = _Recorder(given)
    remaining = iter(given)
    with recorder:
        results = step(*tree_map(lambda _: next(remaining), arguments))
    outputs = [recorder.slots(leaf) for leaf in tree_leaves(results)]
    calls = _grouped(_needed(recorder.calls, {slot.number for slot in outputs}))
    inputs = [slot.number for slot in recorder.inputs]
    constants = [None if i in recorder.varying else value for i, value in enumerate(recorder.values)]
    shape, kept = tree_map(lambda _: 0, results), {slot.number for slot in outputs}
    used = [{*call.reads(), *[slot.number for slot in call.results]} - kept for call in calls]
    last = {number: k for k, numbers in enumerate(used) for number in numbers}
    done_with = [[number for number in numbers if last[number] == k] for k, numbers in enumerate(used)]

    def short(*arguments: Any) -> tuple[TrainState, Array]:
        values = list(constants)
        for number, leaf in zip(inputs, tree_leaves(arguments), strict=True):
            values[number] = leaf

        def fetch(slot: _Slot) -> Any:
            return values[slot.number]

        for call, done in zip(calls, done_with, strict=True):
            options = {name: _replaced(value, _Slot, fetch) for name, value in call.options.items()}
            result = call.function(*_replaced(call.arguments, _Slot, fetch), **options)
            for slot, each in zip(call.results, result if isinstance(result, tuple | list) else (result,), strict=True):
                values[slot.number] = each
            for number in done:  # its memory may serve again
                values[number] = None
        leaves = iter([values[slot.number] for slot in outputs])
        outcome: tuple[TrainState, Array] = tree_map(lambda _: next(leaves), shape)
        return outcome

    return short


def _needed(calls: list[_Call], wanted: set[int]) -> list[_Call]:
    """The calls whose results are read."""
    kept = []
    for call in reversed(calls):
        if any(slot.number in wanted for slot in call.results):
            wanted |= call.reads()
            kept.append(call)
    return kept[::-1]


def _grouped(calls: list[_Call]) -> list[_Call]:
    """The calls in another order, in which those that are alike and do not wait for each other are one."""
    made = {slot.number for call in calls for slot in call.results}
    reads = [call.reads() & made for call in calls]
    waiting, ready, order = list(range(len(calls))), set[int](), []
    while waiting:
        free = [i for i in waiting if reads[i] <= ready]
        now = [i for i in free if calls[i].alike is None][:1]
        if not now:  # only what may be joined is left: the kind with most calls
            kinds: dict[Hashable, list[int]] = {}
            for i in free:
                kinds.setdefault(calls[i].alike, []).append(i)
            now = max(kinds.values(), key=len)
        order.append(_joined([calls[i] for i in now]))
        ready |= {slot.number for i in now for slot in calls[i].results}
        waiting = [i for i in waiting if i not in now]
    return order


def _joined(calls: list[_Call]) -> _Call:
    if len(calls) == 1:
        return calls[0]
    first, results = calls[0], tuple([slot for call in calls for slot in call.results])
    lists: tuple[Any, ...] = ([call.arguments[0] for call in calls],)
    if first.function in _ONE:
        return _Call(_ONE[first.function], lists, {}, results)
    pairs = isinstance(first.alike, tuple) and first.alike[2] is _PAIRS
    second = [call.arguments[1] for call in calls] if pairs else first.arguments[1]
    return _Call(_TWO[first.function], (*lists, second), {}, results)
