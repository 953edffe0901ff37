"""Compilers for the CUDA sources that need no GPU: NVRTC for a GPU's binary, C++ with a shim for the host."""

import ctypes
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

from nn_any.backends.cuda import source

SHIM = Path(__file__).parent / "cuda_shim.h"


@cache
def find_nvrtc(version):
    """The path of NVRTC's library in the wheel for CUDA 12 or 13, or None."""
    try:
        import nvidia
    except ImportError:
        return None
    folder = {12: "cuda_nvrtc", 13: "cu13"}[version]
    for base in nvidia.__path__:
        for pattern in ("lib/libnvrtc.so.*", "bin/**/nvrtc64_*_0.dll"):
            for path in sorted(Path(base, folder).glob(pattern)):
                if ".alt." not in path.name:
                    return path
    return None


@cache
def find_cxx():
    """A C++ compiler, or None."""
    if not sys.platform.startswith("linux"):  # the shim's fibres are ucontext's
        return None
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)


def nvrtc(text, options, capability, version, logs=None):
    """Compile CUDA C++ for a GPU: the binary; RuntimeError with the compiler's log otherwise, warnings included.

    The log goes to the list `logs`, if one is given.
    """
    library = ctypes.CDLL(str(find_nvrtc(version)))
    program = ctypes.c_void_p()
    assert library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"", 0, None, None) == 0
    # what CuPy 14.2 adds in _compile_with_cache_cuda and _compile_using_nvrtc_no_warning of its compiler.py;
    # its core.pyx adds folders of headers, too, which say nothing to a text that includes none
    assert "#include" not in text
    options = [*options, "-ftz=true", f"-arch=sm_{capability}", "--device-as-default-execution-space"]
    options = [option.encode() for option in options]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    log = _fetch(library, program, "ProgramLog").rstrip(b"\0").decode()
    if status or "warning" in log:
        raise RuntimeError(log)
    if logs is not None:
        logs.append(log)
    binary = _fetch(library, program, "CUBIN")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return binary


def _fetch(library, program, what):
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw


class HostKernel:
    """A kernel of a source of the package, built with the shim, that is called as CuPy's ``RawKernel`` is.

    `behind` is text to compile behind the source. Arrays go as pointers, None as a null pointer; NumPy's scalars, and
    records that stand for a C struct, by value.
    """

    def __init__(self, folder, name, entry, macros, behind=""):
        lines = [f"#define {macro.replace('=', ' ', 1)}" for macro in macros]
        lines += [f'#include "{SHIM}"', source(name), behind, f"KERNEL({entry})"]
        code = Path(folder) / f"{name}.cpp"
        code.write_text("\n".join(lines), encoding="utf-8")
        library = code.with_suffix(".so")
        command = [find_cxx(), "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o", library, code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:3000]
        self.library = ctypes.CDLL(str(library))
        self._launch = getattr(self.library, f"launch_{entry}")

    def __call__(self, grid, block, arguments, shared_mem=0):
        assert shared_mem <= 256 * 1024
        values = [_value(argument) for argument in arguments]
        addresses = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        self._launch(*(*grid, 1, 1)[:3], block[0], addresses)


def _value(argument):
    """The memory in which an argument's value lies: for an array its address, and what is passed by value itself."""
    if isinstance(argument, np.ndarray) and argument.dtype.names is None:
        return np.array(argument.ctypes.data)
    return np.array(0 if argument is None else argument)
