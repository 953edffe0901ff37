"""CuPy's compiled extensions: what their ELF files say, and jumps from functions linked into them to others."""

import ctypes
import mmap
import struct
from importlib.util import find_spec
from pathlib import Path

_JUMP = b"\xff\x25\x00\x00\x00\x00"  # jmp to the address in the eight bytes that follow
_PROT = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC


class Extension:
    """An extension module that has not been imported yet."""

    def __init__(self, name):
        package, _, module = name.rpartition(".")
        folder = Path(find_spec(package.partition(".")[0]).submodule_search_locations[0], *package.split(".")[1:])
        self.path = next(folder.glob(f"{module}.*.so"))
        self._data = self.path.read_bytes()
        start, (size, number) = struct.unpack_from("<Q", self._data, 40)[0], struct.unpack_from("<HH", self._data, 58)
        self._sections = [struct.unpack_from("<IIQQQQIIQQ", self._data, start + i * size) for i in range(number)]

    def _table(self, kind, form):
        """The entries of a section of a kind, each with the text that its first number stands for in the linked table."""
        for _, found, _, _, offset, size, link, _, _, _ in self._sections:
            if found == kind:
                texts = self._sections[link][4]
                for entry in struct.iter_unpack(form, self._data[offset : offset + size]):
                    yield entry, texts

    def _text(self, at):
        return self._data[at : self._data.index(b"\0", at)].decode()

    def needed(self):
        """The names of the libraries that it is linked against."""
        return [self._text(texts + value) for (tag, value), texts in self._table(6, "<QQ") if tag == 1]

    def undefined(self):
        """The functions that these libraries must have."""
        return [self._text(texts + e[0]) for e, texts in self._table(11, "<IBBHQQ") if e[0] and not e[3]]

    def functions(self, prefix):
        """The addresses of the functions linked into it whose names begin so, from where the file is loaded."""
        found = ((self._text(texts + e[0]), e[4]) for e, texts in self._table(2, "<IBBHQQ") if e[1] & 15 == 2 and e[3])
        return {name: address for name, address in found if name.startswith(prefix)}

    def redirect(self, prefix, library, substitute):
        """Let its own functions of this prefix jump to those of `library`, and the rest to what `substitute` makes.

        Only this process's copy in memory changes.
        """
        functions = self.functions(prefix)
        assert functions, f"{self.path} has no table of its functions any more"
        module = ctypes.CDLL(str(self.path))
        base = ctypes.cast(module.PyInit_runtime, ctypes.c_void_p).value - self.functions("PyInit_")["PyInit_runtime"]
        lacking = [name for name in functions if not _offers(library, name)]
        rest = substitute(sorted(lacking))
        libc = ctypes.CDLL(None, use_errno=True)
        for name, address in functions.items():
            at = base + address
            page = at & -mmap.PAGESIZE
            assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(2 * mmap.PAGESIZE), _PROT) == 0
            target = ctypes.cast(getattr(rest if name in lacking else library, name), ctypes.c_void_p).value
            ctypes.memmove(at, _JUMP + struct.pack("<Q", target), 14)


def _offers(library, name):
    try:
        getattr(library, name)
    except AttributeError:
        return False
    return True
