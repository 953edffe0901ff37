"""Convolutions and pooling as NumPy calls that write into a given array; see `lowering`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nn_any.backends import _numpy_windows as windows
from nn_any.backends.replay.emitter import Emitter, NotStaticError, fixed
from nn_any.backends.replay.lowering import form, matmul


class _Noted(windows.Work):
    """Calls, room and products noted for every step."""

    def __init__(self, emit: Emitter) -> None:
        self._emit = emit

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._emit(function, *args, **kwargs)

    def room(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self._emit.scratch(shape, dtype)

    def done(self) -> None:
        self._emit.give_back()

    def product(self, out: Any, a: Any, b: Any, *, add: bool = False) -> None:
        if not add:
            matmul(self._emit, out, a, b)
        elif not self._emit.kernels.added(self._emit, out, 1.0, a, b, 1.0):
            change = self._emit.scratch(out.shape, out.dtype)
            matmul(self._emit, change, a, b)
            self._emit(np.add, out, change, out)
            self._emit.give_back()


def _lowered(write: Callable[..., None], pieces: tuple[int, ...]) -> Callable[..., None]:
    """The form of a routine, which views the arrays of these numbers as matrices; the result is number 0."""

    def emit_calls(emit: Emitter, out: Any, *args: Any, **how: Any) -> None:
        arrays = (out, *args)
        fixed(*arrays)
        if not all(arrays[i].flags.c_contiguous for i in pieces):
            raise NotStaticError
        write(_Noted(emit), *arrays, **how)

    return emit_calls


for _name, _pieces in (
    ("convolve", (0, 2)),
    ("convolve_kernels_gradient", (0, 2)),
    ("convolve_inputs_gradient", (0, 1, 2)),
    ("fold", ()),
    ("max_pool_gradient", ()),
):
    form(_name)(_lowered(windows.ROUTINES[_name][0], _pieces))
form("unfold")(_lowered(windows.unfold, ()))
form("max_pool")(_lowered(windows.max_pool, ()))
