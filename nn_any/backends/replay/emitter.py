"""The text of a replay loop: one call a line, the arrays that the calls name, and whose kernels they call."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nn_any.backends._numpy_sigmoid import expit, sigmoid
from nn_any.backends.replay.buffers import Pool
from nn_any.backends.replay.nodes import Layout


@dataclass(frozen=True)
class Local:
    """A variable of the loop that stands for another array in each step."""

    name: str


class Column(Local):
    """One that stands for the same array in all steps of a run: a column of the data."""


class NotStaticError(Exception):
    """A form that works on fixed arrays only was offered a `Local`."""


class Emitter:
    """Collects the calls of a loop's body: functions of the `kernels`, on arrays of the `pool`."""

    def __init__(self, kernels: "Kernels", pool: Pool) -> None:
        self.kernels, self.pool = kernels, pool
        self.lines: list[str] = []
        self._before: dict[str, Local] = {}
        self.names: dict[str, Any] = {}
        self._known: dict[int, str] = {}
        self._lent: list[np.ndarray] = []
        self._locals = 0

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Write a call whose result is in one of its arguments."""
        if function is np.copyto and not kwargs:  # an assignment does the same in less time
            self.lines.append(f"{self._text(args[0])}[...] = {self._text(args[1])}")
        else:
            self.lines.append(self._call(function, args, kwargs))

    def assign(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Local:
        """Write a call whose result is a new array in each step."""
        self._locals += 1
        made = Local(f"v{self._locals}")
        self.lines.append(f"{made.name} = {self._call(function, args, kwargs)}")
        return made

    def once(self, text: str) -> Local:
        """What an expression of the loop's arguments has for a value, which is taken before the first step."""
        return self._before.setdefault(text, Local(f"b{len(self._before)}"))

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array for the length of one call's form, until `release`."""
        array, memory = self.pool.take(Layout.contiguous(shape, dtype))
        self._lent.append(memory)
        return array

    def give_back(self) -> None:
        """Take back what `scratch` has given last."""
        self.pool.give_back(self._lent.pop())

    def release(self) -> None:
        """Take back all that `scratch` has given."""
        while self._lent:
            self.give_back()

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> str:
        given = [self._text(arg) for arg in args] + [f"{name}={self._text(arg)}" for name, arg in kwargs.items()]
        return f"{self._text(function)}({', '.join(given)})"

    def _text(self, thing: Any) -> str:
        if isinstance(thing, Local):
            return thing.name
        if isinstance(thing, tuple):
            return f"({''.join(self._text(part) + ', ' for part in thing)})"
        if isinstance(thing, list):
            return f"[{', '.join(self._text(part) for part in thing)}]"
        if thing is None or isinstance(thing, bool | str):
            return repr(thing)
        return self._name(thing)

    def _name(self, thing: Any) -> str:
        if id(thing) not in self._known:
            self._known[id(thing)] = f"c{len(self._known)}"
            self.names[self._known[id(thing)]] = thing  # which keeps the thing, and so its id
        return self._known[id(thing)]

    def loop(self, fixed: list[str], slots: list[str]) -> Callable[..., None]:
        """The function that runs the calls for each step.

        Its arguments are what the `fixed` names stand for in all steps, and lists of what the slots stand for in each.
        """
        lists = ", ".join(f"{slot}_steps" for slot in slots)
        lines = [f"def loop({', '.join((*fixed, lists))}, constants):"]
        if self.names:  # in half the memory of as many defaults
            lines.append(f"    {', '.join(self.names)}, = constants")
        lines += [f"    {local.name} = {text}" for text, local in self._before.items()]
        lines += [f"    for {', '.join(slots)}, in zip({lists}):"]
        lines += [f"        {line}" for line in self.lines or ["pass"]]
        source, scope = "\n".join(lines), dict[str, Any]()
        exec(source, scope)
        loop = functools.partial(scope["loop"], constants=tuple(self.names.values()))
        loop.source = source  # type: ignore[attr-defined]
        return loop


class Form(NamedTuple):
    """How a call is made into an array."""

    emit: Callable[..., None]
    overwrites: bool
    """Whether the result may lie where an argument of the same layout lies."""


class Kernels:
    """Writes the calls for arrays that stay where they are: by NumPy's functions, which let go of Python's lock.

    Attributes
    ----------
    one_by_one : bool
        Whether a product for each member of an ensemble is quicker than one call for all.
    biases_first : bool
        Whether biases are better copied to where the product is added to them, than added to the product.
    biases_joined : bool
        Whether biases are better kept as a column of the weights: products take matrices whose rows lie apart.
    forms : dict
        Forms of calls, by their names, that are quicker than those of `lowering`.
    """

    one_by_one = biases_first = biases_joined = False
    forms: Mapping[str, Form] = MappingProxyType({})

    def product(self, emit: Emitter, out: Any, a: Any, b: Any) -> None:
        """``a @ b`` into `out`, which is C-contiguous."""
        emit(a.dot, b, out)  # the method is called faster than `matmul` or the function

    def added(self, emit: Emitter, out: Any, alpha: float, a: Any, b: Any, beta: float) -> bool:
        """``out = alpha * a @ b + beta * out``, if that can be done in one call; whether it can. NumPy's cannot."""
        return False

    def many(self, emit: Emitter, out: Any, a: Any, b: Any) -> None:
        """``a @ b`` into `out`, of many matrices, or of such as do not lie in one piece."""
        emit(np.matmul, a, b, out)

    def sums(self, emit: Emitter, out: Any, rows: Any) -> None:
        """The sum of each row, (m, n) -> (m,), of float32 or float64."""
        emit(rows.dot, np.ones(rows.shape[1], rows.dtype), out)  # half the time of a reduction

    def elementwise(self, emit: Emitter, ufunc: np.ufunc, out: Any, operands: Sequence[Any]) -> bool:
        """An elementwise function of arrays into `out`, if it has a quicker one than NumPy's; whether it has."""
        if ufunc is not expit or not all(isinstance(x, np.ndarray) and x.shape == out.shape for x in (out, *operands)):
            return False
        sigmoid(emit, out, *operands)
        return True


def fixed(*arrays: Any) -> None:
    """Raise unless all are arrays that stay where they are."""
    if any(isinstance(array, Local) for array in arrays):
        raise NotStaticError
