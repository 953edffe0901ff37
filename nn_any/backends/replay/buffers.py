"""Memory for the arrays of a step: aligned to cache lines, and used again as soon as it is free."""

import numpy as np

from nn_any.backends.replay.tape import Layout

ALIGNMENT = 64  # OpenBLAS reads a third faster from arrays that begin where a cache line does


def aligned(size: int) -> np.ndarray:
    """That many bytes, beginning at a multiple of 64."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def shaped(memory: np.ndarray, layout: Layout) -> np.ndarray:
    """The first bytes of `memory` as an array with the axes of `layout` in the same order, and no gaps."""
    axes = sorted(range(len(layout.shape)), key=lambda axis: (-layout.strides[axis], axis))
    packed = memory[: layout.nbytes].view(layout.dtype).reshape([layout.shape[axis] for axis in axes])
    return packed.transpose(sorted(range(len(axes)), key=axes.__getitem__))


def aligned_like(layout: Layout) -> np.ndarray:
    """A new array with the axes of `layout` in the same order, and no gaps."""
    return shaped(aligned(layout.nbytes), layout)


class Pool:
    """Memory that is given out and taken back while a program is laid out."""

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []

    def take(self, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
        """An array of a layout, and the memory it lies in; the smallest piece that is large enough."""
        size = layout.nbytes
        fitting = [piece for piece in self._free if size <= piece.size <= 2 * size + 4096]
        if fitting:
            memory = min(fitting, key=lambda piece: piece.size)
            self._free = [piece for piece in self._free if piece is not memory]
        else:
            memory = aligned(size)
        return shaped(memory, layout), memory

    def give_back(self, memory: np.ndarray) -> None:
        """Let others have it."""
        self._free.append(memory)
