"""How PyTorch runs steps on the CPU: NumPy's replay loop on the tensors' own memory, with PyTorch's products.

A tensor on the CPU and a NumPy array can share their memory, and NumPy's calls cost a fraction of PyTorch's. What
PyTorch does better, it does here too: products that are worth several threads. Large convolutions are left to its own.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from nn_any.backends._numpy_sigmoid import expit
from nn_any.backends._torch_engine import TorchEngine
from nn_any.backends.engine import one_line
from nn_any.backends.programs import ProgramCache
from nn_any.backends.replay import ReplayEngine
from nn_any.backends.replay.emitter import Emitter, Form, Kernels, Local, fixed
from nn_any.backends.replay.kernels import BothKernels, LibraryIsFasterError
from nn_any.backends.replay.lowering import FORMS
from nn_any.backends.replay.nodes import is_flipped
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Batch

_LARGE = 2**14  # elements, from which on PyTorch's functions are quicker than NumPy's, their calls included
_WINDOWS = 2**19  # numbers in those of a convolution, from which on PyTorch's own is quicker
_BOTH_HAVE = "add subtract multiply divide maximum minimum negative abs square sqrt exp log log1p tanh"
_ELEMENTWISE = {getattr(np, name): getattr(torch, name) for name in _BOTH_HAVE.split()} | {expit: torch.sigmoid}


def _relu_gradient(emit: Emitter, out: Any, z: Any, delta: Any) -> None:
    """By PyTorch's own, where all three lie alike."""
    fixed(out, z, delta)
    if out.size < _LARGE or not out.strides == z.strides == delta.strides:
        FORMS["relu_gradient"].emit(emit, out, z, delta)
    else:
        backward = torch.ops.aten.threshold_backward.grad_input
        emit(backward, _tensor(delta), _tensor(z), 0, grad_input=_tensor(out))


def _astype(emit: Emitter, out: Any, x: Any, *how: Any, **options: Any) -> None:
    """By PyTorch's copy, where it is worth several threads."""
    if isinstance(x, Local) or isinstance(out, Local) or out.size < _LARGE:
        FORMS["astype"].emit(emit, out, x, *how, **options)
    else:
        emit(_tensor(out).copy_, _tensor(x))


def _affine(emit: Emitter, out: Any, x: Any, weights: Any, biases: Any, *, scale: float = 1.0) -> None:
    """By one product that is added to the biases, where it is worth several threads."""
    fixed(out, x, weights, biases)
    if out.ndim > 2 or not _alike(out, x, weights, biases):
        FORMS["affine"].emit(emit, out, x, weights, biases, scale=scale)
        return
    added, factors, z = biases, (x, weights.mT), out
    if is_flipped(out):
        added, factors, z = biases[:, None], (weights, x.mT), out.mT
    emit(torch.addmm, *map(_tensor, (added, *factors)), alpha=scale, out=_tensor(z))


class SmallKernels(BothKernels):
    """PyTorch's functions for large arrays only, and products on one thread of NumPy's and SciPy's."""

    forms = MappingProxyType({"relu_gradient": Form(_relu_gradient, True), "astype": Form(_astype, False)})

    def elementwise(self, emit: Emitter, ufunc: np.ufunc, out: Any, operands: Sequence[Any]) -> bool:
        large = all(isinstance(x, np.ndarray) for x in (out, *operands)) and out.size >= _LARGE
        fits = large and _alike(out, *operands) and not any(_overlap(x, out) for x in operands)
        if ufunc not in _ELEMENTWISE or not fits:
            return super().elementwise(emit, ufunc, out, operands)
        emit(_ELEMENTWISE[ufunc], *map(_tensor, operands), out=_tensor(out))
        return True


class TorchKernels(SmallKernels):
    """PyTorch's products as well, into the memory of NumPy arrays, on as many threads as PyTorch has."""

    one_by_one, biases_joined = False, True
    forms = MappingProxyType({**SmallKernels.forms, "affine": Form(_affine, False)})

    def product(self, emit: Emitter, out: Any, a: Any, b: Any) -> None:
        if not _alike(out, a, b):
            super().product(emit, out, a, b)
        else:
            emit(torch.mm, _tensor(a), _tensor(b), out=_tensor(out))

    def added(self, emit: Emitter, out: Any, alpha: float, a: Any, b: Any, beta: float) -> bool:
        if not a.ndim == b.ndim == out.ndim == 2 or not _alike(out, a, b):
            return False
        emit(_tensor(out).addmm_, _tensor(a), _tensor(b), beta=beta, alpha=alpha)
        return True

    def many(self, emit: Emitter, out: Any, a: Any, b: Any) -> None:
        if not _alike(out, a, b):
            super().many(emit, out, a, b)
        else:
            emit(torch.matmul, _tensor(a), _tensor(b), out=_tensor(out))

    def sums(self, emit: Emitter, out: Any, rows: Any) -> None:
        if not _alike(out, rows):
            super().sums(emit, out, rows)
        else:
            emit(torch.mv, _tensor(rows), torch.ones(rows.shape[1], dtype=_tensor(out).dtype), out=_tensor(out))


def _choose(*, serial: bool, alone: bool, matrices: bool, windows: int) -> Kernels:
    if windows > _WINDOWS:
        raise LibraryIsFasterError
    if not alone:
        return Kernels()  # blocks of an ensemble share the CPUs
    return SmallKernels() if serial else TorchKernels()


def _alike(*arrays: np.ndarray) -> bool:
    """Whether all hold reals of one dtype, of which PyTorch mixes none in a product, and none lies backwards."""
    forwards = all(min(array.strides, default=0) >= 0 for array in arrays)
    return forwards and len({array.dtype for array in arrays}) == 1 and arrays[0].dtype.kind == "f"


def _overlap(x: np.ndarray, out: np.ndarray) -> bool:
    """Whether two arrays share memory, but are not one: NumPy makes a copy then, PyTorch may read new values."""
    alike = x.shape == out.shape and x.strides == out.strides
    same = alike and x.__array_interface__["data"] == out.__array_interface__["data"]
    return not same and bool(np.may_share_memory(x, out))


def _tensor(array: np.ndarray) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a constant may be read-only; nothing writes into it
        return torch.from_numpy(array)


class TorchReplayEngine(ReplayEngine):
    """Replays recorded steps; those with large convolutions, and what cannot be recorded, run one by one."""

    def __init__(self, programs: ProgramCache | None = None) -> None:
        super().__init__("auto", programs, _choose)

    def scope(self) -> AbstractContextManager[Any]:
        return TorchEngine().scope()

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        """Run the steps on NumPy's views of the tensors."""
        results = None
        with self.scope():
            try:
                views: tuple[Any, Any, Any, Any] = tree_map(torch.Tensor.numpy, (state, data, order, rates))
            except TypeError as error:  # bfloat16, for one
                self._give_up(one_line(error))
            else:
                results = self._replayed(step, *views, start, stop)
            if results is None:
                return TorchEngine().run(step, state, data, order, rates, start, stop)
            return tree_map(torch.from_numpy, results[0]), torch.from_numpy(results[1])
