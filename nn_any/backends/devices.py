"""Devices: which array library computes, and where; the one door through which arrays come and go."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.backends._standard import StandardBackend
from nn_any.backends.engine import Engine, quiet
from nn_any.backends.libraries import CUDA_LIBRARIES, INSTALL, LIBRARIES, backend_of, get_backend, is_known
from nn_any.backends.programs import ProgramCache
from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError, NnAnyError
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Namespace

_FORMS = (
    "'auto', 'cpu', 'cuda', 'cuda:1', a library (numpy, cupy, torch, jax, array_api_strict) "
    "or a library and one of its devices, such as 'torch:cuda:0'"
)


NO_DRIVER = "this machine has no CUDA driver"


class DeviceNotAvailableError(NnAnyError, RuntimeError):
    """A device that was asked for by name is not there.

    Attributes
    ----------
    device : str
        What was asked for.
    reason : str
        Why it is not there, in the words of the library where it has any.
    remedy : str
        What to do about it, such as the command that installs the library.
    """

    def __init__(self, device: str, reason: str, remedy: str) -> None:
        super().__init__(f"device {device!r} is not available: {reason.rstrip('.')}. Remedy: {remedy}")
        self.device, self.reason, self.remedy = device, reason, remedy


@dataclass(frozen=True)
class Device:
    """A place where arrays live: one device of one array library.

    Get one from `select_device`, `devices` or `Device.of`; two of the same library and name are equal.

    Attributes
    ----------
    library : str
        The library's import name: ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, …
    name : str
        The device's name within it: ``"cpu"``, ``"cuda:0"``, …
    reason : str
        Why it was chosen, if it was chosen automatically.

    Examples
    --------
    >>> device = select_device("numpy")
    >>> str(device), device.library, device.name
    ('numpy:cpu', 'numpy', 'cpu')
    >>> device.asarray([1.0, 2.0])
    array([1., 2.], dtype=float32)
    """

    library: str
    name: str
    reason: str = field(default="asked for by name", compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"

    @classmethod
    def of(cls, array: Array) -> "Device":
        """The device that holds `array`, of any library of the Python Array API.

        Raises
        ------
        TypeError
            If `array` belongs to no such library.
        """
        backend = backend_of(array)
        return cls(backend.library, backend.device_name(array), "it holds the array")

    @property
    def xp(self) -> Namespace:
        """The library's functions, as the standard has them."""
        return self._backend.xp

    @property
    def engine(self) -> Engine:
        """What runs functions and training steps here, chosen automatically."""
        return self._backend.engine(self.name)

    def training_engine(self, mode: str = "auto", programs: ProgramCache | None = None) -> Engine:
        """A new engine for one run: ``"auto"``, ``"eager"`` or ``"compiled"``; `programs` are the network's own."""
        return self._backend.engine(self.name, mode, programs)

    def thread_settings(self) -> Callable[[], AbstractContextManager[Any]]:
        """Return a function that makes contexts, in which another thread computes with this thread's settings."""
        return self._backend.thread_settings()

    @property
    def _backend(self) -> StandardBackend:
        return get_backend(self.library)

    def asarray(self, obj: Any, dtype: Any = None) -> Array:
        """`obj` as an array on this device; it may share memory with `obj`.

        Parameters
        ----------
        obj : array of any library, or nested sequence of numbers, any shape
        dtype : str or dtype, optional
            A name such as ``"float32"``, a dtype of NumPy, or one of the device's library. By default arrays keep
            theirs and Python floats become float32.

        Raises
        ------
        TypeError
            If `obj` holds no numbers, there is no such dtype, or `dtype` is float64 and the device has none.
        """
        if dtype is not None:
            dtype = self._checked_dtype(dtype)
            if dtype not in np.sctypeDict and (is_host(obj) or backend_of(obj) is not self._backend):
                obj = self.asarray(obj, "float32")  # NumPy has no bfloat16
        if is_host(obj):
            return self._backend.from_host(self._host(obj, dtype), self.name)
        backend = backend_of(obj)
        if backend is not self._backend:
            return self._backend.from_host(self._host(backend.to_host(obj), dtype), self.name)
        array = backend.move(obj, self.name)
        with self.scope():
            return array if dtype is None else self.xp.astype(array, getattr(self.xp, dtype), copy=False)

    def _host(self, obj: Any, dtype: str | None) -> np.ndarray:
        """`obj` as a C-contiguous NumPy array of a dtype that the device has, in the machine's byte order."""
        array = to_numpy(obj)
        if array.dtype.kind in "OUSTMm":
            remedy = "make them with numpy.asarray(..., dtype='float32')"
            raise InvalidTypeError(
                f"array: expected numbers, got dtype {array.dtype}; "
                f"{'use .toarray()' if hasattr(obj, 'toarray') else remedy}"
            )
        if self.integer_dtype == "int32" and dtype in (None, "int64", "uint64"):
            self._check_integers(array)
        if dtype is None and array.dtype == np.float64 and not (hasattr(obj, "dtype") and self.supports("float64")):
            dtype = "float32"
        if dtype is None and array.dtype == np.float16 and not hasattr(self.xp, "float16"):
            dtype = "float32"
        wanted = array.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
        with quiet():  # the caller looks for infinity
            return array.astype(wanted, order="C", copy=False)  # rows are taken from it: keep each in one piece

    def _check_integers(self, array: np.ndarray) -> None:
        """Integers of 64 bits lie within 32, where the device has no more: they would wrap around."""
        if array.dtype in (np.int64, np.uint64) and array.size and (array.min() < -(2**31) or array.max() >= 2**31):
            raise InvalidValueError(
                f"array: expected integers that int32 can hold, the widest of {self}, got {array.min()} … "
                f"{array.max()}; convert them to float32"
            )

    def place(self, tree: Any, dtype: str) -> Any:
        """A tree of arrays of any library as one on this device: copies, the real ones in `dtype`."""

        def copy(leaf: Array) -> Array:
            real = array_namespace(leaf).isdtype(leaf.dtype, "real floating")
            if not is_host(leaf) and Device.of(leaf) == self:
                own = self.xp.asarray(leaf, copy=True)
                return self.xp.astype(own, getattr(self.xp, dtype), copy=False) if real else own
            host = to_numpy(leaf)
            with quiet():
                return self.asarray(host.astype(dtype if real else host.dtype))  # astype copies

        with self.scope():
            return tree_map(copy, tree)

    def supports(self, dtype: str) -> bool:
        """Whether arrays of the floating dtype can live here."""
        return self._backend.supports(dtype, self.name)

    @property
    def integer_dtype(self) -> str:
        """The library's default integer dtype here: ``"int64"``, or ``"int32"`` for JAX without x64."""
        return self._backend.integer_dtype(self.name)

    @property
    def index_dtype(self) -> str:
        """The integer dtype in which the numbers of rows are sent here: on a CUDA GPU half as wide as elsewhere."""
        return self._backend.index_dtype(self.name)

    def check_dtype(self, dtype: str) -> None:
        """Raise TypeError, with the remedy, if the device has no float64 and that is the dtype."""
        if dtype == "float64" and not self.supports(dtype):
            raise InvalidTypeError(f"dtype: device {self} has no float64; {self._backend.float64_remedy}")

    def _checked_dtype(self, dtype: Any) -> str:
        """The name of a dtype that the device has."""
        name = options.dtype_name(dtype)
        if not hasattr(self.xp, name) or (name not in np.sctypeDict and name != "bfloat16"):
            raise InvalidTypeError(
                f"dtype: expected one that {self} has, such as 'float32' or 'int64', got {dtype!r}; use such a name"
            )
        self.check_dtype(name)
        return name

    def objection(self, array: Array) -> tuple[str, str] | None:
        """What keeps an array of this library from being taken as numbers, and the remedy; None: nothing."""
        return self._backend.objection(array)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error of the library says that memory did not suffice here."""
        return self._backend.is_out_of_memory(error)

    def free_memory(self) -> int | None:
        """How many bytes there are to be had here, once what the library merely keeps is given back; None: unknown."""
        return self._backend.free_memory(self.name)

    def scope(self) -> AbstractContextManager[Any]:
        """What to enter around work here that no engine runs: for CuPy, the GPU made current."""
        return self._backend.scope(self.name)

    def synchronize(self) -> None:
        """Wait until the device has done all the work it was given."""
        self._backend.synchronize(self.name)


def is_host(obj: Any) -> bool:
    """Whether `obj` is a NumPy array, a sequence, a number or a table: something NumPy reads where it lies."""
    if isinstance(obj, np.ndarray | np.generic | list | tuple | int | float | complex | str):
        return True
    arrow = hasattr(obj, "__arrow_c_array__")  # PyArrow's arrays offer DLPack but follow no standard
    return arrow or (not hasattr(obj, "__array_namespace__") and not hasattr(obj, "__dlpack__"))


def resolve(library: str, name: str, spec: str) -> Device:
    """The device of a library by the name that a user gives it, once it has shown that it computes."""
    remedy = INSTALL.get(library, "choose one of nn_any.devices()")
    if library in LIBRARIES and find_spec(library) is None:
        raise DeviceNotAvailableError(spec, f"{library} is not installed", remedy)
    try:
        backend = get_backend(library)
        name = backend.canonical(name)
        _check(backend, name)
    except Exception as error:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if library in sys.modules:
            remedy = "choose one of nn_any.devices(), or see `nn-any devices`"
        raise DeviceNotAvailableError(spec, why, remedy) from error
    return Device(library, name)


@cache
def _check(backend: StandardBackend, name: str) -> None:
    backend.raw(name)
    backend.check(name)


def has_cuda_driver() -> bool:
    """Whether this machine has a CUDA driver; no library is imported and CUDA is not started to find out."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _cuda(name: str, spec: str) -> Device:
    """A CUDA device of the first library that has a working one."""
    remedy = f"install a CUDA driver and a library for it: {INSTALL['cupy']}"
    if not has_cuda_driver():
        raise DeviceNotAvailableError(spec, NO_DRIVER, remedy)
    reasons = []
    for library in CUDA_LIBRARIES:
        try:
            return resolve(library, name, spec)
        except DeviceNotAvailableError as error:
            reasons.append(f"{library}: {error.reason}")
    raise DeviceNotAvailableError(spec, "; ".join(reasons), remedy)


def _auto() -> Device:
    """A CUDA GPU that works, else NumPy; never fails."""
    try:
        device = _cuda("cuda:0", "auto")
        return Device(device.library, device.name, "the first CUDA GPU that computed a small product")
    except DeviceNotAvailableError as error:
        return Device("numpy", "cpu", f"no CUDA GPU: {error.reason}")


def select_device(spec: "str | Device | None" = None) -> Device:
    """The device that `spec` names.

    Parameters
    ----------
    spec : str, Device or None
        ``"auto"``: a CUDA GPU where one really works, else NumPy on the CPU; never fails. ``"cpu"``: NumPy. ``"cuda"``,
        ``"cuda:1"``: that GPU through CuPy, PyTorch or JAX, the first that can. A library (``"torch"``): its best
        device. A library and a device: ``"torch:cuda:0"``, ``"cupy:1"``, ``"array_api_strict:device1"``. None: what the
        environment variable ``NN_ANY_DEVICE`` says, else ``"auto"``. ``device.reason`` tells why it was chosen.

    Raises
    ------
    DeviceNotAvailableError
        If the device is not there; it carries the library's reason and the remedy.
    ValueError
        If `spec` is none of these forms.

    Examples
    --------
    >>> str(select_device("cpu"))
    'numpy:cpu'
    >>> device = select_device("auto")
    >>> select_device(str(device)) == device
    True
    """
    if isinstance(spec, Device):
        return spec
    origin = "device"
    if spec is None:
        spec = os.environ.get("NN_ANY_DEVICE") or "auto"
        origin = "NN_ANY_DEVICE"
    if not isinstance(spec, str):
        raise InvalidTypeError(f"device: expected {_FORMS}, a Device or None, got {spec!r}")
    library, _, name = spec.strip().partition(":")
    if spec == "auto":
        return _auto()
    if spec == "cpu":
        return Device("numpy", "cpu")
    if spec == "fastest":
        raise InvalidValueError(
            f"{origin}: 'fastest' has to be measured with a network and data: use nn_any.fastest_device(network, data, "
            "batch_size), or `nn-any train --device fastest`, and then the device that it names"
        )
    if library == "cuda" and (name == "" or name.isdecimal()):
        return _cuda(f"cuda:{name or 0}", spec)
    if is_known(library):
        return resolve(library, name, spec)
    raise InvalidValueError(f"{origin}: expected {_FORMS}, got {spec!r}")


def to_device(array: Any, device: "Device | str") -> Array:
    """`array`, of any library or a nested sequence of numbers, as an array on `device`; the dtype stays.

    Examples
    --------
    >>> to_device([[1, 2], [3, 4]], "numpy").shape
    (2, 2)
    """
    return select_device(device).asarray(array)


def to_numpy(array: Any) -> np.ndarray:
    """`array`, of any library and device, as a NumPy array of the same shape and dtype; it may share its memory.

    NumPy has no bfloat16, which becomes float32.

    Examples
    --------
    >>> to_numpy([1, 2, 3])
    array([1, 2, 3])
    """
    check_unmasked("array", array)
    return np.asarray(array) if is_host(array) else backend_of(array).to_host(array)


def check_unmasked(name: str, obj: Any) -> None:
    """Nothing in a masked array of NumPy is masked: its numbers would be taken for data."""
    if isinstance(obj, np.ma.MaskedArray) and (masked := int(np.count_nonzero(np.ma.getmaskarray(obj)))):
        raise InvalidValueError(
            f"{name}: expected numbers everywhere, got {masked} of {obj.size} masked; fill them with .filled(value), "
            "or leave those examples out"
        )
