"""Arrays in a pickle that may have been forged: a pickle is a program, and this runs it where it can do nothing.

What a pickle of arrays calls is replaced by stand-ins that only note what they are given, and the operations are
counted beforehand: an honest pickle of a few arrays needs some hundreds.
"""

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

_MOST_OPERATIONS = 2_000
_MOST_AXES = 32
_NUMBERED = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"})
_REFUSED = frozenset(
    {"PERSID", "BINPERSID", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"}
    | {"READONLY_BUFFER", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"}
)
_NDARRAY = object()  # stands for ``numpy.ndarray``, which arrays name and nothing else does
_DTYPE = re.compile(r"[iu][1248]|f[48]|b1")


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: Any, *flags: Any) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not _DTYPE.fullmatch(code.lstrip("<>|=")):
            raise ValueError(f"expected arrays of numbers, got dtype {code!r:.80}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise ValueError("expected the byte order of a dtype, got something else")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class _Array:
    """Stands for an array."""

    def __init__(self, encode: Callable[[str, str], bytes]) -> None:
        self.array: np.ndarray | None = None
        self._encode = encode

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("expected the state of an array, got something else")
        _, shape, dtype, fortran, data = state
        data = self._encode(data, "latin1") if isinstance(data, str) else data  # as Python 2 wrote it
        self.array = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
        raise ValueError("expected the dtype, the order and the bytes of an array, got something else")
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("expected the shape of an array, got something else")
    count = math.prod(shape)
    if count * dtype.dtype.itemsize != len(data):
        raise ValueError(f"expected {count * dtype.dtype.itemsize} bytes for shape {shape}, got {len(data)}")
    return np.frombuffer(data, dtype.dtype, count).reshape(shape, order=order)


class _Unpickler(pickle.Unpickler):
    """Finds stand-ins for what arrays are pickled with, and nothing else."""

    def __init__(self, content: bytes | bytearray) -> None:
        super().__init__(BytesIO(content), encoding="latin1")
        self._left = 2 * len(content)  # bytes that stand-ins may still make

    def find_class(self, module: str, name: str) -> Any:
        found = {
            ("numpy", "ndarray"): _NDARRAY,
            ("numpy", "dtype"): _Dtype,
            ("numpy._core.multiarray", "_reconstruct"): self._reconstruct,
            ("numpy._core.numeric", "_frombuffer"): self._frombuffer,
            ("_codecs", "encode"): self._encode,
        }.get((module.replace("numpy.core", "numpy._core"), name))
        if found is None:
            called = ascii(f"{module}.{name}")[1:-1]
            raise ValueError(f"expected arrays and nothing else, got {called:.100}; nothing was run")
        return found

    def _encode(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("expected bytes written as latin1, got something else")
        self._left -= len(text)
        if self._left < 0:
            raise ValueError("expected each array once, got the same bytes again and again")
        return text.encode("latin1")

    def _reconstruct(self, kind: Any, shape: Any, code: Any) -> _Array:
        if kind is not _NDARRAY or shape != (0,):
            raise ValueError("expected an array that is filled afterwards, got something else")
        return _Array(self._encode)

    def _frombuffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        made = _Array(self._encode)
        made.array = _array(data, dtype, shape, order)
        return made


def parse_pickle(content: bytes | bytearray) -> Any:
    """What a pickle of arrays, tuples and lists of them holds; ValueError for any other, of which nothing is run."""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(BytesIO(content)), 1):
            if count > _MOST_OPERATIONS:
                raise ValueError(f"expected at most {_MOST_OPERATIONS} operations, got more")
            if opcode.name in _REFUSED:
                raise ValueError(f"expected arrays, and tuples or lists of them, got {opcode.name}; nothing was run")
            if opcode.name in _NUMBERED and not 0 <= int(argument or 0) <= _MOST_OPERATIONS:
                raise ValueError("expected a place in the memo, got one far outside")
        value = _Unpickler(content).load()
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # the machine raises of a dozen kinds
        raise ValueError(f"a damaged pickle ({type(error).__name__}: {error!s:.300})") from error
    return _arrays(value)


def _arrays(value: Any, depth: int = 3) -> Any:
    """Arrays in the place of their stand-ins."""
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    if isinstance(value, tuple | list) and len(value) < 4 and depth:
        return tuple(_arrays(part, depth - 1) for part in value)
    raise ValueError(f"expected arrays, or tuples of them, got {type(value).__name__.lstrip('_')}")
