"""Compilers for the CUDA sources that need no GPU: NVRTC for a GPU's binary, C++ with a shim for the host."""

import ctypes
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from nn_any.backends.cuda import source

SHIM = Path(__file__).parent / "cuda_shim.h"


@cache
def find_nvrtc():
    """The path of NVRTC's library in its wheel, or None."""
    try:
        import nvidia
    except ImportError:
        return None
    for folder in nvidia.__path__:
        for pattern in ("lib/libnvrtc.so.*", "bin/nvrtc64_*_0.dll"):
            for path in sorted(Path(folder, "cuda_nvrtc").glob(pattern)):
                if ".alt." not in path.name:
                    return path
    return None


@cache
def find_cxx():
    """A C++ compiler, or None."""
    if not sys.platform.startswith("linux"):  # the shim's fibres are ucontext's
        return None
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)


def nvrtc(name, options, capability):
    """Compile a source of the package for a GPU: the binary; RuntimeError with the compiler's log otherwise."""
    library = ctypes.CDLL(str(find_nvrtc()))
    program = ctypes.c_void_p()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source(name).encode(), b"", 0, None, None) == 0
    options = [f"--gpu-architecture=sm_{capability}".encode(), *[option.encode() for option in options]]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    log = _fetch(library, program, "ProgramLog").rstrip(b"\0").decode()
    if status or "warning" in log:
        raise RuntimeError(log)
    binary = _fetch(library, program, "CUBIN")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return binary


def _fetch(library, program, what):
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw


def build_for_host(folder, name, macros, functions):
    """Build a source of the package with the shim and C++ `functions` that launch its kernels: a ctypes library."""
    text = [*[f"#define {macro.replace('=', ' ', 1)}" for macro in macros]]
    text += [f'#include "{SHIM}"', source(name), functions]
    code = folder / f"{name}.cpp"
    code.write_text("\n".join(text), encoding="utf-8")
    library = code.with_suffix(".so")
    command = [find_cxx(), "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o", library, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return ctypes.CDLL(str(library))


def pointer(array):
    """A NumPy array's memory, or a null pointer for None."""
    if array is None:
        return None
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)
