"""The array libraries: which are known by name, and the backend of each, made when it is first wanted."""

import importlib
from functools import cache

from nn_any.backends._standard import StandardBackend
from nn_any.core import primitives
from nn_any.core.errors import InvalidTypeError
from nn_any.core.typing import Array

LIBRARIES = ("cupy", "torch", "jax", "numpy", "array_api_strict")
"""The libraries that are known by name; ties between accelerators go in this order."""

CUDA_LIBRARIES = ("cupy", "torch", "jax")

_PIP = "python -m pip install"
INSTALL = {
    "cupy": " or ".join(
        f'{_PIP} cupy-cuda{n}x "cuda-toolkit[cublas,cudart,nvrtc]=={n}.*" (CUDA {n})' for n in (13, 12)
    ),
    "torch": f"{_PIP} torch",
    "jax": f"{_PIP} jax",
    "numpy": f"{_PIP} numpy",
    "array_api_strict": f"{_PIP} array-api-strict",
    "matplotlib": f"{_PIP} matplotlib",
    "onnx": f"{_PIP} onnx",
}
"""The commands that install what the package can work with."""

_others: dict[str, StandardBackend] = {}


def is_known(library: str) -> bool:
    """Whether a device may be asked for by this library's name: it is known, or an array of it has turned up."""
    return library in LIBRARIES or library in _others


@cache
def get_backend(library: str) -> StandardBackend:
    """The backend of a library, which is imported now; its faster equals of primitives are put in place."""
    if library in _others:
        return _others[library]
    if library == "array_api_strict":
        backend = StandardBackend(library, importlib.import_module(library))
    else:
        backend = importlib.import_module(f"nn_any.backends._{library}").Backend()
    for name, function in backend.replacements.items():
        primitives.replace(name, backend.xp, function)
    return backend


def backend_of(array: Array) -> StandardBackend:
    """The backend of the library that `array` belongs to; a library not seen before gets the standard one."""
    from array_api_compat import array_namespace

    try:
        xp = array_namespace(array)
    except TypeError as error:
        raise InvalidTypeError(
            f"array: expected an array of a library of the Python Array API, got {type(array).__name__}; "
            "make it one with nn_any.to_device(..., 'numpy')"
        ) from error
    library = xp.__name__.removeprefix("array_api_compat.").partition(".")[0]
    if library not in LIBRARIES and library not in _others:
        _others[library] = StandardBackend(library, xp)
    return get_backend(library)
