"""A CUDA that computes on the host, so that the real CuPy runs where there is no GPU; the README tells how.

`start` puts it under CuPy, which must not have been imported before.
"""

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cuda_host.wheel import Extension

FOLDER = Path(__file__).parent
_STATIC = "cupy_backends.cuda.api.runtime"  # has the CUDA runtime linked in
_LINKED = {"cupy_backends.cuda.libs.cublas": "cublas"}  # name their libraries, and call functions that begin so


def cache_folder():
    """Where the stand-in and the kernels lie once they are built, by their content."""
    folder = os.environ.get("CUDA_HOST_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "nn_any_tests", "cuda_host"
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@cache
def compiler():
    """A C++ compiler for it, or None."""
    from cuda_tools import find_cxx

    return find_cxx()


def missing():
    """Why real CuPy cannot run on the host, or None."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "the host stand-in for CUDA is for Linux on x86-64"
    if find_spec("cupy") is None:
        return "CuPy's wheel is not installed (nn-any[cuda-host])"
    if compiler() is None:
        return "no C++ compiler was found"
    return None


def _digest(*parts):
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


@cache
def _salt():
    """What a built object depends on beside its own text."""
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    return _digest(
        version,
        *[path.read_text() for path in sorted((FOLDER / "include").rglob("*.*h")) + [FOLDER / "src" / "kernel.h"]],
    )


def _built(name, text, *options):
    """The shared library of C++ source files, or of a text, from the cache or newly built there."""
    target = cache_folder() / f"{name}-{_digest(_salt(), text, *options)}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache_folder()) as work:
            code, made = Path(work, "code.cpp"), Path(work, "made.so")
            code.write_text(text)
            command = [
                compiler(),
                "-std=c++17",
                "-O1",
                "-shared",
                "-fPIC",
                f"-I{FOLDER / 'src'}",
                code,
                *options,
                "-o",
                made,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[:4000]
            made.replace(target)
    return target


def _library():
    sources = sorted((FOLDER / "src").glob("*.cpp"))
    text = "".join(f'#line 1 "{path}"\n{path.read_text()}' for path in sources)
    headers = _digest(*[path.read_text() for path in sorted((FOLDER / "src").glob("*.h"))])
    text = (
        f"// {headers}\n"
        + "".join(f'#include "{path}"\n' for path in sources)
        + "".join(f"// {_digest(path.read_text())}\n" for path in sources)
    )
    path = _built("cuda", text, "-Wl,-soname,libcuda.so.1", "-ldl")
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    for name in ("host_counts", "host_violations"):
        getattr(library, name).restype = ctypes.c_char_p
    library.host_set.argtypes = [ctypes.c_char_p, ctypes.c_long]
    return path, library


class _Loaded:
    """What cuda-pathfinder answers when it has loaded a library."""

    found_via = "host"
    was_already_loaded_from_elsewhere = True

    def __init__(self, path, library):
        self.abs_path, self._handle_uint = str(path), library._handle


def _missing_functions(names):
    """C++ for functions that the stand-in lacks: each reports its name, and fails."""
    lines = ['extern "C" void host_missing(const char*);']
    lines += [f'extern "C" int {name}() {{ host_missing("{name}"); return 801; }}' for name in names]
    return "\n".join(lines) + "\n"


@cache
def gpu():
    """Whether the machine has a GPU that CUDA finds."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return False
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


class Machine:
    """The machine that the stand-in pretends to be, and what it has seen."""

    def __init__(self, library):
        self._library = library

    def set(self, **settings):
        """Change the number of `devices`, their `capability` (90), their `memory` in bytes, and `peer_access` (0 or 1)."""
        for name, value in settings.items():
            self._library.host_set(name.encode(), int(value))

    def reset(self):
        """Forget what was counted and what was wrong."""
        self._library.host_reset()

    def counts(self):
        """How often each thing was done since `reset`: calls by their names, nodes, copies by their direction."""
        lines = self._library.host_counts().decode().splitlines()
        return Counter({what: int(times) for what, times in (line.split("\t") for line in lines)})

    def violations(self):
        """What real CUDA would have punished since `reset`, in the order in which it was done."""
        return self._library.host_violations().decode(errors="replace").splitlines()

    def log(self, path=""):
        """Write each piece of work that is enqueued to a file from now on, or to none."""
        self._library.host_log(str(path).encode())


def start(devices=1, capability=90):
    """Put the stand-in under CuPy: the driver, NVRTC and cuBLAS by name, the runtime by jumps into it. Returns a `Machine`."""
    assert "cupy" not in sys.modules, "CuPy was imported before the stand-in for CUDA"
    from cuda import pathfinder

    path, library = _library()
    library.host_paths(*[str(p).encode() for p in (compiler(), FOLDER / "include", cache_folder(), _salt())])
    library.host_set(b"devices", devices)
    library.host_set(b"capability", capability)
    loaded = _Loaded(path, library)
    pathfinder.load_nvidia_dynamic_lib = lambda name: loaded
    pathfinder.find_nvidia_header_directory = lambda name: str(FOLDER / "include")
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB and cuTENSOR are binaries for a GPU
    os.environ["CUPY_CACHE_IN_MEMORY"] = "1"

    for name, prefix in _LINKED.items():
        extension = Extension(name)
        lacking = [
            symbol for symbol in extension.undefined() if symbol.startswith(prefix) and not _has(library, symbol)
        ]
        for soname in extension.needed():
            if soname.startswith(f"lib{prefix}"):
                stub = _built(prefix, _missing_functions(lacking), f"-Wl,-soname,{soname},--default-symver", str(path))
                ctypes.CDLL(str(stub), mode=ctypes.RTLD_GLOBAL)
    runtime = Extension(_STATIC)
    runtime.redirect(
        "cuda", library, lambda names: ctypes.CDLL(str(_built("missing", _missing_functions(names), str(path))))
    )
    return Machine(library)


def _has(library, name):
    try:
        getattr(library, name)
    except AttributeError:
        return False
    return True
