"""Memory that serves one CUDA graph and nobody else."""

from collections import defaultdict
from typing import Any

import cupy

_UNIT = 512  # bytes: sizes that differ by less share memory


class GraphMemory:
    """An allocator whose memory goes back to CUDA with its last array.

    A graph goes on writing to the memory that it was captured with, so nobody else may get it. What has served serves
    again, in arrays of the same size. CuPy's own pools would not do: what a pool has in store when it is deleted is
    never freed.
    """

    def __init__(self) -> None:
        self._spare: defaultdict[int, list[Any]] = defaultdict(list)

    def malloc(self, size: int) -> Any:
        """A pointer to `size` bytes on the current GPU, for `cupy.cuda.using_allocator`."""
        size = max(-(-size // _UNIT), 1) * _UNIT
        spare = self._spare[size]
        memory = spare.pop() if spare else cupy.cuda.Memory(size)
        owned = cupy.cuda.UnownedMemory(memory.ptr, size, _Loan(spare, memory), memory.device_id)
        return cupy.cuda.MemoryPointer(owned, 0)


class _Loan:
    """Memory in use: it is spare again once no array refers to it."""

    def __init__(self, spare: list[Any], memory: Any) -> None:
        self._spare, self._memory = spare, memory

    def __del__(self) -> None:
        self._spare.append(self._memory)
