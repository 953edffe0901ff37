"""CuPy: CUDA GPUs."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from nn_any.backends._cupy_engine import CupyEngine
from nn_any.backends._cupy_kernels import REPLACEMENTS
from nn_any.backends._standard import StandardBackend
from nn_any.core.typing import Array


class CupyBackend(StandardBackend):
    """CuPy arrays, on devices named cuda:0, cuda:1 and so on."""

    def __init__(self) -> None:
        super().__init__("cupy", xp)
        self.replacements = REPLACEMENTS

    @property
    def version(self) -> str:
        """CuPy's version."""
        return str(cupy.__version__)

    def raw_devices(self) -> Iterable[Any]:
        """None in advance: `cupy.cuda.Device` makes them from their numbers."""
        return []

    def names(self) -> list[str]:
        """One name a GPU."""
        return [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]

    def canonical(self, name: str) -> str:
        """``""`` and ``"cuda"`` are the first GPU, ``"1"`` is the second."""
        if name.isdecimal():
            return f"cuda:{name}"
        return {"": "cuda:0", "cuda": "cuda:0"}.get(name, name)

    def raw(self, name: str) -> Any:
        """A `cupy.cuda.Device`; CUDA itself says why there is none at all."""
        names = self.names()
        if name not in names:
            raise LookupError(f"CUDA finds {len(names)} GPU(s): {', '.join(names)}")
        return cupy.cuda.Device(int(name.partition(":")[2]))

    def name_of(self, raw: Any) -> str:
        """``"cuda:0"`` for `cupy.cuda.Device(0)`."""
        return f"cuda:{raw.id}"

    def engine(self, name: str, mode: str = "auto") -> CupyEngine:
        """A new engine on one GPU: the fused kernel, a captured graph, or one step after another."""
        return CupyEngine(self.raw(name).id, mode)

    def scope(self, name: str) -> AbstractContextManager[Any]:
        """The GPU made current, since CuPy creates and computes on the current one."""
        device: AbstractContextManager[Any] = self.raw(name)
        return device

    def check(self, name: str) -> None:
        """The small product, with its GPU current."""
        with self.scope(name):
            super().check(name)

    def supports(self, dtype: str, name: str) -> bool:
        """CUDA GPUs have both."""
        return True

    def from_host(self, array: np.ndarray, name: str) -> Array:
        """A copy in the GPU's memory."""
        with self.raw(name):
            return cupy.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        """A copy in the host's memory."""
        with array.device:
            host: np.ndarray = cupy.asnumpy(array)
        return host

    def move(self, array: Array, name: str) -> Array:
        """The array itself if it is there already, else a copy on the other GPU."""
        if self.device_name(array) == name:
            return array
        with self.raw(name):
            return cupy.array(array, copy=True)

    def free_memory(self, name: str) -> int | None:
        """What CUDA has to give, once CuPy's pool has given back what it keeps."""
        with self.raw(name) as gpu:
            cupy.get_default_memory_pool().free_all_blocks()
            return int(gpu.mem_info[0])

    def synchronize(self, name: str) -> None:
        """Wait for all the GPU's streams."""
        self.raw(name).synchronize()


def create() -> CupyBackend:
    """The backend for CuPy."""
    return CupyBackend()
