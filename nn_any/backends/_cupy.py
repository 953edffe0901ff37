"""CuPy: CUDA GPUs."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from nn_any.backends._cupy_engine import CupyEngine
from nn_any.backends._cupy_graph import CAPTURING
from nn_any.backends._cupy_kernels import REPLACEMENTS
from nn_any.backends._standard import StandardBackend
from nn_any.backends.programs import ProgramCache
from nn_any.core.typing import Array


class Backend(StandardBackend):
    """CuPy arrays, on devices named cuda:0, cuda:1 and so on."""

    replacements = REPLACEMENTS
    aliases = MappingProxyType({"cuda": "cuda:0"})

    def __init__(self) -> None:
        super().__init__("cupy", xp)

    def raw_devices(self) -> Iterable[Any]:
        return []  # `cupy.cuda.Device` makes them from their numbers

    def names(self) -> list[str]:
        return [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]

    def canonical(self, name: str) -> str:
        return super().canonical(name or "cuda")

    def raw(self, name: str) -> Any:
        names = self.names()  # CUDA itself says why there is none at all
        if name not in names:
            raise LookupError(f"CUDA finds {len(names)} GPU(s): {', '.join(names)}")
        return cupy.cuda.Device(int(name.partition(":")[2]))

    def name_of(self, raw: Any) -> str:
        return f"cuda:{raw.id}"

    def engine(self, name: str, mode: str = "auto", programs: ProgramCache | None = None) -> CupyEngine:
        return CupyEngine(self.raw(name).id, mode)

    def scope(self, name: str) -> AbstractContextManager[Any]:
        """The GPU made current, since CuPy creates and computes on the current one."""
        device: AbstractContextManager[Any] = self.raw(name)
        return device

    def index_dtype(self, name: str) -> str:
        return "int32"  # half of what would cross to the GPU otherwise

    def supports(self, dtype: str, name: str) -> bool:
        return True

    def from_host(self, array: np.ndarray, name: str) -> Array:
        with self.raw(name):
            return cupy.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        with array.device:
            host: np.ndarray = cupy.asnumpy(array)
        return host

    def move(self, array: Array, name: str) -> Array:
        if self.device_name(array) == name:
            return array
        with self.raw(name):
            return cupy.array(array, copy=True)

    def free_memory(self, name: str) -> int | None:
        with self.raw(name) as gpu:
            cupy.get_default_memory_pool().free_all_blocks()
            return int(gpu.mem_info[0])

    def synchronize(self, name: str) -> None:
        with CAPTURING:
            self.raw(name).synchronize()
