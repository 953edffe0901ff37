"""Convolutions and pooling as NumPy calls that write into a given array; see `lowering`."""

from typing import Any

import numpy as np

from nn_any.backends import _numpy_windows as windows
from nn_any.backends.replay.emitter import Emitter, NotStaticError, fixed
from nn_any.backends.replay.lowering import form, matmul


@form("unfold")
def _unfold(emit: Emitter, out: Any, x: Any, **how: Any) -> None:
    fixed(out, x)
    windows.unfold(emit, out, x, **how)


class _Noted:
    """Room and products for a portion of images, as `windows.Work` has them, noted for every step."""

    def __init__(self, emit: Emitter) -> None:
        self._emit, self.room, self.done = emit, emit.scratch, emit.give_back

    def product(self, out: Any, a: Any, b: Any, *, add: bool = False) -> None:
        """``a @ b`` into a matrix, or added to it."""
        if not add:
            matmul(self._emit, out, a, b)
        elif not self._emit.kernels.added(self._emit, out, 1.0, a, b, 1.0):
            change = self._emit.scratch(out.shape, out.dtype)
            matmul(self._emit, change, a, b)
            self._emit(np.add, out, change, out)
            self._emit.give_back()


def _in_one_piece(*arrays: Any) -> None:
    """Raise unless the arrays stay where they are, and their axes can be joined without a copy."""
    fixed(*arrays)
    if not all(array.flags.c_contiguous for array in arrays):
        raise NotStaticError


@form("convolve")
def _convolve(emit: Emitter, out: Any, x: Any, kernels: Any, *, stride: Any) -> None:
    fixed(x)
    _in_one_piece(out, kernels)
    windows.convolve(emit, _Noted(emit), out, x, kernels, stride=stride)


@form("convolve_kernels_gradient")
def _kernels_gradient(emit: Emitter, out: Any, x: Any, delta: Any, *, kernel_size: Any, stride: Any) -> None:
    fixed(x)
    _in_one_piece(out, delta)
    windows.kernels_gradient(emit, _Noted(emit), out, x, delta, stride=stride)


@form("convolve_inputs_gradient")
def _inputs_gradient(emit: Emitter, out: Any, delta: Any, kernels: Any, *, stride: Any, size: Any) -> None:
    _in_one_piece(out, delta, kernels)
    windows.inputs_gradient(emit, _Noted(emit), out, delta, kernels, stride=stride)


@form("fold")
def _fold(emit: Emitter, out: Any, parts: Any, *, window: Any, stride: Any, size: Any) -> None:
    fixed(out, parts)
    windows.fold(emit, out, parts, window=window, stride=stride)


@form("max_pool")
def _max_pool(emit: Emitter, out: Any, x: Any, **how: Any) -> None:
    fixed(x)
    largest, which = out
    windows.max_pool(emit, emit.scratch, largest, which, x, **how)


@form("max_pool_gradient")
def _max_pool_gradient(emit: Emitter, out: Any, which: Any, delta: Any, *, size: Any, **how: Any) -> None:
    fixed(out, which, delta)
    windows.max_pool_gradient(emit, emit.scratch, out, which, delta, **how)
