"""Stand-ins for NumPy arrays that note every call made on them, on the tape of the thread at hand."""

import functools
import operator
import threading
from collections.abc import Callable
from typing import Any, cast

import array_api_compat.numpy as xp
import numpy as np

from nn_any.backends._standard import for_images
from nn_any.backends.replay.nodes import Node, is_flipped
from nn_any.core import primitives

current = threading.local()
"""Its `tape` is where this thread's calls are noted."""


class UnrecordableError(TypeError):
    """The step does something that cannot be written down, such as reading a value."""


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b``, flipped if `a` is, so that elementwise work between products meets one layout."""
    made: np.ndarray = np.matmul(b.mT, a.mT).mT if is_flipped(a) and b.ndim > 1 else np.matmul(a, b)
    return made


def alike(ufunc: np.ufunc) -> Callable[..., np.ndarray]:
    """An elementwise function whose result is flipped if one of the arguments of its shape is."""

    @functools.wraps(ufunc)
    def call(*args: Any) -> np.ndarray:
        result: np.ndarray = np.asarray(ufunc(*args))
        flip = any(isinstance(a, np.ndarray) and a.shape == result.shape and is_flipped(a) for a in args)
        return np.ascontiguousarray(result.mT).mT if flip else result

    call.ufunc = ufunc  # type: ignore[attr-defined]
    return call


class Recorded:
    """An array that notes what is done with it; it has the standard's methods and attributes."""

    __array_ufunc__ = None  # so that NumPy leaves operators with one of its own arrays on the left to this class
    __slots__ = ("__weakref__", "node", "value")

    def __init__(self, node: Node, value: np.ndarray) -> None:
        self.node, self.value = node, value

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return current.tape.namespace

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise UnrecordableError("the step makes a NumPy array of what it computes")

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    device = property(lambda self: "cpu")
    T = mT = property(lambda self: _note("mT", _transposed, self))  # noqa: N815 - the standard's names

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the standard's arrays have no attribute {name!r}")

    def __getitem__(self, key: Any) -> Any:
        if any(getattr(k, "dtype", None) == np.bool_ for k in (key if isinstance(key, tuple) else (key,))):
            raise UnrecordableError("the step chooses by a mask, which makes shapes depend on values")
        return _note("getitem", operator.getitem, self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        changed = _note("setitem", with_item, self, key, value)
        self.node, self.value = changed.node, changed.value

    def __len__(self) -> int:
        return len(self.value)

    def to_device(self, device: Any, /, *, stream: Any = None) -> "Recorded":
        """The array itself: there is one device."""
        return self


_transposed: Callable[[Any], Any] = operator.attrgetter("mT")


def with_item(array: Any, key: Any, value: Any) -> Any:
    """A copy of an array of any library with other values in some places."""
    changed = array.copy()
    changed[key] = value
    return changed


def _refuse(array: Recorded, what: str) -> Any:
    raise UnrecordableError(f"the step reads a value ({what} of an array)")


for _name in ("bool", "int", "float", "complex", "index", "iter"):
    setattr(Recorded, f"__{_name}__", functools.partialmethod(_refuse, _name))

_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "pow",
    "matmul": "matmul",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}
_COMPARED = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal"}


@functools.cache
def _function(name: str) -> Callable[..., Any]:
    """NumPy's function as the standard names it, careful of layouts."""
    if name == "matmul":
        return product
    function: Callable[..., Any] = getattr(xp, name)
    elementwise = isinstance(function, np.ufunc) and function.signature is None and function.nout == 1
    return alike(cast(np.ufunc, function)) if elementwise else function


def _operator(name: str, *, swapped: bool = False) -> Callable[[Recorded, Any], Any]:
    function = _function(name)

    def operate(self: Recorded, other: Any) -> Any:
        return _note(name, function, other, self) if swapped else _note(name, function, self, other)

    return operate


for _short, _long in (_OPERATORS | _COMPARED).items():
    setattr(Recorded, f"__{_short}__", _operator(_long))
for _short, _long in _OPERATORS.items():
    setattr(Recorded, f"__r{_short}__", _operator(_long, swapped=True))
for _short, _long in (("neg", "negative"), ("abs", "abs"), ("invert", "bitwise_invert")):
    setattr(Recorded, f"__{_short}__", lambda self, _long=_long: _note(_long, _function(_long), self))


def _note(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return current.tape.call(name, function, *args, **kwargs)


class RecordingNamespace:
    """NumPy's functions as the standard has them, on recorded arrays; primitives may be replaced for each instance."""

    __name__ = "nn_any.recording"

    def __getattr__(self, name: str) -> Any:
        thing = getattr(xp, name)
        if name == "nonzero" or name.startswith("unique_"):
            raise UnrecordableError(f"the step calls {name}, whose shapes depend on values")
        if isinstance(thing, type) or not callable(thing) or name.startswith("__"):
            return thing
        wrapped = _FILLED.get(name) or functools.partial(_note, name, _function(name))
        setattr(self, name, wrapped)
        return wrapped


def _filled(*value: float) -> Callable[..., Any]:
    def call(array: Recorded, *fill: float, dtype: Any = None, device: Any = None) -> Recorded:
        made: Recorded = current.tape.filled_like(array, *value or fill, dtype=dtype)
        return made

    return call


_FILLED = {"zeros_like": _filled(0.0), "ones_like": _filled(1.0), "full_like": _filled()}


RECORDING = RecordingNamespace()


def record_primitive(name: str, replacement: Callable[..., Any], namespace: Any = RECORDING) -> None:
    """Let NumPy's `replacement` of a primitive, or the ufunc that it is, be noted as one call of that name."""
    elementwise = isinstance(replacement, np.ufunc)
    function: Any = alike(cast(np.ufunc, replacement)) if elementwise else functools.partial(replacement, xp=xp)

    def call(*args: Any, xp: Any, **kwargs: Any) -> Any:
        return _note(name, function, *args, **kwargs)

    primitives.replace(name, namespace, for_images(name, call) if name.startswith("convolve") else call)


def record_convolution(function: Callable[..., Any]) -> None:
    """Let the convolution be noted as one call whose residual is its input, which is there already."""
    function = functools.partial(function, xp=xp)

    def call(x: Any, kernels: Any, *, stride: Any, xp: Any) -> Any:
        return _note("convolve", function, x, kernels, stride=stride), x

    primitives.replace("convolve", RECORDING, for_images("convolve", call))
