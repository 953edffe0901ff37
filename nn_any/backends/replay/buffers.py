"""Memory for the arrays of a step: aligned to cache lines, and used again as soon as it is free."""

import bisect

import numpy as np

from nn_any.backends.replay.nodes import Layout

ALIGNMENT = 64  # OpenBLAS reads a third faster from arrays that begin where a cache line does
_END = 10**9  # never given back


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


class _Piece:
    """Some memory, and from when to when it is wanted."""

    def __init__(self, size: int, first: int) -> None:
        self.size, self.first, self.last, self.start = size, first, _END, 0

    @property
    def stop(self) -> int:
        """Where the next cache line begins."""
        return self.start + -(-self.size // ALIGNMENT) * ALIGNMENT

    def meets(self, other: "_Piece") -> bool:
        """Whether both are wanted at some moment."""
        return self.first <= other.last and other.first <= self.last


class Pool:
    """Memory that is given out and taken back while a program is laid out.

    The first pool gives out new memory each time, which costs nothing as long as nobody writes into it, and notes how
    long it is wanted. `packed` is for laying out the same program for good.
    """

    def __init__(self, planned: list[_Piece] | None = None) -> None:
        self._planned = planned
        self._memory = aligned(max((piece.stop for piece in planned or ()), default=0))
        self._pieces: list[_Piece] = []
        self._lent: dict[int, tuple[np.ndarray, _Piece]] = {}
        self._moment = 0

    def take(self, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
        """An array of a layout, and the memory it lies in."""
        piece = _Piece(layout.nbytes, self._now())
        if self._planned is None:
            memory = aligned(piece.size)
        else:
            planned = self._planned[len(self._pieces)]
            if planned.size != piece.size:
                raise AssertionError(f"expected {planned.size} bytes to be wanted as before, got {piece.size}")
            memory = self._memory[planned.start : planned.start + piece.size]
        self._pieces.append(piece)
        self._lent[id(memory)] = memory, piece
        return shaped(memory, layout), memory

    def give_back(self, memory: np.ndarray) -> None:
        """Let others have it."""
        _, piece = self._lent.pop(id(memory))
        piece.last = self._now()

    def packed(self) -> "Pool":
        """One that gives out parts of one piece of memory in the same order; no two that are wanted at once overlap.

        The largest parts come first, each to the lowest place that is free for as long as it is wanted.
        """
        placed: list[_Piece] = []
        for piece in sorted(self._pieces, key=lambda piece: (-piece.size, piece.first)):
            for other in placed:  # by their places
                if piece.meets(other) and piece.start < other.stop:
                    if piece.stop <= other.start:
                        break
                    piece.start = other.stop
            bisect.insort(placed, piece, key=lambda piece: piece.start)
        return Pool(self._pieces)

    def _now(self) -> int:
        self._moment += 1
        return self._moment
