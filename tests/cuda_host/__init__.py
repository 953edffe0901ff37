"""A CUDA that computes on the host, so that the real CuPy runs where there is no GPU; the README tells how.

`start` puts it under CuPy, which must not have been imported before.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from importlib import metadata
from pathlib import Path

from cuda_host.wheel import Extension, offers

SOURCES, HEADERS = Path(__file__).parent / "src", Path(__file__).parent / "include"
_FLAGS = ("-std=c++17", "-O1", "-w", "-fpermissive", "-fPIC")
_RUNTIME = "cupy_backends.cuda.api.runtime"  # has the CUDA runtime linked in
_CUBLAS = "cupy_backends.cuda.libs.cublas"  # asks for cuBLAS by the name of its library
_KERNEL_HEADERS = "complex.cuh", "carray.cuh", "atomics.cuh", "math_constants.h"  # which CuPy puts above most kernels


@cache
def gpu():
    """Whether the machine has a GPU that CUDA finds."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return False
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def missing():
    """Why real CuPy cannot run on the host, or None."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "the stand-in for CUDA is for Linux on x86-64"
    try:
        version = metadata.version("cupy-cuda13x")
    except metadata.PackageNotFoundError:
        return "cupy-cuda13x is not installed (the extra cuda-host)"
    if not version.startswith("14."):
        return f"the stand-in for CUDA is for cupy-cuda13x 14, not {version}"
    return None if _compiler() else "no C++ compiler was found (g++)"


@cache
def _compiler():
    return shutil.which("g++")


# ---------------------------------------------------------------- building, by content


def _cache():
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("CUDA_HOST_CACHE") or home / "nn_any_tests" / "cuda_host")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(*parts):
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


@cache
def _version():
    return subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True).stdout


def _texts(folder):
    return [path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()]


def _built(name, sources, *options, depends=()):
    """What g++ makes of source files, or of a text, by options: `name` of the cache, made anew if anything differs."""
    stem, dot, suffix = name.partition(".")
    target = _cache() / f"{stem}-{_digest(_version(), sources, *options, *depends)}{dot}{suffix}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=_cache()) as work:
            if isinstance(sources, str):
                Path(work, "code.cpp").write_text(sources)
                sources = [Path(work, "code.cpp")]
            made = Path(work, "made")
            command = [_compiler(), *_FLAGS, *options, *sources, "-o", made]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[:4000]
            made.replace(target)
    return target


def _stand_in():
    """The library that stands for the driver, the runtime, NVRTC and cuBLAS."""
    path = _built(
        "cuda.so", sorted(SOURCES.glob("*.cpp")), "-shared", "-Wl,-soname,libcuda.so.1", "-ldl", depends=_texts(SOURCES)
    )
    return path, ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _without(names, path):
    """A library of the functions that the stand-in at `path` lacks: each reports its name, and fails."""
    lines = ['extern "C" void host_missing(const char*);']
    lines += [f'extern "C" int {name}() {{ host_missing("{name}"); return 801; }}' for name in names]
    return "\n".join(lines) + f"\n// {path}\n"


def _kernel_headers():
    """A header of all that kernels include, compiled beforehand, which saves two thirds of a kernel's time."""
    folder = Extension(_RUNTIME).site_packages / "cupy" / "_core" / "include"
    lines = ['#include "prelude.h"', *(f"#include <cupy/{name}>" for name in _KERNEL_HEADERS)]
    text, options = "\n".join(lines), (f"-I{HEADERS}", f"-I{folder}", f"-I{SOURCES}", "-x", "c++-header")
    depends = (
        *_texts(HEADERS),
        (SOURCES / "kernel.h").read_text(),
        *[(folder / "cupy" / n).read_text() for n in _KERNEL_HEADERS],
    )
    compiled = _built("kernels.h.gch", text, *options, depends=depends)
    header = compiled.with_suffix("")
    header.write_text(text)
    return header


# ---------------------------------------------------------------- the machine


class Machine:
    """The machine that the stand-in pretends to be, and what it has seen."""

    def __init__(self, library):
        self._library, self._hook = library, None
        for name in ("host_counts", "host_violations"):
            getattr(library, name).restype = ctypes.c_char_p
        library.host_set.argtypes = [ctypes.c_char_p, ctypes.c_long]

    def set(self, **settings):
        """Change the number of `devices`, their `capability` (90), their `memory` in bytes, `peer_access` (0 or 1)."""
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

    def poison_pools(self):
        """Let what CuPy's memory pools hand out and take back hold NaN; once CuPy has been imported."""
        if self._hook is not None or "cupy" not in sys.modules:
            return
        poison = self._library.host_poison
        poison.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

        class Poison(sys.modules["cupy"].cuda.MemoryHook):
            name = "poison"

            def malloc_postprocess(self, device_id, size, mem_size, mem_ptr, pmem_id):
                poison(mem_ptr, mem_size)

            def free_preprocess(self, device_id, mem_size, mem_ptr, pmem_id):
                poison(mem_ptr, mem_size)

        self._hook = Poison()
        self._hook.__enter__()

    def log(self, path=""):
        """Write each piece of work that is enqueued to a file from now on, or to none."""
        self._library.host_log(str(path).encode())


def start(devices=1):
    """Put the stand-in under CuPy: the runtime by jumps into it, the other libraries by name. Returns a `Machine`."""
    assert "cupy" not in sys.modules, "CuPy was imported before the stand-in for CUDA"
    path, library = _stand_in()
    header = _kernel_headers()
    paths = f"{_compiler()} {' '.join(_FLAGS)} -include '{header}'", HEADERS, _cache(), header
    library.host_paths(*(str(path).encode() for path in paths))
    machine = Machine(library)
    machine.set(devices=devices)

    from cuda import pathfinder

    class Loaded:  # what cuda-pathfinder answers
        abs_path, _handle_uint, found_via, was_already_loaded_from_elsewhere = str(path), library._handle, "host", True

    pathfinder.load_nvidia_dynamic_lib = lambda name: Loaded()
    pathfinder.find_nvidia_header_directory = lambda name: str(HEADERS)
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB and cuTENSOR are binaries for a GPU
    os.environ["CUPY_CACHE_IN_MEMORY"] = "1"  # CuPy's own cache would keep what no GPU can run

    cublas = Extension(_CUBLAS)
    soname = next(name for name in cublas.needed() if name.startswith("libcublas"))
    lacking = [name for name in cublas.undefined() if name.startswith("cublas") and not offers(library, name)]
    link = "-shared", str(path)
    named = _built("cublas.so", _without(lacking, path), *link, f"-Wl,-soname,{soname},--default-symver")
    ctypes.CDLL(str(named), mode=ctypes.RTLD_GLOBAL)

    runtime = Extension(_RUNTIME)
    lacking = [name for name in runtime.functions("cuda") if not offers(library, name)]
    rest = ctypes.CDLL(str(_built("missing.so", _without(lacking, path), *link)))
    runtime.redirect("cuda", lambda name: getattr(rest if name in lacking else library, name))
    return machine
