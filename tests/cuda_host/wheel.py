"""CuPy's compiled extensions: what their ELF files say, and jumps from functions linked into them to others."""

import ctypes
import mmap
import struct
from importlib.util import find_spec
from pathlib import Path

_JUMP = b"\xff\x25\x00\x00\x00\x00"  # jmp to the address in the eight bytes that follow
_ANYTHING = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
_SYMBOLS, _DYNAMIC, _DYNAMIC_SYMBOLS = 2, 6, 11  # kinds of sections


def offers(library, name):
    """Whether a loaded library has a function."""
    try:
        getattr(library, name)
    except AttributeError:
        return False
    return True


class Extension:
    """An extension module that has not been imported yet."""

    def __init__(self, name):
        package, *inner, self._module = name.split(".")
        self.site_packages = Path(find_spec(package).submodule_search_locations[0]).parent
        self.path = next(self.site_packages.joinpath(package, *inner).glob(f"{self._module}.*.so"))
        self._data = self.path.read_bytes()
        (start,), (size, number) = struct.unpack_from("<Q", self._data, 40), struct.unpack_from("<HH", self._data, 58)
        self._sections = [struct.unpack_from("<IIQQQQIIQQ", self._data, start + i * size) for i in range(number)]

    def _entries(self, kind, form):
        """The entries of the sections of a kind, and where the text begins that they name things in."""
        for _, found, _, _, offset, size, link, *_ in self._sections:
            if found == kind:
                for entry in struct.iter_unpack(form, self._data[offset : offset + size]):
                    yield entry, self._sections[link][4]

    def _text(self, at):
        return self._data[at : self._data.index(b"\0", at)].decode()

    def _symbols(self, kind):
        """The name, type, section and address of each symbol."""
        for (name, info, _, section, address, _), texts in self._entries(kind, "<IBBHQQ"):
            yield self._text(texts + name), info & 15, section, address

    def needed(self):
        """The names of the libraries that it is linked against."""
        return [self._text(texts + value) for (tag, value), texts in self._entries(_DYNAMIC, "<QQ") if tag == 1]

    def undefined(self):
        """The functions that these libraries must have."""
        return [name for name, _, section, _ in self._symbols(_DYNAMIC_SYMBOLS) if name and not section]

    def functions(self, prefix):
        """The functions linked into it whose names begin so, and their addresses from where the file is loaded."""
        symbols = self._symbols(_SYMBOLS)
        return {name: at for name, kind, section, at in symbols if kind == 2 and section and name.startswith(prefix)}

    def redirect(self, prefix, target):
        """Let its functions whose names begin so jump to others; only this process's copy in memory changes."""
        functions = self.functions(prefix)
        assert functions, f"{self.path} no longer says where its functions are"
        start = f"PyInit_{self._module}"
        loaded = _address(getattr(ctypes.CDLL(str(self.path)), start)) - self.functions(start)[start]
        for name, offset in functions.items():
            at = loaded + offset
            pages = ctypes.c_void_p(at & -mmap.PAGESIZE), ctypes.c_size_t(2 * mmap.PAGESIZE)
            assert ctypes.CDLL(None).mprotect(*pages, _ANYTHING) == 0
            ctypes.memmove(at, _JUMP + struct.pack("<Q", _address(target(name))), 14)


def _address(function):
    return ctypes.cast(function, ctypes.c_void_p).value
