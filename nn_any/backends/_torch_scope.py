"""What keeps PyTorch's switches from the work in here: those of a thread, and those of the whole process.

`torch.set_float32_matmul_precision` and its kin let float32 products round their operands: to TF32 on CUDA, which is
the default for convolutions there, and to bfloat16 on CPUs that have it. In here products are in float32, and on CUDA
in what ``NN_ANY_CUDA_MATH`` says. PyTorch does not tell whether a switch was set by the user, so it does not count.

Reference: https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any

import torch

from nn_any.backends.cuda.precision import MATHS, device_math

_FULL = ("none", "ieee")


class _Convolutions:
    """The switch that PyTorch before 2.9 has for cuDNN, in the form of the later ones."""

    @property
    def fp32_precision(self) -> str:
        return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        torch.backends.cudnn.allow_tf32 = precision == "tf32"


class _Products:
    """The switch that PyTorch before 2.9 has for products on CUDA, in the form of the later ones."""

    @property
    def fp32_precision(self) -> str:
        precision = torch.get_float32_matmul_precision()
        return "ieee" if precision == "highest" else precision

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        words = {"none": "highest", "ieee": "highest", "tf32": "high"}
        torch.set_float32_matmul_precision(words.get(precision, precision))


def _switches() -> tuple[list[Any], list[Any]]:
    """The switches of float32 products and convolutions: CUDA's, and the CPU's."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        return [_Products(), _Convolutions()], []
    return [backends.cuda.matmul, backends.cudnn.conv], [backends.mkldnn.matmul, backends.mkldnn.conv]


_CUDAS, _CPUS = _switches()
_lock = Lock()
_inside = 0
_undo: list[Callable[[], None]] = []
"""How to put the switches back once the last thread has left; they are the process's, not the thread's."""


class PlainTorch:
    """A context in which autograd records nothing, and float32 products are what they should be on a device.

    PyTorch has no bfloat16 for float32 products on CUDA: that is TF32.
    """

    def __init__(self, device: str) -> None:
        self._switches = _CUDAS if device.startswith("cuda") else _CPUS
        self._rounded = device_math(device) != MATHS[0]
        casts = [torch.autocast(on, enabled=False) for on in ("cpu", "cuda") if torch.is_autocast_enabled(on)]
        self._contexts: list[AbstractContextManager[Any]] = [torch.no_grad(), *casts]

    def __enter__(self) -> None:
        global _inside
        with _lock:
            if any((switch.fp32_precision in _FULL) == self._rounded for switch in self._switches):
                _undo.append(_set(self._switches, "tf32" if self._rounded else "ieee"))
            _inside += 1
        for context in self._contexts:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        global _inside
        for context in reversed(self._contexts):
            context.__exit__(*error)
        with _lock:
            _inside -= 1
            while _undo and not _inside:
                _undo.pop()()


def _set(switches: list[Any], precision: str) -> Callable[[], None]:
    """Set these switches, and return what puts them back."""
    matmul = [*_CUDAS[:1], *_CPUS[:1]] if switches is _CUDAS else []
    changed = list({id(switch): switch for switch in (*switches, *matmul)}.values())
    before = [_own_value(switch) for switch in changed]
    for switch in changed:
        switch.fp32_precision = "ieee"
    if matmul:
        whole = torch.get_float32_matmul_precision()  # an error if it contradicted a switch of products
        torch.set_float32_matmul_precision("highest" if precision == "ieee" else "high")
    for switch in changed:
        switch.fp32_precision = precision if switch in switches else "ieee"

    def undo() -> None:
        if matmul:
            torch.set_float32_matmul_precision(whole)
        for switch, value in zip(changed, before, strict=True):
            switch.fp32_precision = value

    return undo


def _own_value(switch: Any) -> str:
    """What a switch itself says; ``"none"`` if it says what the switch above it does."""
    value: str = switch.fp32_precision
    switch.fp32_precision = "none"
    return "none" if switch.fp32_precision == value else value
