"""What the package asks of an array library, answered for any library of the standard.

Each of the other modules here says what its own library does differently.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import array_api_compat
import numpy as np

from nn_any.backends.engine import Engine, fall_back, quiet
from nn_any.backends.programs import ProgramCache
from nn_any.core.primitives import definition
from nn_any.core.typing import Array, Namespace


def for_images(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for the images and kernels of one network; the definition of the primitive for an ensemble's."""

    def call(*args: Array, xp: Namespace, **kwargs: Any) -> Any:
        single = max(array.ndim for array in args) <= 4
        return (function if single else definition(name))(*args, xp=xp, **kwargs)

    return call


class StandardBackend:
    """One array library. A device is known by a name ("cpu", "cuda:0") and by the library's own object for it.

    Parameters
    ----------
    library : str
        Its import name.
    xp : namespace
        Its functions, as the standard has them.
    """

    float64_remedy = "use dtype='float32'"
    replacements: Mapping[str, Callable[..., Array]] = MappingProxyType({})
    """Faster equals of primitives for arrays of this library, by the primitive's name."""
    aliases: Mapping[str, str] = MappingProxyType({"CPU_DEVICE": "cpu"})
    """What users may call devices by as well, such as ``"cuda"``, and the devices' full names."""

    def __init__(self, library: str, xp: Namespace) -> None:
        self.library = library
        self.xp = xp
        self._devices = {self.name_of(raw): raw for raw in self.raw_devices()}

    def raw_devices(self) -> Iterable[Any]:
        """The library's own objects for its devices; more are learnt from arrays that turn up on them."""
        info = getattr(self.xp, "__array_namespace_info__", None)
        return [] if info is None else [raw for raw in info().devices() if raw is not None]

    @property
    def version(self) -> str:
        """The library's version, or "" if it states none."""
        return str(getattr(sys.modules.get(self.library), "__version__", ""))

    def names(self) -> list[str]:
        """The names of the devices there are, the best one first."""
        return list(self._devices)

    def canonical(self, name: str) -> str:
        """The full name of the device that a user calls `name`: "" is the best one, "1" the second CUDA GPU."""
        if name.isdecimal() and name not in self._devices:
            return f"cuda:{name}"
        return self.aliases.get(name, name) if name else self.names()[0]

    def raw(self, name: str) -> Any:
        """The library's own object for a device; raises an error that says why there is none."""
        if name not in self._devices:
            raise LookupError(f"{self.library} has the devices {', '.join(self.names())}")
        return self._devices[name]

    def name_of(self, raw: Any) -> str:
        """The name of a device; the standard gives none, so the text of the object without its decoration."""
        text = str(raw).rpartition("Device(")[2].strip("')\"")
        return "cpu" if text == "CPU_DEVICE" else text

    def device_name(self, array: Array) -> str:
        """The name of the device that holds `array`."""
        raw = array_api_compat.device(array)
        name = self.name_of(raw)
        self._devices.setdefault(name, raw)
        return name

    def engine(self, name: str, mode: str = "auto", programs: ProgramCache | None = None) -> Engine:
        """A new engine that runs epochs on the device called `name`, in one of the `MODES`.

        Programs with buffers of their own go into `programs`, which belongs to the network that is trained.
        """
        engine = Engine()
        if mode == "compiled":
            fall_back(engine, mode, f"{self.library} has no compiled engine")
        return engine

    def check(self, name: str) -> None:
        """Raise the library's own error if the device cannot compute a product, an exponential and a place."""
        with self.scope(name):
            ones = self.from_host(np.ones((2, 2), dtype=np.float32), name)
            result = self.to_host(self.xp.exp(ones @ ones))
            self.xp.argmax(ones, axis=-1)
        if not np.allclose(result, np.exp(2.0)):
            raise RuntimeError(f"exp(2) came out as {result[0, 0]}")

    def supports(self, dtype: str, name: str) -> bool:
        """Whether arrays of a floating dtype can live on the device."""
        return dtype in self.xp.__array_namespace_info__().dtypes(device=self.raw(name), kind="real floating")

    def index_dtype(self, name: str) -> str:
        """The integer dtype in which a device is sent the numbers of rows."""
        return self.integer_dtype(name)

    def integer_dtype(self, name: str) -> str:
        """The name of the library's default integer dtype on the device."""
        return _integer_dtype(self, name)

    def from_host(self, array: np.ndarray, name: str) -> Array:
        """A NumPy array on the device; the two may share memory."""
        return self.xp.asarray(array, device=self.raw(name))

    def to_host(self, array: Array) -> np.ndarray:
        """An array of this library as a NumPy array; the two may share memory."""
        return np.asarray(array_api_compat.to_device(array, self.raw("cpu")))

    def objection(self, array: Array) -> tuple[str, str] | None:
        """What keeps an array from being taken as numbers in rows and columns, and the remedy; None: nothing."""
        return None

    def move(self, array: Array, name: str) -> Array:
        """An array of this library on another of its devices."""
        return array_api_compat.to_device(array, self.raw(name))

    def scope(self, name: str) -> AbstractContextManager[Any]:
        """What has to be entered around work on the device."""
        return quiet()

    def thread_settings(self) -> Callable[[], AbstractContextManager[Any]]:
        """Return a function that makes contexts, in which another thread computes with this thread's settings."""
        return nullcontext

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that a device's memory did not suffice."""
        return isinstance(error, MemoryError)

    def free_memory(self, name: str) -> int | None:
        """How many bytes a device has to give, once what the library merely keeps is given back; None: not known."""
        return _free_on_the_host()

    def synchronize(self, name: str) -> None:
        """Wait until the device has done all that it was given."""


@cache
def _integer_dtype(backend: StandardBackend, name: str) -> str:
    defaults = backend.xp.__array_namespace_info__().default_dtypes(device=backend.raw(name))
    return str(defaults["integral"]).rpartition(".")[2]


def _free_on_the_host() -> int | None:
    """How many bytes of memory Linux would give without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
