"""Finds data races in CUDA kernels without a GPU.

A race is a write and another access to the same memory by two threads that nothing orders, such as a barrier that is
missing. Whether one shows in the numbers is luck; ThreadSanitizer finds it wherever the threads come by it.

`Threads` builds CUDA text by ``g++ -fsanitize=thread`` as a program (`cuda_races.h`) in which each thread of each block
is a thread of the operating system, and runs kernels in it:

    threads = Threads(folder, source("windows"), ["fold"], ["REAL=float"])
    assert threads.races("fold", (blocks,), (256,), [parts, images, shape, np.int64(images.size)]) == []

Arrays are changed in place as a launch on a GPU would change them. ``without=line`` lets threads pass the barrier in that
line of the text, to see that it is needed: `Threads.barriers` lists the lines.

What it cannot see: races between two launches, which a stream orders on a GPU as well; paths that these arguments do not
take; atomics and memory fences, which no kernel here uses, nor static shared memory (``__shared__ float a[8]``).
"""

import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from cuda_tools import find_cxx

HEADER = Path(__file__).parent / "cuda_races.h"
_ALIGNED = 64  # bytes: where arrays begin
_RACES = 66  # the program's exit status after races
_SECONDS = 60  # a launch that takes longer hangs: some threads wait at a barrier to which others never come
_ACCESS = re.compile(r"^  (?:Previous )?(\w+(?: \w+)?) of size \d+ at .*:\n((?:    #.*\n)+)", re.MULTILINE | re.IGNORECASE)
_FRAME = re.compile(r"^    #\d+ (.*) (\S+:\d+)(?: \(.*\))?$", re.MULTILINE)


@cache
def find_tsan():
    """How a program under ThreadSanitizer is started, as the first words of a command; None if none can be.

    Older ones know only some addresses, and the kernel chooses others at random unless ``setarch -R`` forbids it.
    """
    if not find_cxx():
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program")
        command = [find_cxx(), "-x", "c", "-fsanitize=thread", "-o", program, "-"]
        if subprocess.run(command, input="int main() { return 0; }", capture_output=True, text=True).returncode:
            return None
        for start in (("env",), ("setarch", os.uname().machine, "-R")):
            if not subprocess.run([*start, program], capture_output=True).returncode:
                return start
    return None


class Threads:
    """Kernels as a program under ThreadSanitizer.

    `text` is CUDA C++, `entries` are the names of kernels in it, `macros` are ``"NAME=value"``.
    """

    def __init__(self, folder, text, entries, macros=()):
        self.barriers = [k for k, line in enumerate(text.splitlines(), 1) if re.search(r"__sync(threads|warp)\(", line)]
        self._program, code = Path(folder, "kernels"), Path(folder, "kernels.cpp")
        # each block has shared memory of its own, though all run at the same time
        text = re.sub(r"extern __shared__[^;]*\b(\w+)\[\];", r"static const Shared \1;", text)
        lines = [f'#include "{HEADER}"', *[f"#define {macro.replace('=', ' ', 1)}" for macro in macros]]
        lines += ['#line 1 "kernels.cu"', text, *[f"KERNEL({entry})" for entry in entries]]
        code.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [find_cxx(), "-std=c++17", "-O1", "-g1", "-w", "-fsanitize=thread", "-o", self._program, code]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:3000]

    def races(self, entry, grid, block, arguments, without=0):
        """Run a kernel as CuPy's ``RawKernel`` does, and list its races, each by its two lines of the text."""
        path = self._program.with_suffix(".arguments")
        places = _write(path, arguments)
        numbers = map(str, (*(*grid, 1, 1)[:3], block[0], without))
        options = f"exitcode={_RACES} report_thread_leaks=0"
        done = subprocess.run(
            [*find_tsan(), self._program, entry, *numbers, path],
            env=os.environ | {"TSAN_OPTIONS": options},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        races = done.stderr.split("WARNING: ThreadSanitizer: data race")[1:]
        assert done.returncode == (_RACES if races else 0), done.stderr[:3000]
        memory = path.read_bytes()
        for at, array in places.values():
            array[...] = np.frombuffer(memory, array.dtype, array.size, at).reshape(array.shape)
        return sorted({_told(race) for race in races})


def _write(path, arguments):
    """The arguments as `cuda_races.h` reads them; returns where the arrays lie, and they themselves, by address."""
    table, parts, end, places = [len(arguments)], [], -(-8 * (1 + 2 * len(arguments)) // _ALIGNED) * _ALIGNED, {}
    for argument in arguments:
        is_array = isinstance(argument, np.ndarray) and argument.dtype.names is None
        if argument is None:  # a null pointer
            table += [0, 1]
            continue
        value = np.asarray(argument)
        assert value.flags.c_contiguous
        address = value.ctypes.data
        if not (is_array and address in places):
            parts.append((end, value))
            if is_array:
                places[address] = end, value
            table += [end, is_array]
            end += -(-max(value.nbytes, 1) // _ALIGNED) * _ALIGNED
        else:
            table += [places[address][0], 1]
    memory = bytearray(end)
    for at, value in [(0, np.array(table, np.int64)), *parts]:
        memory[at : at + value.nbytes] = value.tobytes()
    path.write_bytes(memory)
    return places


def _told(race):
    """A report in a line: what was done where, by the two threads."""
    told = []
    for kind, frames in _ACCESS.findall(race):
        function, place = next((f for f in _FRAME.findall(frames) if "kernels.cu:" in f[1]), ("", frames.splitlines()[0].strip()))
        told.append(f"{kind.lower()} at {Path(place).name}, {function}")
    return "; ".join(told)
