"""Finds data races in CUDA kernels, without a GPU.

A race is a write to memory that another thread reads or writes as well, with nothing that says which comes first: a
barrier is missing. Whether it shows in the numbers is luck. ThreadSanitizer reports it whenever the threads come by.

`Threads` builds CUDA text by ``g++ -fsanitize=thread`` as a program in which each thread of each block is a thread of
the operating system (`cuda_races.h`). Its method `races` launches kernels there and returns what was reported:

    threads = Threads(folder, source("windows"), ["fold"], ["REAL=float"])
    arguments = [parts, images, shape, np.int64(images.size)]
    assert threads.races(Launch("fold", (blocks,), (256,), arguments)) == []

Arrays may have strides, and are changed in place, as on a GPU. ``without=line`` lets the threads go past the barrier in
that line of the text, to show that it is needed; `barriers` lists such lines.

It sees only what these arguments lead to. A launch begins when the one before has ended, as in a stream. The lanes of a
warp do not run in step. A barrier waits for all threads of the block, even for those that have returned. Text with
atomics, fences or static shared memory does not compile: no kernel of the package has any.
"""

import ctypes
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cuda_tools import find_cxx
from numpy.lib.array_utils import byte_bounds

HEADER = Path(__file__).parent / "cuda_races.h"
_FLAGS = ["-std=c++17", "-O1", "-g1", "-w", "-fsanitize=thread"]
_ALIGNED = 64  # bytes: where an argument begins
_RACES = 66  # the program's exit status after races
_SHARED = re.compile(r"^extern __shared__ (?:__align__\(\d+\) )?(.*\S) (\w+)\[\];$", re.MULTILINE)
_ACCESS = re.compile(r"^  (?:Previous )?(\w+) of size \d+ at .*:\n((?:    #.*\n)+)", re.MULTILINE)
_FRAME = re.compile(r"^    #\d+ (.*) (?:\S*/)?(kernels\.cu:\d+)\b", re.MULTILINE)


class Launch(NamedTuple):
    """What a launch takes. Arrays go as pointers, None as a null pointer; NumPy's scalars, and records, by value."""

    entry: str
    grid: tuple
    block: tuple
    arguments: list[Any]


class Threads:
    """Kernels in a program under ThreadSanitizer.

    `text` is CUDA C++, `entries` the names of kernels in it, `macros` are ``"NAME=value"``.
    """

    def __init__(self, folder, text, entries, macros=()):
        self._entries, self._program = list(entries), Path(folder, "kernels")
        text = _SHARED.sub(r"#define \2 reinterpret_cast<\1*>(shim::block->shared)", text)  # each block's own
        lines = [f'#include "{HEADER}"', *[f"#define {macro.replace('=', ' ', 1)}" for macro in macros]]
        kernels = ", ".join(f"KERNEL({entry})" for entry in entries)
        main = f"int main(int, char** given) {{ return shim::run(given[1], {{{kernels}}}); }}"
        lines += ['#line 1 "kernels.cu"', text, main]
        code = self._program.with_suffix(".cpp")
        code.write_text("\n".join(lines) + "\n", encoding="utf-8")
        done = _run([find_cxx(), *_FLAGS, "-o", self._program, code])
        assert done.returncode == 0, done.stderr[:3000]

    def races(self, *launches, without=0, seconds=100):
        """Run launches one after another, and list the races: each as the lines of the text where it was seen.

        It is an AssertionError if they take so many seconds: some threads wait at a barrier to which others never come.
        """
        path = self._program.with_suffix(".launches")
        arrays = self._write(path, launches, without)
        options = {"TSAN_OPTIONS": f"exitcode={_RACES} atexit_sleep_ms=0"}
        done = _run([*find_tsan(), self._program, path], os.environ | options, seconds)
        reports = done.stderr.split("WARNING: ThreadSanitizer: data race")[1:]
        assert done.returncode == (_RACES if reports else 0), done.stderr[:3000]
        memory = path.read_bytes()
        for at, array in arrays.values():
            if array.flags.writeable:
                array[...] = np.ndarray(array.shape, array.dtype, memory, at, array.strides)
        return sorted({_told(report) for report in reports})

    def _write(self, path, launches, without):
        """Lay launches down as `cuda_races.h` reads them; returns arrays and where they lie, by address."""
        words = [without, len(launches)]
        end = _up(8 * (2 + sum(6 + 2 * len(launch.arguments) for launch in launches)))
        parts, arrays = [], {}
        for launch in launches:
            grid = (*launch.grid, 1, 1)[:3]
            words += [self._entries.index(launch.entry), *grid, *launch.block, len(launch.arguments)]
            for argument in launch.arguments:
                is_array = isinstance(argument, np.ndarray) and argument.dtype.names is None
                if argument is None:
                    words += [0, True]
                    continue
                value = np.asarray(argument)
                address = value.ctypes.data
                if is_array and address in arrays:
                    place, known = arrays[address]
                    assert (known.shape, known.strides) == (value.shape, value.strides), "two views of the same memory"
                else:
                    low, high = byte_bounds(value)  # with what lies between the elements
                    place = end + address - low
                    parts.append(ctypes.string_at(low, high - low).ljust(_up(max(high - low, 1)), b"\0"))
                    end += len(parts[-1])
                    if is_array:
                        arrays[address] = place, value
                words += [place, is_array]
        table = np.array(words, np.int64).tobytes()
        path.write_bytes(b"".join([table.ljust(_up(len(table)), b"\0"), *parts]))
        return arrays


def barriers(text):
    """The lines of a text, counted from 1, that have a barrier."""
    return [k for k, line in enumerate(text.splitlines(), 1) if re.search(r"\b__sync(threads|warp)\(", line)]


@cache
def find_tsan():
    """How a program under ThreadSanitizer is started, as the first words of a command; None where none can be.

    An older ThreadSanitizer refuses to run where the system chooses addresses more freely than it knows. ``setarch -R``
    makes them fixed.
    """
    if not find_cxx():
        return None
    with tempfile.TemporaryDirectory() as folder:
        program, code = Path(folder, "program"), Path(folder, "program.cpp")
        code.write_text("int main() { return 0; }\n", encoding="utf-8")
        if _run([find_cxx(), *_FLAGS, "-o", program, code]).returncode:
            return None
        for start in (("env",), ("setarch", os.uname().machine, "-R")):
            if not _run([*start, program]).returncode:
                return start
    return None


def _run(command, env=None, seconds=100):
    """A command that has run; as a shell has it, with status 124 after so long, and 127 if there is no such command."""
    try:
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"it had not ended after {seconds} s")
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _up(size):
    return -(-size // _ALIGNED) * _ALIGNED


def _told(report):
    """A report in a line: what the two threads did, and where."""
    told = []
    for access, frames in _ACCESS.findall(report):
        function, place = (_FRAME.findall(frames) or [("", frames.strip())])[0]
        told.append(f"{access.lower()} in {place}, {function}")
    return "; ".join(sorted(told))
